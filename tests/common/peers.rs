//! Real programs as peers, from Debian's packages.
