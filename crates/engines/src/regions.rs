//! The memory in which areas lie, for engines that go on computing after `submit`, or that pin or import it.

use std::cell::Cell;
use std::ops::Range;

/// Memory that stays mapped as long as the process lives: the arena's regions.
///
/// Can only be made of memory that is never given back, so an engine that has checked [`Regions::contain`] may use the addresses of both areas
/// after `submit` has returned. Shared bytes may change at any time, which is what `Cell` says; that nobody else touches an area while
/// its ticket is out is the caller's promise (see [`crate::Engine`]). The provenance of the addresses is exposed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regions {
    inputs: [Range<usize>; 2],
    outputs: Range<usize>,
}

impl Regions {
    /// `inputs`: where inputs may lie, which may be mapped for reading only (the tensor slots, and the packets, of which an aligned one is read
    /// in place). `outputs`: where results are written.
    pub fn new(inputs: [&'static [Cell<u8>]; 2], outputs: &'static [Cell<u8>]) -> Self {
        Self { inputs: inputs.map(expose), outputs: expose(outputs) }
    }

    /// No memory is promised: an engine that needs some computes inside `submit`.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether both areas of a frame lie inside.
    pub fn contain(&self, input: &[u8], output: &[u8]) -> bool {
        let input = addresses(input);
        self.inputs.iter().any(|region| inside(&input, region)) && inside(&addresses(output), &self.outputs)
    }

    /// Addresses of the regions that hold inputs; empty where nothing was promised.
    pub fn inputs(&self) -> &[Range<usize>; 2] {
        &self.inputs
    }

    /// Addresses of the region that holds outputs; empty where nothing was promised.
    pub fn outputs(&self) -> &Range<usize> {
        &self.outputs
    }
}

fn expose(region: &'static [Cell<u8>]) -> Range<usize> {
    let start = region.as_ptr().expose_provenance();
    start..start + region.len()
}

fn addresses(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr().addr();
    start..start + bytes.len()
}

fn inside(area: &Range<usize>, region: &Range<usize>) -> bool {
    region.start <= area.start && area.end <= region.end && !area.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leak(len: usize) -> &'static [Cell<u8>] {
        vec![Cell::new(0); len].leak()
    }

    #[test]
    fn memory_from_elsewhere_is_not_inside() {
        let regions = Regions::new([leak(64), leak(64)], leak(64));
        let (elsewhere, target) = (vec![0; 64], vec![0; 64]);
        assert!(!regions.contain(&elsewhere, &target));
        assert!(!Regions::none().contain(&[], &[]) && !Regions::none().contain(&elsewhere, &target));
    }

    #[test]
    fn an_area_begins_and_ends_inside() {
        let region = 100..200;
        for area in [100..200, 100..101, 199..200] {
            assert!(inside(&area, &region), "{area:?}");
        }
        for area in [99..200, 100..201, 0..99, 200..201, 150..150] {
            assert!(!inside(&area, &region), "{area:?}");
        }
    }
}
