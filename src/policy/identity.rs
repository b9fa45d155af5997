//! Whether a response is the answer to the request it came for: the backend's `X-Request-ID`.
//!
//! A response that belongs to another request is the worst that a proxy can deliver. Many backends
//! return the id that they were sent, and from those another one is proof.

use crate::config::RequestId;

/// After so many echoes in a row a response without the field is suspect.
const SURE_AFTER: u8 = 100;

/// What is known of one backend's habit of returning the id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Echo {
    /// It does not, or it has not answered yet.
    #[default]
    Silent,
    /// It returned the id with the first response of a fresh connection: so it knows the field.
    Echoes {
        /// How many responses in a row, up to now, had it. Below `SURE_AFTER`.
        in_a_row: u8,
    },
    /// It returned the id so often in a row that it does so always.
    Always,
}

impl Echo {
    /// Whether the backend returns the id.
    pub const fn echoes(self) -> bool {
        match self {
            Echo::Silent => false,
            Echo::Echoes { .. } | Echo::Always => true,
        }
    }
}

/// The `X-Request-ID` of a response, against the one that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The field is not there.
    Absent,
    /// It has the value that was sent.
    Same,
    /// It has another value, or several.
    Other,
}

/// What of a response tells whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// It is the first response of its connection.
    pub fresh: bool,
    /// Its `X-Request-ID`.
    pub id: Seen,
    /// Its status.
    pub status: u16,
}

/// What [`judge`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nothing speaks against the response.
    Match,
    /// It is another request's: nothing of it may be delivered, and its connection must close.
    Mismatch,
}

/// Judges a final response, and remembers in `echo` what it says of its backend.
///
/// What is learned does not depend on `mode`, so that a look at the backend shows it.
pub fn judge(mode: RequestId, echo: &mut Echo, observed: Observed) -> Identity {
    let before = *echo;
    *echo = learn(before, observed);
    let matches = match mode {
        RequestId::Off => true,
        RequestId::Require => observed.id == Seen::Same,
        RequestId::Auto => match observed.id {
            Seen::Same => true,
            Seen::Other => !before.echoes(),
            Seen::Absent => before != Echo::Always || observed.fresh || observed.status >= 400,
        },
    };
    if matches { Identity::Match } else { Identity::Mismatch }
}

/// On a fresh connection nothing can be mixed up, so its first response alone makes a backend one
/// that echoes, or ends that. What else a suspect response lacks does not make the next one less
/// suspect.
fn learn(echo: Echo, observed: Observed) -> Echo {
    match (observed.id, echo) {
        (Seen::Same, Echo::Silent) if observed.fresh => Echo::Echoes { in_a_row: 1 },
        (Seen::Same, Echo::Echoes { in_a_row }) if in_a_row + 1 < SURE_AFTER => {
            Echo::Echoes { in_a_row: in_a_row + 1 }
        }
        (Seen::Same, Echo::Echoes { .. } | Echo::Always) => Echo::Always,
        (Seen::Absent, _) if observed.fresh => Echo::Silent,
        (Seen::Absent | Seen::Other, Echo::Echoes { .. }) => Echo::Echoes { in_a_row: 0 },
        (Seen::Absent | Seen::Other, Echo::Always) => Echo::Always,
        (Seen::Same | Seen::Absent | Seen::Other, Echo::Silent) => Echo::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::Identity::{Match, Mismatch};
    use super::*;

    fn fresh(id: Seen, status: u16) -> Observed {
        Observed { fresh: true, id, status }
    }

    fn later(id: Seen, status: u16) -> Observed {
        Observed { fresh: false, id, status }
    }

    fn after(echoes: u32) -> Echo {
        let mut echo = Echo::default();
        for count in 0..echoes {
            let observed = Observed { fresh: count == 0, id: Seen::Same, status: 200 };
            assert_eq!(judge(RequestId::Auto, &mut echo, observed), Match);
        }
        echo
    }

    #[test]
    fn only_the_first_response_of_a_fresh_connection_makes_a_backend_one_that_echoes() {
        let mut echo = Echo::default();
        assert_eq!(judge(RequestId::Auto, &mut echo, later(Seen::Same, 200)), Match);
        assert!(!echo.echoes());
        assert_eq!(judge(RequestId::Auto, &mut echo, later(Seen::Other, 200)), Match);
        assert_eq!(judge(RequestId::Auto, &mut echo, fresh(Seen::Other, 200)), Match);
        assert!(!echo.echoes());
        assert_eq!(judge(RequestId::Auto, &mut echo, fresh(Seen::Same, 500)), Match);
        assert!(echo.echoes());
    }

    #[test]
    fn another_value_from_a_backend_that_echoes_is_a_mismatch() {
        for echoes in [1, 2, 99, 100, 1000] {
            for status in [200, 404, 500] {
                for observed in [later(Seen::Other, status), fresh(Seen::Other, status)] {
                    let mut echo = after(echoes);
                    assert_eq!(judge(RequestId::Auto, &mut echo, observed), Mismatch);
                    assert!(echo.echoes(), "and it is still one that echoes");
                }
            }
        }
    }

    #[test]
    fn after_100_echoes_in_a_row_a_response_below_400_without_the_field_is_a_mismatch() {
        for (echoes, status, wanted) in [
            (1, 200, Match),
            (99, 200, Match),
            (100, 200, Mismatch),
            (100, 399, Mismatch),
            (100, 400, Match),
            (100, 503, Match),
            (101, 200, Mismatch),
            (5000, 304, Mismatch),
        ] {
            let mut echo = after(echoes);
            let place = format!("{status} after {echoes}");
            assert_eq!(
                judge(RequestId::Auto, &mut echo, later(Seen::Absent, status)),
                wanted,
                "{place}"
            );
            assert!(echo.echoes(), "{place}");
        }
    }

    #[test]
    fn the_row_starts_again_where_it_is_broken() {
        let mut echo = after(99);
        judge(RequestId::Auto, &mut echo, later(Seen::Absent, 200));
        for _ in 0..99 {
            judge(RequestId::Auto, &mut echo, later(Seen::Same, 200));
        }
        assert_eq!(judge(RequestId::Auto, &mut echo, later(Seen::Absent, 200)), Match);
        for _ in 0..100 {
            judge(RequestId::Auto, &mut echo, later(Seen::Same, 200));
        }
        assert_eq!(judge(RequestId::Auto, &mut echo, later(Seen::Absent, 200)), Mismatch);
    }

    #[test]
    fn one_mismatch_does_not_make_the_next_less_suspect() {
        let mut echo = after(100);
        for observed in
            [later(Seen::Absent, 200), later(Seen::Other, 200), later(Seen::Absent, 200)]
        {
            assert_eq!(judge(RequestId::Auto, &mut echo, observed), Mismatch);
        }
    }

    #[test]
    fn a_fresh_connection_without_the_field_ends_it() {
        for status in [200, 404] {
            let mut echo = after(150);
            assert_eq!(judge(RequestId::Auto, &mut echo, fresh(Seen::Absent, status)), Match);
            assert_eq!(echo, Echo::Silent);
            assert_eq!(judge(RequestId::Auto, &mut echo, later(Seen::Absent, 200)), Match);
            assert_eq!(judge(RequestId::Auto, &mut echo, later(Seen::Other, 200)), Match);
        }
    }

    #[test]
    fn where_it_is_required_only_the_right_value_will_do() {
        for echo in [Echo::Silent, Echo::Echoes { in_a_row: 3 }, Echo::Always] {
            for status in [200, 404] {
                for (id, wanted) in
                    [(Seen::Same, Match), (Seen::Other, Mismatch), (Seen::Absent, Mismatch)]
                {
                    for observed in [fresh(id, status), later(id, status)] {
                        assert_eq!(judge(RequestId::Require, &mut echo.clone(), observed), wanted);
                    }
                }
            }
        }
    }

    #[test]
    fn where_it_is_off_all_pass() {
        for mut echo in [Echo::Silent, Echo::Echoes { in_a_row: 3 }, Echo::Always] {
            for id in [Seen::Same, Seen::Other, Seen::Absent] {
                assert_eq!(judge(RequestId::Off, &mut echo, later(id, 200)), Match);
            }
        }
    }
}
