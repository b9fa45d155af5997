//! What a pool puts up with, of peers that do not keep to the rules.

/// One deviation. What goes on is right all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// Lines of a response's head end by LF alone, as CGI scripts write them.
    BareLf,
    /// A response says `Transfer-Encoding: chunked` more than once.
    RepeatedChunked,
    /// A request's target has bytes from 0x80 on, which go on as they came.
    RawTarget,
}

impl Tolerance {
    /// All there are, in the order of their numbers.
    pub const ALL: [Tolerance; 3] =
        [Tolerance::BareLf, Tolerance::RepeatedChunked, Tolerance::RawTarget];

    /// Its place in `ALL`.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// As the configuration and the log write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Tolerance::BareLf => "bare_lf",
            Tolerance::RepeatedChunked => "repeated_chunked",
            Tolerance::RawTarget => "raw_target",
        }
    }

    /// What a peer does that needs it, for people.
    pub const fn what(self) -> &'static str {
        match self {
            Tolerance::BareLf => "ends lines of a response head by LF alone",
            Tolerance::RepeatedChunked => "says \"Transfer-Encoding: chunked\" more than once",
            Tolerance::RawTarget => "sends a target with bytes from 0x80 on",
        }
    }
}

/// The deviations that a pool tolerates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerances([bool; Tolerance::ALL.len()]);

impl Tolerances {
    /// Adds one.
    pub const fn add(&mut self, tolerance: Tolerance) {
        self.0[tolerance.index()] = true;
    }

    /// Whether this is one of them.
    pub const fn has(&self, tolerance: Tolerance) -> bool {
        self.0[tolerance.index()]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Tolerance> + '_ {
        Tolerance::ALL.into_iter().filter(|tolerance| self.has(*tolerance))
    }
}
