//! What a machine lacks is said aloud, and is a failure where nothing may be lacking: in CI.

/// Set to anything, it makes a test that would be skipped fail.
const NO_SKIPS: &str = "FLUMEWAY_NO_SKIPS";

/// The test is skipped, because of this.
pub fn skipped(missing: &str) {
    assert!(std::env::var_os(NO_SKIPS).is_none(), "{missing}, and {NO_SKIPS} is set");
    println!("SKIPPED: {missing}");
}
