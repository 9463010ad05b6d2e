//! The pass from raw pixels to the tensor: which planes a format has, and which samples of theirs make a pixel.

use super::color::{Normalise, TensorWriter, expand_luma, luma, yuv_to_rgb};
use super::format::{Geometry, PixelFormat};
use super::horizontal::Pixel;
use super::source::{Cursor, Source};
use super::spec::{Limits, TensorSpec};
use super::tables::{Chroma, FilterCache, FilterSet, needs_wide_sums};
use super::vertical::{PlaneReader, vector_rows_max};
use crate::simd::{BLOCK, Columns, Kernels, RowStore};

/// Everything that turns a checked raw frame into a tensor.
#[derive(Debug)]
pub(super) struct Resizer {
    spec: TensorSpec,
    normalise: Normalise,
    kernels: Kernels,
    filters: FilterCache,
    stores: Stores,
    /// One vertically filtered row of the only or the luma plane.
    row: Vec<u16>,
    /// One vertically filtered row of the chroma plane, or the next row of the only one.
    chroma_row: Vec<u16>,
    /// Sums of filters with very many taps.
    wide: Vec<u32>,
    /// One row of the output's pixels, filtered both ways.
    pixels: Vec<Pixel>,
    /// The next row.
    more_pixels: Vec<Pixel>,
}

/// Memory for source rows in the making, per plane.
#[derive(Debug)]
struct Stores {
    first: RowStore,
    chroma: RowStore,
}

impl Resizer {
    /// Allocates all that frames within `limits` need. Both arguments must have been validated.
    pub fn new(spec: TensorSpec, limits: &Limits, kernels: Kernels) -> Self {
        // Three bytes per pixel, rounded up to whole YUYV pairs, and the padding that the horizontal filter reads.
        let row_bytes = limits.source_width as usize * 3 + 4;
        // Whole blocks, which the vertical filter makes.
        let row_len = row_bytes.next_multiple_of(BLOCK) + Columns::PADDING;
        let rows = vector_rows_max(kernels, limits.source_height, spec.height, spec.resize);
        let store = || RowStore::with_capacity(row_bytes, rows);
        let wide_len = if needs_wide_sums(&spec, limits) { row_len } else { 0 };
        Self {
            spec,
            normalise: Normalise::new(&spec),
            kernels,
            filters: FilterCache::new(&spec, limits, kernels),
            stores: Stores { first: store(), chroma: store() },
            row: vec![0; row_len],
            chroma_row: vec![0; row_len],
            wide: vec![0; wide_len],
            // Whole groups of four, which the horizontal filter makes.
            pixels: vec![[0.0; 4]; spec.width.next_multiple_of(4) as usize],
            more_pixels: vec![[0.0; 4]; spec.width.next_multiple_of(4) as usize],
        }
    }

    /// Fills `out` from a raw frame. Its length and size, and the length of `out`, must have been checked.
    pub fn run(&mut self, source: &Source<'_>, geometry: Geometry, out: &mut [f32]) {
        let chroma = match geometry.format {
            PixelFormat::Nv12 => Chroma::Half,
            PixelFormat::Yuyv => Chroma::HalfWidth,
            _ => Chroma::Full,
        };
        let filters = self.filters.get(&self.spec, geometry.width, geometry.height, chroma);
        let mut pass = Pass {
            cursor: Cursor::start(source),
            width: geometry.width as usize,
            height: geometry.height as usize,
            gray_tensor: self.spec.channels() == 1,
            tensor: TensorWriter::new(&self.spec, self.normalise, self.kernels, out),
            filters,
            row: &mut self.row,
            chroma_row: &mut self.chroma_row,
            wide: &mut self.wide,
            pixels: &mut self.pixels,
            more_pixels: &mut self.more_pixels,
        };
        let stores = &mut self.stores;
        match geometry.format {
            PixelFormat::Rgb8 => pass.rgb::<false>(stores),
            PixelFormat::Bgr8 => pass.rgb::<true>(stores),
            PixelFormat::Gray8 => pass.gray(stores),
            PixelFormat::Nv12 => pass.nv12(stores),
            PixelFormat::Yuyv => pass.yuyv(stores),
            // Not pixels: the caller decodes or copies these.
            PixelFormat::Jpeg | PixelFormat::TensorF32 => {}
        }
    }
}

/// One frame's way through the filters.
struct Pass<'a, 's> {
    cursor: Cursor<'s>,
    width: usize,
    height: usize,
    gray_tensor: bool,
    tensor: TensorWriter<'a>,
    filters: &'a FilterSet,
    row: &'a mut [u16],
    chroma_row: &'a mut [u16],
    wide: &'a mut [u32],
    pixels: &'a mut [Pixel],
    more_pixels: &'a mut [Pixel],
}

impl Pass<'_, '_> {
    fn rows(&self) -> usize {
        self.filters.vertical.axis().len()
    }

    /// Two output rows at a time where they share source rows: they share the weights along the row, too.
    fn rgb<const BGR: bool>(&mut self, stores: &mut Stores) {
        let (vertical, horizontal) = (&self.filters.vertical, &self.filters.horizontal);
        let mut plane = PlaneReader::new(self.cursor, self.width * 3, vertical, &mut stores.first);
        let zero = horizontal.zero_of_three();
        let mut index = 0;
        while index < self.rows() {
            let pair = plane.filter_two_rows(vertical, index, zero, [self.row, self.chroma_row]);
            if pair {
                horizontal.three_of_two_rows([self.row, self.chroma_row], [self.pixels, self.more_pixels]);
            } else {
                plane.filter_row(vertical, index, zero, self.row, self.wide);
                horizontal.three(self.row, self.pixels);
            }
            self.write_samples::<BGR>(index);
            if pair {
                std::mem::swap(&mut self.pixels, &mut self.more_pixels);
                self.write_samples::<BGR>(index + 1);
            }
            index += 1 + usize::from(pair);
        }
    }

    /// Writes row `index` from pixels whose lanes hold R, G, B or B, G, R.
    fn write_samples<const BGR: bool>(&mut self, index: usize) {
        if self.gray_tensor {
            let in_order = |[a, b, c, _]: Pixel| if BGR { [c, b, a] } else { [a, b, c] };
            self.tensor.row_gray(index, self.pixels, |pixel| luma(in_order(pixel)));
        } else {
            self.tensor.row_samples(index, self.pixels, BGR);
        }
    }

    fn gray(&mut self, stores: &mut Stores) {
        let mut plane = PlaneReader::new(self.cursor, self.width, &self.filters.vertical, &mut stores.first);
        for index in 0..self.rows() {
            plane.filter_row(&self.filters.vertical, index, 0, self.row, self.wide);
            self.filters.horizontal.one::<1>(self.row, 0, self.pixels);
            if self.gray_tensor {
                self.tensor.row_gray(index, self.pixels, |pixel| pixel[0]);
            } else {
                self.tensor.row_rgb(index, self.pixels, |pixel| [pixel[0]; 3]);
            }
        }
    }

    fn nv12(&mut self, stores: &mut Stores) {
        let mut plane = PlaneReader::new(self.cursor, self.width, &self.filters.vertical, &mut stores.first);
        let mut chroma_cursor = self.cursor;
        chroma_cursor.skip(self.width * self.height);
        let filter = &self.filters.vertical_chroma;
        let mut chroma_plane = PlaneReader::new(chroma_cursor, self.width.div_ceil(2) * 2, filter, &mut stores.chroma);
        for index in 0..self.rows() {
            plane.filter_row(&self.filters.vertical, index, 0, self.row, self.wide);
            self.filters.horizontal.one::<1>(self.row, 0, self.pixels);
            if !self.gray_tensor {
                chroma_plane.filter_row(&self.filters.vertical_chroma, index, 0, self.chroma_row, self.wide);
                self.filters.horizontal_chroma.one::<2>(self.chroma_row, 1, self.pixels);
                self.filters.horizontal_chroma.one::<2>(&self.chroma_row[1..], 2, self.pixels);
            }
            self.write_yuv(index);
        }
    }

    fn yuyv(&mut self, stores: &mut Stores) {
        let mut plane =
            PlaneReader::new(self.cursor, self.width.div_ceil(2) * 4, &self.filters.vertical, &mut stores.first);
        for index in 0..self.rows() {
            plane.filter_row(&self.filters.vertical, index, 0, self.row, self.wide);
            self.filters.horizontal.one::<2>(self.row, 0, self.pixels);
            if !self.gray_tensor {
                self.filters.horizontal_chroma.one::<4>(&self.row[1..], 1, self.pixels);
                self.filters.horizontal_chroma.one::<4>(&self.row[3..], 2, self.pixels);
            }
            self.write_yuv(index);
        }
    }

    /// Writes row `index` from pixels whose lanes hold Y, U, V.
    fn write_yuv(&mut self, index: usize) {
        if self.gray_tensor {
            self.tensor.row_gray(index, self.pixels, |pixel| expand_luma(pixel[0]));
        } else {
            self.tensor.row_rgb(index, self.pixels, |[y, u, v, _]| yuv_to_rgb(y, u, v));
        }
    }
}
