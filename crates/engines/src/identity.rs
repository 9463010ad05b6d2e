//! What the choice of an engine depends on, as one checksum: the model, the machine, and the engines that are there.

use crate::available::Availability;
use crate::error::LoadError;
use crate::model_file;
use crate::options::EngineOptions;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Changes when engines are measured or compared in another way, so that old choices are made again.
const METHOD: &str = "1";

/// SHA-256 of a file's bytes, in hexadecimal.
///
/// # Errors
/// [`LoadError::MissingFile`], [`LoadError::Unreadable`].
pub fn model_sha256(path: &Path) -> Result<String, LoadError> {
    Ok(hexadecimal(&Sha256::digest(model_file::bytes(path)?)))
}

/// Whether the network computes in quantised numbers, by the names of its operators in the file: how they round is the engine's affair, so that answers of
/// two engines, both right, differ by more than those of a network in floating point.
///
/// # Errors
/// As [`model_sha256`].
pub fn is_quantised(path: &Path) -> Result<bool, LoadError> {
    const OPERATORS: [&[u8]; 4] = [b"QuantizeLinear", b"QLinear", b"ConvInteger", b"MatMulInteger"];
    let bytes = model_file::bytes(path)?;
    // One pass: all four have a capital letter that few other bytes of a file have.
    let begins = |at: usize| OPERATORS.iter().any(|name| bytes[at..].starts_with(name));
    Ok((0..bytes.len()).filter(|&at| matches!(bytes[at], b'Q' | b'C' | b'M')).any(begins))
}

/// A checksum that stays the same as long as measuring the engines on `model` again would tell nothing new: model, options, processor, cores that
/// this process may use, `engines` with their versions, and their libraries' sizes and times.
///
/// # Errors
/// As [`model_sha256`].
pub fn choice_key(model: &Path, options: &EngineOptions, engines: &[Availability]) -> Result<String, LoadError> {
    let mut hash = Sha256::new();
    let mut add = |name: &str, value: &str| {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(value.as_bytes());
        hash.update([0]);
    };
    add("method", METHOD);
    add("flumeway", env!("CARGO_PKG_VERSION"));
    add("model", &model_sha256(model)?);
    add("processor", &processor());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    add("cores", &cores.to_string());
    add("threads", &options.threads.to_string());
    add("precision", &format!("{:?}", options.precision));
    add("device", options.device.as_deref().unwrap_or(""));
    add("input_shape", &format!("{:?}", options.input_shape));
    for found in engines {
        add("engine", &found.to_json().to_string());
        let file = found.library.as_ref().and_then(|path| std::fs::metadata(path).ok());
        let time = file.as_ref().and_then(|file| file.modified().ok()?.duration_since(UNIX_EPOCH).ok());
        add("library", &format!("{:?} {time:?}", file.map(|file| file.len())));
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// The processor's name, and what it can: the flags decide which kernels engines take.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let wanted =
        |line: &&str| ["model name", "flags", "CPU part", "Features"].iter().any(|name| line.starts_with(name));
    let mut lines: Vec<_> = text.lines().filter(wanted).collect();
    lines.dedup();
    lines.truncate(4);
    lines.join("\n")
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::TempFile;

    #[test]
    fn checksums_are_the_known_ones() {
        // FIPS 180-4, the example of one block.
        let file = TempFile::new("abc", b"abc");
        assert_eq!(
            model_sha256(file.path()).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn quantised_networks_are_known_by_their_operators() {
        let is = |bytes: &[u8]| is_quantised(TempFile::new("quantised", bytes).path()).unwrap();
        assert!(is(b"..\x22\x0eQuantizeLinear") && is(b"QLinearConv") && is(b"x DynamicQuantizeLinear"));
        assert!(!is(b"..Conv..QuantizeLine") && !is(b""));
        for (name, quantised) in [("mobilenetv2-fp32", false), ("mobilenetv2-int8-qdq", true)] {
            let Some(path) = crate::tests::shared(&format!("models/{name}.onnx")) else { return };
            assert_eq!(is_quantised(&path).unwrap(), quantised, "{name}");
        }
    }

    #[test]
    fn the_key_follows_model_and_options() {
        let (one, other) = (TempFile::new("key-1", b"one"), TempFile::new("key-2", b"other"));
        let options = EngineOptions::default();
        let engines = crate::survey(&options);
        let key = choice_key(one.path(), &options, &engines).unwrap();
        assert_eq!(key, choice_key(one.path(), &options, &engines).unwrap());
        assert_ne!(key, choice_key(other.path(), &options, &engines).unwrap());
        assert_ne!(key, choice_key(one.path(), &options, &engines[1..]).unwrap());
        assert_ne!(key, choice_key(one.path(), &EngineOptions { threads: 2, ..options }, &engines).unwrap());
    }
}
