//! chunked.
