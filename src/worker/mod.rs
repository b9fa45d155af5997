//! One proxying process.
