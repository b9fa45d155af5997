//! Messages: bytes to meaning and back. Pure: no descriptors, no clock, no randomness.
//!
//! A head is found by [`HeadScan`], read by [`request::parse`] or [`response::parse`] in one pass
//! that validates all of it, and written anew by [`rewrite`]; [`body::Body`] knows where the message
//! that it begins will end. What is not readable in one way only does not get past `parse`.

pub mod auth;
pub mod body;
pub mod cache_control;
pub mod cache_fields;
pub mod cache_status;
pub mod chunked;
pub mod cookie;
pub mod date;
pub mod error_page;
pub mod fields;
pub mod following;
pub mod forwarded;
pub mod framing;
#[cfg(test)]
mod heads_tests;
pub mod line_ends;
pub mod message;
pub mod method;
#[cfg(test)]
mod naive;
mod names;
pub mod proxy_header;
pub mod reply;
pub mod request;
pub mod response;
pub mod rewrite;
pub mod scan;
pub mod structured;
#[cfg(test)]
pub(crate) mod testing;
pub mod upgrade;

pub use fields::Fields;
pub use message::Version;
pub use method::Method;
pub use request::{Refusal, RequestHead};
pub use response::BadResponse;
pub use scan::{HeadScan, Scan};
