//! How far a client's connection has come to its end: changed by `close.rs` alone.
//!
//! Behind an exchange by its [`Closing`], which it is given as it is taken in, answered or cut; what each may
//! become:
//!
//! ```text
//! No               -> AfterThis ByEnd
//! AfterThis        -> ByEnd
//! ByEnd            -> Hard
//! Hard             ->
//! ```
//!
//! And the connection itself by its [`ClientPhase`]:
//!
//! ```text
//! Open             -> Closing Breaking Lingering
//! Closing          -> Breaking Lingering
//! Breaking         ->
//! Lingering        ->
//! ```

/// How the client's connection ends behind an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Not at all, as far as is known.
    No,
    /// Once the response has been sent. What the client has sent behind is not answered.
    AfterThis,
    /// By the end of the connection once the response has been sent, and that end alone tells where the
    /// response ends.
    ByEnd,
    /// By a reset: a response that only the end delimits was cut, and must not look whole.
    Hard,
}

impl Closing {
    /// The first table at the top of this file.
    fn may_become(self, next: Closing) -> bool {
        use Closing::{AfterThis, ByEnd, Hard, No};
        match self {
            No => matches!(next, AfterThis | ByEnd),
            AfterThis => matches!(next, ByEnd),
            ByEnd => matches!(next, Hard),
            Hard => false,
        }
    }

    /// Whether the connection ends.
    pub fn closes(self) -> bool {
        match self {
            Closing::No => false,
            Closing::AfterThis | Closing::ByEnd | Closing::Hard => true,
        }
    }

    /// Whether the client takes the end of the connection for that of the response.
    pub fn ends_by_close(self) -> bool {
        match self {
            Closing::No | Closing::AfterThis => false,
            Closing::ByEnd | Closing::Hard => true,
        }
    }

    /// The connection ends behind the response, if it did not already.
    pub(super) fn after_this(&mut self) {
        if !self.closes() {
            self.enter(Closing::AfterThis);
        }
    }

    pub(super) fn enter(&mut self, next: Closing) {
        assert!(self.may_become(next), "{self:?} may not become {next:?}");
        *self = next;
    }
}

/// How far a client's connection has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientPhase {
    /// Requests are read.
    Open,
    /// No more requests are read; the queue and the output ring empty themselves.
    Closing,
    /// As `Closing`, but the connection ends by a reset: a response was cut that only the end delimits.
    Breaking,
    /// Our side is closed; what the client still sends is thrown away, so that its system does not
    /// take the last response back with a reset.
    Lingering,
}

impl ClientPhase {
    /// The second table at the top of this file.
    fn may_become(self, next: ClientPhase) -> bool {
        use ClientPhase::{Breaking, Closing, Lingering, Open};
        match self {
            Open => matches!(next, Closing | Breaking | Lingering),
            Closing => matches!(next, Breaking | Lingering),
            Breaking | Lingering => false,
        }
    }
}

/// The end of a client's connection, as far as it has come.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    phase: ClientPhase,
    /// Bytes that belong to no request may still come: the connection closes with patience.
    may_be_sending: bool,
}

impl Ending {
    /// Of a client that has just come.
    pub fn open() -> Ending {
        Ending { phase: ClientPhase::Open, may_be_sending: false }
    }

    /// Of what ends with the exchange that it has.
    pub fn with_its_exchange() -> Ending {
        Ending { phase: ClientPhase::Closing, may_be_sending: false }
    }

    /// How far it has come.
    pub fn phase(self) -> ClientPhase {
        self.phase
    }

    /// Whether requests are taken in.
    pub fn takes_requests(self) -> bool {
        self.phase == ClientPhase::Open
    }

    /// Whether bytes that belong to no request may still come.
    pub(super) fn may_be_sending(self) -> bool {
        self.may_be_sending
    }

    /// The client has sent ahead, and its next request may be on the way.
    pub(super) fn expect_more(&mut self) {
        self.may_be_sending = true;
    }

    /// No more requests are taken in.
    pub(super) fn begin(&mut self) {
        if self.takes_requests() {
            self.enter(ClientPhase::Closing);
        }
    }

    pub(super) fn enter(&mut self, next: ClientPhase) {
        assert!(self.phase.may_become(next), "{:?} may not become {next:?}", self.phase);
        self.phase = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::state::listed;

    #[test]
    fn the_tables_at_the_top_are_what_is_asserted() {
        let all = [Closing::No, Closing::AfterThis, Closing::ByEnd, Closing::Hard];
        let behind = listed(&all, " ->", &all, |from, to| from.may_become(*to));
        let all = [
            ClientPhase::Open,
            ClientPhase::Closing,
            ClientPhase::Breaking,
            ClientPhase::Lingering,
        ];
        let itself = listed(&all, " ->", &all, |from, to| from.may_become(*to));
        for changes in [behind, itself] {
            assert!(include_str!("ending.rs").contains(&changes), "it should be\n{changes}");
        }
    }

    #[test]
    fn a_connection_that_ends_behind_an_exchange_does_so_for_good() {
        let mut closing = Closing::No;
        closing.after_this();
        closing.enter(Closing::ByEnd);
        closing.after_this();
        assert_eq!(closing, Closing::ByEnd);
        closing.enter(Closing::Hard);
        closing.after_this();
        assert!(closing == Closing::Hard && closing.closes() && closing.ends_by_close());
    }

    #[test]
    fn a_client_that_lingers_is_not_closed_anew() {
        let mut ending = Ending::open();
        ending.begin();
        ending.enter(ClientPhase::Lingering);
        ending.begin();
        assert_eq!((ending.phase(), ending.takes_requests()), (ClientPhase::Lingering, false));
    }
}
