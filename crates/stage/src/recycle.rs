//! Reusing a vector's memory for borrows of another lifetime.

/// An empty vector that keeps the memory of `used`, for references that live shorter (or longer) than its last ones did.
/// The standard library collects in place here, so nothing is allocated; a test counts.
pub fn recycle<'a, T: ?Sized>(mut used: Vec<&T>) -> Vec<&'a T> {
    used.clear();
    used.into_iter().map(|_| -> &'a T { unreachable!("the vector was cleared") }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_kept() {
        let long: Vec<&[u8]> = Vec::with_capacity(100);
        let at = long.as_ptr();
        let text = vec![1_u8];
        let mut short: Vec<&[u8]> = super::recycle(long);
        short.push(&text);
        assert_eq!(short.as_ptr().cast::<u8>(), at.cast());
        let again: Vec<&'static [u8]> = super::recycle(short);
        assert!(again.is_empty() && again.capacity() >= 100);
        assert_eq!(again.as_ptr(), at);
    }
}
