//! Configuration files: whatever is valid can be written back and means the same, and whatever is
//! not is told in words.

use httplb::config::{self, Overrides};

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match config::load(text, &Overrides::default()) {
        Ok(config) => {
            let dump = config.dump();
            let again = config::load(&dump, &Overrides::default());
            assert_eq!(again.as_ref(), Ok(&config), "{text:?} as {dump}");
            assert_eq!(config.dump(), dump, "{text:?}");
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "{text:?}");
            for mistake in mistakes {
                let shown = mistake.to_string();
                let is_control = |c: char| c.is_control() && c != '\t';
                assert!(!shown.contains(is_control), "{shown:?} of {text:?}");
                assert!(!mistake.fault.is_empty() && !mistake.remedy.is_empty(), "{text:?}");
            }
        }
    }
}
