//! Plans that were built before.
//!
//! A plan holds for one model, device, TensorRT version and set of options; all of that is in its file's name. A file is written under another name and
//! renamed, so that there is never half a plan, and carries its checksum, since TensorRT believes what it is given.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What a file starts with, before the checksum.
const MAGIC: &[u8; 8] = b"FLMPLAN1";
/// What the name of a file ends with that is being written.
const UNFINISHED: &str = "tmp";

const HEADER_BYTES: usize = MAGIC.len() + 32;

/// A place for one plan.
pub(super) struct PlanCache {
    path: PathBuf,
}

impl PlanCache {
    /// The place in `folder` for a plan that is made of all `parts`.
    pub(super) fn new(folder: &Path, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // With its length, so that no two lists of parts read the same.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let name = hash.finalize().iter().fold(String::new(), |name, byte| name + &format!("{byte:02x}"));
        Self { path: folder.join(format!("tensorrt-{name}.plan")) }
    }

    /// The plan, if there is one that is whole.
    pub(super) fn read(&self) -> Option<Vec<u8>> {
        let mut bytes = fs::read(&self.path).ok()?;
        let (magic, sum) = (bytes.get(..MAGIC.len())?, bytes.get(MAGIC.len()..HEADER_BYTES)?);
        if magic != MAGIC || sum != Sha256::digest(&bytes[HEADER_BYTES..]).as_slice() {
            return None;
        }
        Some(bytes.split_off(HEADER_BYTES))
    }

    /// Keeps `plan`.
    ///
    /// # Errors
    /// The folder cannot be made or written; nothing is left of the attempt then.
    pub(super) fn write(&self, plan: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        self.remove_unfinished();
        let unfinished = self.path.with_extension(format!("{}.{UNFINISHED}", std::process::id()));
        let written = write_synced(&unfinished, plan).and_then(|()| fs::rename(&unfinished, &self.path));
        if written.is_err() {
            // It may not even be there.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// What processes left behind that were killed while they wrote. One that still writes loses its file, and only has to build again next time.
    fn remove_unfinished(&self) {
        let (Some(folder), Some(stem)) = (self.path.parent(), self.path.file_stem().and_then(|stem| stem.to_str()))
        else {
            return;
        };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let of_this = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(stem));
            if of_this && path.extension().is_some_and(|extension| extension == UNFINISHED) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn write_synced(path: &Path, plan: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(MAGIC)?;
    file.write_all(&Sha256::digest(plan))?;
    file.write_all(plan)?;
    // The name must not reach the disk before the bytes.
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("flumeway-plans-{}-{name}", std::process::id())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_plan_comes_back_for_the_same_parts_only() {
        let folder = Folder::new("parts");
        let cache = PlanCache::new(&folder.0, &[b"model", b"device"]);
        assert_eq!(cache.read(), None);
        cache.write(b"a plan").unwrap();
        assert_eq!(cache.read().as_deref(), Some(&b"a plan"[..]));
        assert_eq!(PlanCache::new(&folder.0, &[b"modeld", b"evice"]).read(), None);
        cache.write(b"another").unwrap();
        assert_eq!(cache.read().as_deref(), Some(&b"another"[..]));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_damaged_file_is_no_plan() {
        let folder = Folder::new("damaged");
        let cache = PlanCache::new(&folder.0, &[b"model"]);
        cache.write(b"a plan that is long enough").unwrap();
        let whole = fs::read(&cache.path).unwrap();
        for length in 0..whole.len() {
            fs::write(&cache.path, &whole[..length]).unwrap();
            assert_eq!(cache.read(), None, "{length} bytes");
        }
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            fs::write(&cache.path, &bytes).unwrap();
            assert_eq!(cache.read(), None, "byte {place}");
        }
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_never_read() {
        let folder = Folder::new("killed");
        let cache = PlanCache::new(&folder.0, &[b"model"]);
        fs::create_dir_all(&folder.0).unwrap();
        fs::write(cache.path.with_extension("4711.tmp"), b"FLMPLAN1 half").unwrap();
        fs::write(folder.0.join("of-somebody-else.tmp"), b"").unwrap();
        assert_eq!(cache.read(), None);
        cache.write(b"whole").unwrap();
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let cache = PlanCache::new(Path::new("/proc/nowhere"), &[b"model"]);
        assert!(cache.write(b"plan").is_err());
        assert_eq!(cache.read(), None);
    }
}
