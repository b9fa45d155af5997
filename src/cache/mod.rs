//! Stored responses on disk.
pub mod cells;
pub mod checksum;
pub mod fetches;
pub mod index;
