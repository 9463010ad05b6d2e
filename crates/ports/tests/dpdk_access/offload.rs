//! What ports take of an access list.
