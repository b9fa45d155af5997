//! Messages: bytes to meaning and back.
pub mod body;
pub mod chunked;
pub mod date;
pub mod fields;
pub mod method;
pub mod reply;
pub mod request;
pub mod response;
pub mod rewrite;
pub mod scan;
