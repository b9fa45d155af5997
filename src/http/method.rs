//! method.
