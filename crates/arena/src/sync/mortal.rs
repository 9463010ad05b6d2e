//! Atomics before each of whose stores the thread may die.

use super::{Ordering, death};

#[cfg(not(any(loom, shuttle)))]
use core::sync::atomic as inner;
#[cfg(loom)]
use loom::sync::atomic as inner;
#[cfg(shuttle)]
use shuttle::sync::atomic as inner;

pub use inner::fence;

macro_rules! mortal {
    ($name:ident, $value:ty) => {
        /// As `core`'s, with the operations that this crate uses: it needs no read-modify-write.
        #[repr(transparent)]
        #[derive(Debug)]
        #[cfg_attr(not(any(loom, shuttle)), derive(Default))]
        pub struct $name(inner::$name);

        impl $name {
            /// Holds `value`.
            #[inline]
            #[cfg(not(any(loom, shuttle)))]
            pub const fn new(value: $value) -> Self {
                Self(inner::$name::new(value))
            }

            /// Holds `value`.
            #[cfg(any(loom, shuttle))]
            pub fn new(value: $value) -> Self {
                Self(inner::$name::new(value))
            }

            /// Reads.
            #[inline]
            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            /// Dies or writes.
            #[inline]
            pub fn store(&self, value: $value, order: Ordering) {
                death::step();
                self.0.store(value, order);
            }
        }
    };
}

mortal!(AtomicU32, u32);
mortal!(AtomicU64, u64);
