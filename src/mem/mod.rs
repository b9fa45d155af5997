//! Preallocated containers: nothing here allocates after it was made, and memory that was never
//! used is never touched.
pub mod buffer;
pub mod free_list;
pub mod queue;
pub mod record_ring;
pub mod ring;
pub mod slab;
pub mod time;
pub mod timers;

#[cfg(test)]
pub(crate) mod xorshift;

/// Something that bytes are written to, at its end.
pub trait Append {
    /// Adds `bytes`. Panics when the room lacks: the caller has asked before.
    fn append(&mut self, bytes: &[u8]);
}

impl Append for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Appends `number` in decimal digits.
pub fn append_decimal(number: u64, out: &mut impl Append) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.append(&digits[start..]);
        }
    }
}
