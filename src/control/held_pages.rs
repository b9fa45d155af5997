//! Pages that are not to be refreshed, for somebody has clicked into them: see `page.rs`.

use crate::sys::random;

/// So many are remembered. Of further ones the oldest is refreshed all the same.
const MOST: usize = 64;

/// Their names, the oldest at `next`.
pub struct HeldPages {
    names: [Option<u64>; MOST],
    next: usize,
}

impl HeldPages {
    /// None.
    pub const fn new() -> HeldPages {
        HeldPages { names: [None; MOST], next: 0 }
    }

    /// A name for a page, that of no other.
    pub fn new_name() -> String {
        let mut bytes = [0; 8];
        random::fill(&mut bytes);
        format!("{:016x}", u64::from_le_bytes(bytes))
    }

    /// Somebody has clicked into a page. What is no name of one is nothing.
    pub fn hold(&mut self, name: &str) {
        let Some(name) = parse(name).filter(|name| !self.names.contains(&Some(*name))) else {
            return;
        };
        self.names[self.next] = Some(name);
        self.next = (self.next + 1) % MOST;
    }

    /// Whether a page is held.
    pub fn is_held(&self, name: &str) -> bool {
        parse(name).is_some_and(|name| self.names.contains(&Some(name)))
    }
}

fn parse(name: &str) -> Option<u64> {
    let is_name = name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(name, 16).ok().filter(|_| is_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::world::{self, Faults};

    #[test]
    fn the_pages_that_were_clicked_into_last_are_held() {
        world::reset(1, Faults::default());
        let names: Vec<String> = (0..=MOST).map(|_| HeldPages::new_name()).collect();
        let mut held = HeldPages::new();
        assert!(!held.is_held(&names[0]));
        for name in &names {
            held.hold(name);
            held.hold(name);
            assert!(held.is_held(name));
        }
        assert!(!held.is_held(&names[0]) && held.is_held(&names[1]));
        for nonsense in ["", "x", "+000000000000001", "00000000000000000"] {
            held.hold(nonsense);
            assert!(!held.is_held(nonsense), "{nonsense}");
        }
    }
}
