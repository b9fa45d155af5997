//! Whether what is asked of a backend or a pool fails, so that this is told when it begins and when it
//! ends, and not for each request.

/// Requests that are needed to speak of a trouble.
const LEAST: u64 = 10;

/// What became of requests in some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcomes {
    /// Requests that ended.
    pub ended: u64,
    /// Requests among these that failed.
    pub failed: u64,
}

impl Outcomes {
    /// Whether these are enough to judge by: else the requests of a longer time are looked at.
    pub fn are_enough(self) -> bool {
        self.ended >= LEAST
    }
}

/// Whether requests fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Few do, or none.
    #[default]
    None,
    /// Half of them do, or did until a short while ago.
    Failing,
}

impl Trouble {
    /// What it is after so much in the last ten seconds, and in the last minute.
    ///
    /// Half of the requests must fail for it to begin, and nine of ten succeed for it to end: what lies
    /// between changes nothing. Who has few requests is judged by those of the minute, if one of the ten
    /// seconds has failed: else it is over.
    pub fn after(self, ten_seconds: Outcomes, minute: Outcomes) -> Trouble {
        let many = if ten_seconds.are_enough() { ten_seconds } else { minute };
        let half_fail = many.are_enough() && 2 * many.failed >= many.ended;
        match self {
            Trouble::None if half_fail && ten_seconds.failed > 0 => Trouble::Failing,
            Trouble::Failing
                if ten_seconds.ended > 0 && 10 * ten_seconds.failed <= ten_seconds.ended =>
            {
                Trouble::None
            }
            Trouble::None | Trouble::Failing => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_when_half_fail_and_ends_when_nine_of_ten_succeed() {
        let of = |ended, failed| Outcomes { ended, failed };
        let nothing = of(0, 0);
        for (before, ten_seconds, minute, after) in [
            (Trouble::None, of(50, 50), of(50, 50), Trouble::Failing),
            (Trouble::None, of(50, 25), of(500, 25), Trouble::Failing),
            (Trouble::None, of(50, 24), of(50, 50), Trouble::None),
            (Trouble::None, of(9, 9), of(9, 9), Trouble::None),
            (Trouble::None, of(3, 3), of(10, 5), Trouble::Failing),
            (Trouble::None, nothing, of(10, 10), Trouble::None),
            (Trouble::None, of(1, 0), of(50, 49), Trouble::None),
            (Trouble::None, of(1, 1), of(50, 49), Trouble::Failing),
            (Trouble::None, of(9, 9), of(100, 9), Trouble::None),
            (Trouble::Failing, of(10, 2), of(100, 50), Trouble::Failing),
            (Trouble::Failing, of(10, 1), of(100, 50), Trouble::None),
            (Trouble::Failing, of(1, 0), of(50, 49), Trouble::None),
            (Trouble::Failing, nothing, nothing, Trouble::Failing),
            (Trouble::None, nothing, nothing, Trouble::None),
        ] {
            assert_eq!(before.after(ten_seconds, minute), after, "{ten_seconds:?} {minute:?}");
        }
    }
}
