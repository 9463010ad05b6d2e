//! Is this file a well-formed TensorFlow Lite model? Asked before an engine's parser sees it.
//!
//! The file is a flatbuffer: tables and vectors that point at each other by offsets, and numbers that are indices into other vectors. A parser that
//! follows an offset or an index without looking reads what is not the file's. This walk follows all those that the graph consists of.
//!
//! Sources: the flatbuffers binary format (<https://flatbuffers.dev/internals/>), and TensorFlow Lite's `schema.fbs` for the field numbers.

use crate::tflite_operators;

/// What stands at byte 4 of every such file.
const IDENTIFIER: &[u8; 4] = b"TFL3";

/// The only version of the schema there is.
const SCHEMA_VERSION: u32 = 3;

/// Largest tensor; as large as the largest area.
const TENSOR_BYTES_MAX: u64 = 1 << 30;

/// Most dimensions of a tensor.
const RANK_MAX: usize = 8;

/// Walks a model file.
///
/// # Errors
/// What is wrong and at which byte.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    if bytes.get(4..8) != Some(IDENTIFIER) {
        return Err("it is no TensorFlow Lite file (no TFL3 at byte 4); this engine reads .tflite".to_owned());
    }
    // Vectors may overlap, and then a small file describes a graph as large as its square: what the walk looks at is counted.
    let mut walk = Walk { file: File { bytes }, left: bytes.len() };
    let model = walk.file.table(walk.file.offset(0)?)?;
    let version = walk.file.number(&model, 0)?;
    if version != SCHEMA_VERSION {
        return Err(format!("schema version {version} is not {SCHEMA_VERSION}"));
    }
    let codes = walk.codes(&model)?;
    let buffers = walk.buffers(&model)?;
    let graphs = walk.tables(&model, 2)?;
    if graphs.is_empty() {
        return Err("the file contains no graph".to_owned());
    }
    for graph in &graphs {
        walk.graph(graph, &codes, &buffers)?;
    }
    Ok(())
}

/// A table: where it starts, its table of fields, and how long both are.
struct Table {
    at: usize,
    bytes: usize,
    fields: usize,
    fields_bytes: usize,
}

struct File<'a> {
    bytes: &'a [u8],
}

impl File<'_> {
    fn read<const N: usize>(&self, at: usize) -> Result<[u8; N], String> {
        let found = at.checked_add(N).and_then(|end| self.bytes.get(at..end));
        found.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| format!("byte {at}: outside of the file"))
    }

    fn u16(&self, at: usize) -> Result<usize, String> {
        Ok(usize::from(u16::from_le_bytes(self.read(at)?)))
    }

    fn u32(&self, at: usize) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.read(at)?))
    }

    /// Where the offset at `at` points.
    fn offset(&self, at: usize) -> Result<usize, String> {
        Ok(at + self.u32(at)? as usize)
    }

    fn table(&self, at: usize) -> Result<Table, String> {
        let back = i32::from_le_bytes(self.read(at)?);
        let fields = usize::try_from(at as i64 - i64::from(back)).map_err(|_| format!("byte {at}: a stray table"))?;
        let (fields_bytes, bytes) = (self.u16(fields)?, self.u16(fields + 2)?);
        let fits = |at: usize, len: usize| at + len <= self.bytes.len();
        if fields_bytes < 4 || fields_bytes % 2 != 0 || bytes < 4 || !fits(fields, fields_bytes) || !fits(at, bytes) {
            return Err(format!("byte {at}: a table that leaves the file"));
        }
        Ok(Table { at, bytes, fields, fields_bytes })
    }

    /// Where field `index`, of `size` bytes, stands; `None` if the table has none.
    fn field(&self, table: &Table, index: usize, size: usize) -> Result<Option<usize>, String> {
        let entry = 4 + 2 * index;
        if entry + 2 > table.fields_bytes {
            return Ok(None);
        }
        match self.u16(table.fields + entry)? {
            0 => Ok(None),
            place if place + size <= table.bytes => Ok(Some(table.at + place)),
            _ => Err(format!("byte {}: field {index} lies outside of its table", table.at)),
        }
    }

    /// A 32-bit number, 0 where it is left out.
    fn number(&self, table: &Table, index: usize) -> Result<u32, String> {
        self.field(table, index, 4)?.map_or(Ok(0), |at| self.u32(at))
    }

    /// Start and count of a vector of elements of `size` bytes, empty where it is left out.
    fn vector(&self, table: &Table, index: usize, size: usize) -> Result<(usize, usize), String> {
        let Some(at) = self.field(table, index, 4)? else { return Ok((0, 0)) };
        let at = self.offset(at)?;
        let count = self.u32(at)? as usize;
        match count.checked_mul(size).and_then(|bytes| bytes.checked_add(at + 4)) {
            Some(end) if end <= self.bytes.len() => Ok((at + 4, count)),
            _ => Err(format!("byte {at}: a vector of {count} that leaves the file")),
        }
    }
}

struct Walk<'a> {
    file: File<'a>,
    /// Elements that the walk may still look at.
    left: usize,
}

impl Walk<'_> {
    fn count(&mut self, more: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(more).ok_or("its parts overlap")?;
        Ok(())
    }

    fn tables(&mut self, table: &Table, index: usize) -> Result<Vec<Table>, String> {
        let (at, count) = self.file.vector(table, index, 4)?;
        self.count(count)?;
        (0..count).map(|i| self.file.table(self.file.offset(at + 4 * i)?)).collect()
    }

    fn integers(&mut self, table: &Table, index: usize) -> Result<Vec<i32>, String> {
        let (at, count) = self.file.vector(table, index, 4)?;
        self.count(count)?;
        (0..count).map(|i| self.file.read(at + 4 * i).map(i32::from_le_bytes)).collect()
    }

    /// Bytes of each buffer.
    fn buffers(&mut self, model: &Table) -> Result<Vec<usize>, String> {
        let buffers = self.tables(model, 4)?;
        let length = |buffer: &Table| match self.file.field(buffer, 1, 8)? {
            Some(at) if u64::from_le_bytes(self.file.read(at)?) > 1 => {
                Err("its constants stand behind the model, which this engine does not read".to_owned())
            }
            _ => Ok(self.file.vector(buffer, 0, 1)?.1),
        };
        buffers.iter().map(length).collect()
    }

    /// Codes of the operators that the model uses.
    fn codes(&mut self, model: &Table) -> Result<Vec<u32>, String> {
        let codes = self.tables(model, 1)?;
        let code = |table: &Table| {
            // Up to 127 it stands in a byte too, which was once the only place.
            let old = self.file.field(table, 0, 1)?.map_or(Ok([0]), |at| self.file.read::<1>(at))?[0];
            Ok(self.file.number(table, 3)?.max(u32::from(old)))
        };
        codes.iter().map(code).collect()
    }

    fn graph(&mut self, graph: &Table, codes: &[u32], buffers: &[usize]) -> Result<(), String> {
        let tables = self.tables(graph, 0)?;
        // Whether each is a constant.
        let tensors = tables.iter().map(|tensor| self.tensor(tensor, buffers)).collect::<Result<Vec<_>, _>>()?;
        let inside = |index: i32| usize::try_from(index).is_ok_and(|index| index < tensors.len());
        for (field, what) in [(1, "inputs"), (2, "outputs")] {
            let ends = self.integers(graph, field)?;
            if ends.is_empty() || !ends.into_iter().all(inside) {
                return Err(format!("the graph's {what} are not among its {} tensors", tensors.len()));
            }
        }
        for operator in &self.tables(graph, 3)? {
            self.operator(operator, codes, &tensors)?;
        }
        Ok(())
    }

    fn operator(&mut self, operator: &Table, codes: &[u32], tensors: &[bool]) -> Result<(), String> {
        let refuse = |what: &str| Err(format!("byte {}: an operator {what}", operator.at));
        let Some(&code) = codes.get(self.file.number(operator, 0)? as usize) else {
            return refuse("without a code");
        };
        let constant = |index: i32| usize::try_from(index).ok().and_then(|index| tensors.get(index)).copied();
        let inputs = self.integers(operator, 1)?;
        // An input of -1 is one that is left out.
        let there = inputs.iter().all(|&index| index == -1 || constant(index).is_some());
        if !there || !self.integers(operator, 2)?.into_iter().all(|index| constant(index).is_some()) {
            return refuse("on tensors that there are not");
        }
        // What its options hold depends on the operator, and the parser knows; that they are a table is known.
        let options = self.file.field(operator, 4, 4)?;
        if let Some(at) = options {
            self.file.table(self.file.offset(at)?)?;
        }
        let Some(known) = tflite_operators::find(code) else { return Ok(()) };
        let kind = self.file.field(operator, 3, 1)?.map_or(Ok([0]), |at| self.file.read::<1>(at))?[0];
        if known.options != 0 && (options.is_none() || kind != known.options) {
            return refuse(&format!("of code {code} without its options"));
        }
        for &place in known.constants {
            if inputs.get(place).is_some_and(|&index| constant(index) == Some(false)) {
                return refuse(&format!("of code {code} whose input {place} is not constant"));
            }
        }
        Ok(())
    }

    /// Checks a tensor; returns whether it is a constant.
    fn tensor(&mut self, tensor: &Table, buffers: &[usize]) -> Result<bool, String> {
        let refuse = |what: &str| Err(format!("byte {}: a tensor {what}", tensor.at));
        let (name, length) = self.file.vector(tensor, 3, 1)?;
        if std::str::from_utf8(&self.file.bytes[name..name + length]).is_err() {
            return refuse("whose name is no text");
        }
        let shape = self.integers(tensor, 0)?;
        let elements = shape.iter().try_fold(1_u64, |product, &dim| {
            product.checked_mul(u64::try_from(dim).ok()?).filter(|&product| product <= TENSOR_BYTES_MAX)
        });
        let Some(elements) = elements.filter(|_| shape.len() <= RANK_MAX) else {
            return refuse(&format!("of shape {shape:?}"));
        };
        let buffer = self.file.number(tensor, 2)?;
        let Some(&length) = buffers.get(buffer as usize) else {
            return refuse(&format!("in buffer {buffer} of {}", buffers.len()));
        };
        let kind = self.file.field(tensor, 1, 1)?.map_or(Ok([0]), |at| self.file.read::<1>(at))?[0];
        let expected = element_bytes(kind).map(|bytes| bytes * elements);
        if length != 0 && expected.is_some_and(|expected| expected != length as u64) {
            return refuse(&format!("of shape {shape:?} whose constant has {length} bytes"));
        }
        if let Some(at) = self.file.field(tensor, 4, 4)? {
            let quantisation = self.file.table(self.file.offset(at)?)?;
            let (_, scales) = self.file.vector(&quantisation, 2, 4)?;
            let (_, zeros) = self.file.vector(&quantisation, 3, 8)?;
            if scales != zeros && zeros != 0 {
                return refuse(&format!("with {scales} scales and {zeros} zero points"));
            }
        }
        Ok(length != 0)
    }
}

/// Bytes of an element of the schema's `TensorType`; `None` for text and what packs several into a byte.
fn element_bytes(kind: u8) -> Option<u64> {
    match kind {
        3 | 6 | 9 => Some(1),
        1 | 7 | 16 | 18 => Some(2),
        0 | 2 | 15 => Some(4),
        4 | 8 | 10 | 12 => Some(8),
        11 => Some(16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bundled() -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/roadside.tflite");
        std::fs::read(path).expect("the bundled network")
    }

    #[test]
    fn the_bundled_network_is_well_formed() {
        assert_eq!(check(&bundled()), Ok(()));
    }

    #[test]
    fn other_formats_are_told_apart() {
        for bytes in [&b""[..], b"TFL3", &[0xff; 100], b"\x08\x08\x3a\x00\x00\x00\x00\x00"] {
            assert!(check(bytes).unwrap_err().contains("no TensorFlow Lite file"), "{bytes:?}");
        }
        assert!(check(b"\x00\x00\x01\x00TFL3").unwrap_err().contains("outside of the file"));
    }

    #[test]
    fn a_truncated_file_is_found_at_any_length() {
        let bytes = bundled();
        for part in 0..64 {
            assert!(check(&bytes[..bytes.len() * part / 64]).is_err(), "{part}/64");
        }
        assert!(check(&bytes[..bytes.len() - 1]).is_err() || bytes.ends_with(&[0]), "all but padding is needed");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn damage_never_panics(places in prop::collection::vec((0_usize..40_000, any::<u8>()), 1..20)) {
            let mut bytes = bundled();
            // The graph stands at one end of the file, the weights at the other.
            let start = bytes.len() - 40_000;
            for (place, value) in &places {
                bytes[start * usize::from(place % 2 == 0) + place] = *value;
            }
            let _ = check(&bytes);
        }

        #[test]
        fn no_input_panics_or_hangs(tail in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(4), Just(8)], 0..300)) {
            let _ = check(&[&[8, 0, 0, 0], &IDENTIFIER[..], &tail].concat());
        }
    }
}
