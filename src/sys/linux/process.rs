//! What concerns this process as a whole.
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Asks that this process may have `wanted` descriptors open, and says how many it may have
/// now: perhaps fewer, as only root raises the hard limit; perhaps more, as no limit is lowered.
pub fn raise_descriptor_limit(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.unwrap_or(u64::MAX) < wanted {
        let raised = Rlimit { current: Some(wanted), maximum: Some(wanted.max(maximum)) };
        if wanted <= maximum || setrlimit(Resource::Nofile, raised).is_err() {
            let allowed = Rlimit { current: Some(wanted.min(maximum)), ..limit };
            // Should this fail too, then the limit stays, and the answer below says so.
            let _ = setrlimit(Resource::Nofile, allowed);
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::raise_descriptor_limit;

    #[test]
    fn the_limit_is_never_lowered() {
        let before = raise_descriptor_limit(0);
        assert!(before > 0);
        assert_eq!(raise_descriptor_limit(1), before);
    }

    #[test]
    fn the_answer_is_what_is_allowed_now() {
        let allowed = raise_descriptor_limit(256);
        assert!(allowed >= 256);
        assert_eq!(raise_descriptor_limit(0), allowed);
    }
}
