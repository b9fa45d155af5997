//! What a pool tolerates, and what would have helped where it does not. Nothing of this costs
//! anything as long as peers keep to the rules.

use crate::config::Tolerance;
use crate::http::line_ends::{self, Mended};
use crate::http::response::{self, BadResponse};
use crate::http::scan::Scan;
use crate::mem::time::Micros;
use crate::policy::retry::Failure;
use crate::sys::log::{self, Level};

use super::Proxy;
use crate::proxy::ids::ExchangeId;

/// A hint is not repeated in a message within this time.
const PAUSE: Micros = Micros(60_000_000);

impl Proxy {
    /// The response head of an exchange has a line that is wrong at `at`. Where it only lacks its CR
    /// and the pool tolerates that, it is there now, and the scan goes on.
    #[cold]
    pub(super) fn tolerate_line_end(&mut self, id: ExchangeId, at: usize) -> Result<(), Failure> {
        let conn = self.backend_conn(id);
        let (backend, pool) = self.upstream.conn_and_pool(conn, self.exchanges[id].pool);
        let tolerates = pool.tolerate.has(Tolerance::BareLf);
        match line_ends::mend(&mut backend.conn.input, at) {
            Mended::Well if tolerates => return Ok(()),
            Mended::Well => (),
            Mended::Not => return Err(Failure::Protocol),
            Mended::NoRoom => return Err(Failure::HeadTooLarge),
        }
        let bytes = backend.conn.input.flatten();
        let would_help = match backend.scan.advance(bytes) {
            Scan::Partial => true,
            Scan::Whole(end) => {
                let max_fields = self.settings.max_response_fields();
                response::parse_within(&bytes[..end], max_fields).is_ok()
            }
            Scan::Malformed(_) => false,
        };
        if would_help {
            self.hint(id, Tolerance::BareLf);
        }
        Err(Failure::Protocol)
    }

    /// A response head was not accepted: says what would have helped.
    #[cold]
    pub(super) fn bad_head(&mut self, id: ExchangeId, bad: BadResponse) -> Failure {
        match bad {
            BadResponse::RepeatedChunked => {
                self.hint(id, Tolerance::RepeatedChunked);
                Failure::Protocol
            }
            BadResponse::StatusLine | BadResponse::Field | BadResponse::Framing => {
                Failure::Protocol
            }
            BadResponse::TooManyFields => Failure::HeadTooLarge,
        }
    }

    /// The answer to an exchange is an error that `tolerance` would have avoided.
    pub(super) fn hint(&mut self, id: ExchangeId, tolerance: Tolerance) {
        let exchange = &mut self.exchanges[id];
        exchange.hint = Some(tolerance);
        let Some(count) = self.hints[tolerance.index()].add(self.turn.now, PAUSE) else { return };
        let pool = &self.upstream[exchange.pool].name;
        let word = tolerance.as_str();
        let remedy = format_args!("\"tolerate\": [\"{word}\"] in pool {pool} lets them pass");
        match exchange.last_backend {
            Some(slot) => log::write(
                Level::Warning,
                format_args!(
                    "backend {} {}, which is answered with 502; {remedy} ({count} since the last \
                     such message)",
                    self.upstream[slot].name,
                    tolerance.what(),
                ),
            ),
            None => log::write(
                Level::Warning,
                format_args!(
                    "client {} {}, which is answered with 400; {remedy} ({count} since the last \
                     such message)",
                    self.downstream[exchange.client].peer,
                    tolerance.what(),
                ),
            ),
        }
    }
}
