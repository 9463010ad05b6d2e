//! Without the feature `library` there is nothing to build.

#[cfg(feature = "library")]
#[path = "build/library.rs"]
mod library;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "library")]
    library::make();
}
