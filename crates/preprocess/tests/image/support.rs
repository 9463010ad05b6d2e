//! Frames and calls that several tests need.

use preprocess::image::{
    Geometry, ImageError, Isa, Kernels, Limits, Options, Preprocessor, Report, Source, TensorSpec,
};

/// Large enough for every test, small enough to be quick.
pub const LIMITS: Limits = Limits { source_width: 640, source_height: 2_000, jpeg_bytes: 200_000 };

/// Next number of a linear congruential generator.
pub fn next_noise(noise: &mut u32) -> u32 {
    *noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *noise
}

/// `len` bytes of noise.
pub fn noise_bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut noise = seed;
    (0..len).map(|_| (next_noise(&mut noise) >> 24) as u8).collect()
}

/// A frame of noise.
pub fn noise_frame(geometry: Geometry, seed: u32) -> Vec<u8> {
    noise_bytes(geometry.raw_bytes().expect("a raw format") as usize, seed)
}

/// The inner loops for every set of instructions that this processor has; says which it lacks.
pub fn kernels() -> Vec<Kernels> {
    let mut found = Vec::new();
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
        match Kernels::of(isa) {
            Some(kernels) => found.push(kernels),
            None => println!("SKIPPED: this processor has no {isa}"),
        }
    }
    found
}

/// Runs one frame in these segments through a fresh preprocessor.
pub fn run_with(
    options: Options,
    spec: TensorSpec,
    segments: &[&[u8]],
    geometry: Geometry,
) -> Result<(Vec<f32>, Report), ImageError> {
    let mut preprocessor = Preprocessor::with_options(spec, LIMITS, options).expect("a valid specification");
    let mut tensor = vec![f32::NAN; spec.elements()];
    let report = preprocessor.run(&Source::new(segments), geometry, &mut tensor)?;
    Ok((tensor, report))
}

/// The same with the fastest of everything.
pub fn run_segments(
    spec: TensorSpec,
    segments: &[&[u8]],
    geometry: Geometry,
) -> Result<(Vec<f32>, Report), ImageError> {
    run_with(Options::default(), spec, segments, geometry)
}

/// Runs one frame in one segment through a fresh preprocessor.
pub fn run(spec: TensorSpec, frame: &[u8], geometry: Geometry) -> Vec<f32> {
    run_segments(spec, &[frame], geometry).expect("a valid frame").0
}
