//! docs/PROTOCOL.md names every code as the crate does.

use wire::{BadRequestReason, DropReason, Encoding, RequestError, Status};

const TEXT: &str = include_str!("../../../../docs/PROTOCOL.md");

fn assert_row(code: u8, name: &str) {
    let row = format!("| {code} | `{name}` |");
    assert!(TEXT.contains(&row), "docs/PROTOCOL.md lacks the row {row}");
}

#[test]
fn all_codes_are_documented() {
    for encoding in Encoding::ALL {
        assert_row(encoding.code(), encoding.name());
    }
    for reason in DropReason::ALL {
        assert_row(reason.code(), reason.name());
    }
    for reason in BadRequestReason::ALL {
        assert_row(reason.code(), reason.name());
    }
    for code in 0..5 {
        assert_row(code, Status::from_codes(code, 1).unwrap().name());
    }
    for (code, name) in RequestError::NAMES.iter().enumerate().skip(1) {
        assert_row(code as u8, name);
    }
}
