//! What every benchmark needs: the machine, statistics of rounds, and the report with its verdicts.
#![forbid(unsafe_code)]

pub mod figures;
pub mod machine;
pub mod statistics;

/// The project's root folder, where `benches/results` lies.
pub fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}
