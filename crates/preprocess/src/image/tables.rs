//! Filters for the source sizes seen lately. Streams rarely change size, so a few sets serve all of them.

use super::filter::{AxisFilter, taps_max};
use super::horizontal::ColumnFilter;
use super::spec::{Limits, TensorSpec};
use super::vertical::{NARROW_TAPS_MAX, VerticalFilter};
use crate::simd::Kernels;

/// Source sizes kept. More streams of different sizes than this still work, at the cost of computing filters again (tens of microseconds).
const SIZES_MAX: usize = 8;

/// Which filters a format needs besides those at full resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chroma {
    /// None: samples of all channels lie on one grid.
    Full,
    /// Chroma at half the width (4:2:2).
    HalfWidth,
    /// Chroma at half the width and half the height (4:2:0).
    Half,
}

/// The filters of one source size.
#[derive(Debug)]
pub(super) struct FilterSet {
    key: (u32, u32, Chroma),
    used_at: u64,
    pub vertical: VerticalFilter,
    pub horizontal: ColumnFilter,
    /// For chroma rows; empty unless the chroma is [`Chroma::Half`].
    pub vertical_chroma: VerticalFilter,
    /// For chroma columns; empty if it is [`Chroma::Full`].
    pub horizontal_chroma: ColumnFilter,
}

/// Horizontal filters in the making.
#[derive(Debug)]
struct Columns {
    full: AxisFilter,
    halved: AxisFilter,
}

/// Filter sets by source size, least recently used first out.
#[derive(Debug)]
pub(super) struct FilterCache {
    sets: Vec<FilterSet>,
    columns: Columns,
    uses: u64,
}

impl FilterCache {
    /// Reserves room for sources of any size within `limits`.
    pub fn new(spec: &TensorSpec, limits: &Limits, kernels: Kernels) -> Self {
        let vertical = || {
            let axis = AxisFilter::with_capacity(limits.source_height, spec.height, spec.resize);
            VerticalFilter::with_capacity(axis, kernels)
        };
        let taps_max = taps_max(limits.source_width, spec.width, spec.resize);
        let horizontal = || ColumnFilter::with_capacity(spec.width, taps_max, kernels);
        let columns = || AxisFilter::with_capacity(limits.source_width, spec.width, spec.resize);
        let sets = (0..SIZES_MAX).map(|_| FilterSet {
            // No source has size 0, so these are never found.
            key: (0, 0, Chroma::Full),
            used_at: 0,
            vertical: vertical(),
            horizontal: horizontal(),
            vertical_chroma: vertical(),
            horizontal_chroma: horizontal(),
        });
        Self { sets: sets.collect(), columns: Columns { full: columns(), halved: columns() }, uses: 0 }
    }

    /// The filters for a source of `width` x `height`, computed if it is new. Does not allocate for sizes within the limits.
    pub fn get(&mut self, spec: &TensorSpec, width: u32, height: u32, chroma: Chroma) -> &FilterSet {
        self.uses += 1;
        let key = (width, height, chroma);
        let found = self.sets.iter().position(|set| set.key == key);
        let index = found.unwrap_or_else(|| {
            let oldest = self.sets.iter().enumerate().min_by_key(|(_, set)| set.used_at);
            let index = oldest.map_or(0, |(index, _)| index);
            self.sets[index].rebuild(spec, key, &mut self.columns);
            index
        });
        let set = &mut self.sets[index];
        set.used_at = self.uses;
        set
    }
}

impl FilterSet {
    fn rebuild(&mut self, spec: &TensorSpec, key: (u32, u32, Chroma), columns: &mut Columns) {
        let (width, height, chroma) = key;
        self.key = key;
        self.vertical.axis_mut().rebuild(height, spec.height, spec.resize);
        self.vertical.quantise();
        columns.full.rebuild(width, spec.width, spec.resize);
        self.horizontal.rebuild(&columns.full, width as usize);
        if chroma != Chroma::Full {
            columns.halved.rebuild_halved(&columns.full);
            self.horizontal_chroma.rebuild(&columns.halved, width.div_ceil(2) as usize);
        }
        if chroma == Chroma::Half {
            self.vertical_chroma.axis_mut().rebuild_halved(self.vertical.axis());
            self.vertical_chroma.quantise();
        }
    }
}

/// Whether some source within `limits` needs a vertical filter of more than [`NARROW_TAPS_MAX`] taps.
pub(super) fn needs_wide_sums(spec: &TensorSpec, limits: &Limits) -> bool {
    taps_max(limits.source_height, spec.height, spec.resize) > NARROW_TAPS_MAX
}
