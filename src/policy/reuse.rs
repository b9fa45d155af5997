//! reuse.
