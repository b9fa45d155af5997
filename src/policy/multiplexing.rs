//! How many requests, of whichever clients, may stand on one connection of a backend at once.
//!
//! Responses tell by their `X-Request-ID` whose they are, so a backend that returns it may be sent the
//! requests of many clients over one connection, in one send. What speaks against that is that they
//! wait for each other: behind a slow response, or a large one. So only who answers fast and small
//! shares, and how many stand on a connection is found out as a congestion window is: it grows with each
//! round that went well, quickly until the first time that one held the others up, and is halved then.

use crate::http::method::Method;
use crate::mem::time::{Micros, Millis};

use super::sharing::{LatencyEstimate, Leave};

/// Responses are usually below this size, head and all, or are not shared: 16 KiB and a head.
const SMALL: u64 = 18 * 1024;
/// Requests on a connection, at most.
const MOST: u32 = 64;
/// The requests on a connection take no longer than this together, as a rule.
const ROUND: Micros = Micros(4_000);
/// How long an exchange that holds others up is waited for, at least.
pub const LEAST_PATIENCE: Millis = Millis(5);
/// The same wait, in times of what the backend takes as a rule.
const PATIENCE_IN_PACES: u64 = 10;
/// Responses, after others were held up, that make room for one more request on a connection.
const CAREFUL: u32 = 100;
/// Responses in a row, after which the number of requests on a connection grows fast again.
const CALM: u32 = 2_000;
/// How long a backend that gave a wrong response for the first time shares nothing.
const FIRST_BAR: Millis = Millis::from_secs(10);
/// The longest time for which a backend shares nothing; it doubles each time.
const LONGEST_BAR: Millis = Millis::from_secs(3600);
/// Right responses in a row after which earlier wrong ones are forgotten.
const FORGIVEN: u32 = 100_000;

/// What is known of a request that may or may not share its connection.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its method.
    pub method: Method,
    /// Whether it may run beside others of its client: it is safe and has no body.
    pub is_pipelinable: bool,
    /// httplb has made its identifier.
    pub id_made_here: bool,
    /// Whether its credentials are for its connection.
    pub authorizes_connection: bool,
}

/// Why a request shares its connection with none of another client, if it does not.
pub fn alone_because(request: Candidate) -> Option<&'static str> {
    if !matches!(request.method, Method::Get | Method::Options) || !request.is_pipelinable {
        return Some("only GET and OPTIONS without a body share");
    }
    if !request.id_made_here {
        return Some("its X-Request-ID is the client's own, which proves nothing");
    }
    request.authorizes_connection.then_some("its credentials are for its connection")
}

/// What an operator reads of a backend's connections. With its usual time, they are shared.
pub fn described(shares: Result<Micros, Unshared>) -> String {
    match shares {
        Ok(usual) => {
            let tenths = usual.0.div_ceil(100);
            format!("yes: echoes, answers in {}.{} ms", tenths / 10, tenths % 10)
        }
        Err(why) => format!("no: {}", why.as_str()),
    }
}

/// The number in a cell for a backend whose connections are shared: not that of any reason why not.
const SHARES: u64 = 100;

/// Why a backend's connections carry one client's requests at a time. In an order of its own: the numbers
/// are those of a shared cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unshared {
    /// The backend did not return the identifier a hundred times in a row.
    NotEchoing = 1,
    /// The backend is slow, or does not keep its connections, or took no request early.
    Slow = 2,
    /// The backend's responses are large as a rule.
    Large = 3,
    /// The backend gave a response that was another request's, or none.
    Barred = 4,
    /// The backend's responses hold others up.
    HoldsUp = 5,
}

impl Unshared {
    /// All there are.
    pub const ALL: [Unshared; 5] = [
        Unshared::NotEchoing,
        Unshared::Slow,
        Unshared::Large,
        Unshared::Barred,
        Unshared::HoldsUp,
    ];

    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unshared::NotEchoing => "it has not echoed X-Request-ID 100 times in a row",
            Unshared::Slow => {
                "it answers slowly, closes its connections, or did not take a second request early"
            }
            Unshared::Large => "its responses are usually larger than 16 KiB",
            Unshared::Barred => "a response on a shared connection had not the right X-Request-ID",
            Unshared::HoldsUp => {
                "single responses are larger than buffer_size or take ten times as long as usual"
            }
        }
    }
}

/// Whether a backend's connections are shared, as a shared cell has it. `None`: it was not asked for.
pub fn to_cell(shares: Option<Result<(), Unshared>>) -> u64 {
    match shares {
        None => 0,
        Some(Ok(())) => SHARES,
        Some(Err(why)) => why as u64,
    }
}

/// What [`to_cell`] has written, whatever is in the cell.
pub fn from_cell(cell: u64) -> Option<Result<(), Unshared>> {
    match cell {
        0 => None,
        SHARES => Some(Ok(())),
        _ => Unshared::ALL.into_iter().find(|why| *why as u64 == cell).map(Err),
    }
}

/// What is known of how a backend's responses go together on one connection.
#[derive(Clone, Copy, Debug)]
pub struct Multiplexing {
    /// The usual size of a response: a moving average over about eight, in bytes.
    typical_size: u64,
    /// Requests that may stand on a connection.
    window: u32,
    /// Responses since the window last changed.
    answered: u32,
    /// Responses over shared connections since one held others up; the most there can be, if none ever did.
    calm: u32,
    /// Until when nothing is shared.
    barred: Millis,
    /// How long the next bar is.
    bar: Millis,
    /// Right responses since the last bar.
    right: u32,
}

impl Default for Multiplexing {
    /// A backend of which nothing is known.
    fn default() -> Multiplexing {
        Multiplexing {
            typical_size: 0,
            window: 2,
            answered: 0,
            calm: CALM,
            barred: Millis(0),
            bar: FIRST_BAR,
            right: 0,
        }
    }
}

impl Multiplexing {
    /// How many requests may stand on a connection of a backend of this pace, which takes requests
    /// early as far as `leave` says, and echoes or not.
    pub fn limit(
        &self,
        echoes: bool,
        leave: Leave,
        pace: &LatencyEstimate,
        now: Millis,
    ) -> Result<usize, Unshared> {
        if now < self.barred {
            return Err(Unshared::Barred);
        }
        if !echoes {
            return Err(Unshared::NotEchoing);
        }
        let most = match leave {
            Leave::None => return Err(Unshared::Slow),
            Leave::Pair => 2,
            Leave::Many => self.window,
        };
        if self.typical_size >= SMALL {
            return Err(Unshared::Large);
        }
        if self.window < 2 {
            return Err(Unshared::HoldsUp);
        }
        let in_a_round = (ROUND.0 / pace.usual().0.max(1)).max(2);
        Ok(u64::from(most).min(in_a_round) as usize)
    }

    /// A response of so many bytes has passed. Only one whose connection was shared tells whether it would
    /// hold others up, except where none is shared any more.
    pub fn passed(&mut self, bytes: u64, was_shared: bool) {
        self.typical_size = (7 * self.typical_size + bytes.min(4 * SMALL)) / 8;
        if !was_shared && self.window >= 2 {
            return;
        }
        self.calm = self.calm.saturating_add(u32::from(was_shared));
        self.right = self.right.saturating_add(1);
        if self.right >= FORGIVEN {
            self.bar = FIRST_BAR;
        }
        self.answered += 1;
        let round = if self.calm < CALM { CAREFUL } else { self.window };
        if self.answered >= round {
            self.answered = 0;
            let more = if self.calm < CALM { 1 } else { self.window };
            self.window = (self.window + more).min(MOST);
        }
    }

    /// A response held others up for longer than the patience, or was too large to be waited for: fewer stand
    /// together.
    pub fn held_up(&mut self) {
        self.window = (self.window / 2).max(1);
        self.answered = 0;
        self.calm = 0;
    }

    /// A response was not that of its request.
    pub fn mistook(&mut self, now: Millis) {
        if now < self.barred {
            return; // What was shared before the bar: one cause, one bar.
        }
        self.barred = now + self.bar;
        self.bar = Millis(self.bar.0 * 2).min(LONGEST_BAR);
        self.right = 0;
    }
}

/// How long those behind a response wait for it, of a backend of this pace.
pub fn patience(pace: &LatencyEstimate) -> Micros {
    Micros::from(LEAST_PATIENCE).max(Micros(PATIENCE_IN_PACES * pace.usual().0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(5_000);

    fn fast() -> LatencyEstimate {
        let mut pace = LatencyEstimate::default();
        (0..40).for_each(|_| pace.observe(Micros(10), true));
        pace
    }

    fn limit(known: &Multiplexing) -> Result<usize, Unshared> {
        known.limit(true, Leave::Many, &fast(), NOW)
    }

    fn grown() -> Multiplexing {
        let mut known = Multiplexing::default();
        (0..200).for_each(|_| known.passed(300, true));
        known
    }

    #[test]
    fn it_grows_quickly_up_to_the_most() {
        let mut known = Multiplexing::default();
        assert_eq!(limit(&known), Ok(2));
        (0..2).for_each(|_| known.passed(300, true));
        assert_eq!(limit(&known), Ok(4));
        assert_eq!(limit(&grown()), Ok(MOST as usize));
    }

    #[test]
    fn who_holds_others_up_halves_it_and_grows_with_care_until_it_is_calm() {
        let mut known = grown();
        known.held_up();
        assert_eq!(limit(&known), Ok(32));
        (0..CAREFUL).for_each(|_| known.passed(300, true));
        assert_eq!(limit(&known), Ok(33));
        (0..CALM + 33).for_each(|_| known.passed(300, true));
        assert_eq!(limit(&known), Ok(MOST as usize));
    }

    #[test]
    fn one_of_a_hundred_that_is_slow_stands_nearly_alone_and_comes_back() {
        let mut known = grown();
        for _ in 0..20 {
            (0..CAREFUL).for_each(|_| known.passed(300, true));
            known.held_up();
        }
        assert_eq!(limit(&known), Err(Unshared::HoldsUp));
        (0..CAREFUL).for_each(|_| known.passed(300, true));
        assert_eq!(limit(&known), Ok(2));
    }

    #[test]
    fn what_was_not_shared_makes_nobody_calm() {
        let mut known = grown();
        (0..9).for_each(|_| known.held_up());
        (0..10 * CALM).for_each(|_| known.passed(300, false));
        assert_eq!(limit(&known), Ok(2));
    }

    #[test]
    fn a_slower_one_has_fewer_at_once() {
        let mut pace = fast();
        (0..40).for_each(|_| pace.observe(Micros(1_000), true));
        let found = grown().limit(true, Leave::Many, &pace, NOW);
        assert!(matches!(found, Ok(2..=5)), "{found:?}");
    }

    #[test]
    fn large_ones_do_not_share_and_a_few_small_ones_do_again() {
        let mut known = grown();
        (0..12).for_each(|_| known.passed(u64::MAX, true));
        assert_eq!(limit(&known), Err(Unshared::Large));
        (0..16).for_each(|_| known.passed(300, true));
        assert!(limit(&known).is_ok());
    }

    #[test]
    fn what_else_is_asked_of_it() {
        let known = grown();
        let pace = fast();
        assert_eq!(known.limit(false, Leave::Many, &pace, NOW), Err(Unshared::NotEchoing));
        assert_eq!(known.limit(true, Leave::None, &pace, NOW), Err(Unshared::Slow));
        assert_eq!(known.limit(true, Leave::Pair, &pace, NOW), Ok(2));
    }

    #[test]
    fn a_wrong_response_bars_it_for_ten_seconds_doubled_each_time_at_most_an_hour() {
        let mut known = grown();
        let mut now = NOW;
        let mut bars = Vec::new();
        for _ in 0..12 {
            known.mistook(now);
            known.mistook(now + Millis(1));
            bars.push((known.barred - now).0 / 1000);
            assert_eq!(known.limit(true, Leave::Many, &fast(), now), Err(Unshared::Barred));
            now = known.barred;
            assert!(known.limit(true, Leave::Many, &fast(), now).is_ok());
        }
        assert_eq!(bars, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]);
        (0..FORGIVEN).for_each(|_| known.passed(300, true));
        known.mistook(now);
        assert_eq!(known.barred - now, FIRST_BAR);
    }

    #[test]
    fn a_cell_tells_what_it_was_told() {
        for shares in
            [None, Some(Ok(()))].into_iter().chain(Unshared::ALL.map(|why| Some(Err(why))))
        {
            assert_eq!(from_cell(to_cell(shares)), shares);
        }
        assert_eq!(from_cell(u64::MAX), None);
    }

    #[test]
    fn people_read_why_or_how_fast() {
        assert_eq!(described(Ok(Micros(560))), "yes: echoes, answers in 0.6 ms");
        let no = "no: it has not echoed X-Request-ID 100 times in a row";
        assert_eq!(described(Err(Unshared::NotEchoing)), no);
    }

    #[test]
    fn those_behind_wait_ten_times_the_usual_and_five_milliseconds_at_least() {
        assert_eq!(patience(&fast()), Micros(5_000));
        let mut slow = fast();
        (0..100).for_each(|_| slow.observe(Micros(2_000), true));
        assert!((15_000..=20_000).contains(&patience(&slow).0), "{:?}", patience(&slow));
    }
}
