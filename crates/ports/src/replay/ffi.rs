//! The pages, mapped.
//!
//! Why unsafe: shared memory is reached through an address.

use super::page::{RxPage, TxPage};
use crate::PortError;
use arena::region::{ALIGN, Mapping};
use std::mem::size_of;
use std::os::fd::BorrowedFd;

/// Types of atomics alone: any bytes are a value, which may change at any time.
pub(super) trait Page {}
impl Page for RxPage {}
impl Page for TxPage {}

/// Bytes of the region that holds a page.
pub(super) const fn bytes<T: Page>() -> u64 {
    (size_of::<T>() as u64).next_multiple_of(ALIGN)
}

/// Maps the page in `fd`. One that is mapped for reading must not be stored to.
pub(super) fn map<T: Page>(fd: BorrowedFd<'_>, writable: bool) -> Result<&'static T, PortError> {
    let mapping = Mapping::map("replay cursors", fd, bytes::<T>(), writable)?;
    // SAFETY: mapped for the process's life, page aligned and long enough (the mapping's length was checked); atomics alone.
    Ok(unsafe { mapping.base().cast::<T>().as_ref() })
}
