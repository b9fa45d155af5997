//! Names are not simulated: what looks them up is a process of its own, and not for unit tests to call.
pub use crate::sys::linux::resolver::{
    AddressFamily, NoAnswer, address_records, addresses, service_records,
};
