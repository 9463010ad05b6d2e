//! The configuration document: two halves, the generation's parity says which.

use arena::launch::{CONFIG_HALF_BYTES, read_config, write_config};
use arena::region::document;

fn file() -> std::os::fd::OwnedFd {
    document("flumeway-test-config", &[]).unwrap()
}

#[test]
fn a_generation_leaves_the_one_before_it_readable() {
    let fd = file();
    write_config(&fd, 1, "one").unwrap();
    write_config(&fd, 2, "a longer second").unwrap();
    assert_eq!((read_config(&fd, 1).unwrap(), read_config(&fd, 2).unwrap()), ("one".into(), "a longer second".into()));
    write_config(&fd, 3, "3").unwrap();
    assert_eq!((read_config(&fd, 2).unwrap(), read_config(&fd, 3).unwrap()), ("a longer second".into(), "3".into()));
}

#[test]
fn the_largest_fits_and_one_more_byte_does_not() {
    let (fd, most) = (file(), CONFIG_HALF_BYTES as usize - 8);
    write_config(&fd, 1, "odd").unwrap();
    write_config(&fd, 0, &"x".repeat(most)).unwrap();
    assert_eq!(read_config(&fd, 0).unwrap().len(), most);
    assert_eq!(read_config(&fd, 1).unwrap(), "odd", "the other half is untouched");
    let refused = write_config(&fd, 0, &"x".repeat(most + 1)).unwrap_err();
    assert!(refused.to_string().contains("longer than 1 MiB"), "{refused}");
}

#[test]
fn a_torn_or_foreign_document_is_an_error() {
    assert!(read_config(file(), 0).is_err(), "empty");
    let long = document("flumeway-test-config", &u64::MAX.to_le_bytes()).unwrap();
    assert!(read_config(long, 0).is_err(), "a length beyond the half");
    let binary = document("flumeway-test-config", &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]).unwrap();
    assert!(read_config(binary, 0).is_err(), "not UTF-8");
}
