//! Answered and Responding, where an entry of the cache answers: its head, and the body behind it.

use crate::cache::open_entries::Body;
use crate::cache::serve::{self, Serving};
use crate::cache::store::Verdict;
use crate::http::method::Method;
use crate::http::request::Version;
use crate::http::rewrite::{Answering, ResponseFraming};
use crate::mem::Append;
use crate::mem::stock::Stock;
use crate::net::{Conn, End};
use crate::policy::ranges::Part;
use crate::policy::reason::Reason;
use crate::sys::{File, IoError};

use super::state::{self, CacheState, CollapseWait, StoredAnswer};
use crate::proxy::Proxy;
use crate::proxy::exchange::{Answer, ExchangeId, State};
use crate::proxy::relay::Moved;

/// So many bytes of an entry are verified in a turn, before it answers for the first time: then
/// others have theirs.
const VERIFIED_AT_ONCE: usize = 512 * 1024;
/// So many bytes of a file are sent at once at most.
const SENT_AT_ONCE: u64 = 1 << 20;

impl Proxy {
    /// Writes the head of an entry's answer, if the client's ring has room for it.
    pub(in crate::proxy) fn commit_stored(
        &mut self,
        id: ExchangeId,
        stored: StoredAnswer,
    ) -> Moved {
        let client_id = self.exchanges[id].client;
        let Some(cache) = &mut self.tools.cache else { return Moved::Nothing };
        match cache.store.verify(stored.entry, VERIFIED_AT_ONCE) {
            Verdict::Right => (),
            Verdict::Pending => {
                self.wake(client_id);
                return Moved::Nothing;
            }
            Verdict::Damaged => {
                cache.store.release(stored.entry);
                let exchange = &mut self.exchanges[id];
                exchange.answer = Answer::Pending;
                exchange.caching = CacheState::NotLookedUp(CollapseWait::Fresh);
                exchange.enter(State::Waiting);
                return Moved::Some;
            }
        }
        let room = self.clients[client_id].conn.output_room(self.tools.ring_size);
        let open_entry = cache.store.entry(stored.entry);
        if room < serve::head_len_bound(open_entry) {
            return Moved::Nothing;
        }
        let close = self.decide_close(id);
        let exchange = &mut self.exchanges[id];
        let Some(cache) = &self.tools.cache else { return Moved::Nothing };
        let open_entry = cache.store.entry(stored.entry);
        let output = self.clients[client_id].conn.prepare_output(&mut self.tools.rings);
        let before = output.len();
        let serving = Serving {
            reply: stored.reply,
            status: stored.status,
            answering: Answering {
                close,
                keep_alive_10: exchange.request.version == Version::Http10 && !close,
                via: self.settings.via.as_deref(),
                ..Answering::new(exchange.id(), ResponseFraming::AsIs)
            },
            now: state::wall_seconds(),
        };
        let body = serve::write_head(open_entry, &serving, output);
        exchange.bytes_out = (output.len() - before) as u64;
        exchange.status = serve::status_of(open_entry, stored.reply);
        exchange.cached = Some(stored.result);
        let left = body.filter(|_| exchange.request.method != Method::Head);
        exchange.answer = Answer::Stored(StoredAnswer { left, ..stored });
        exchange.enter(State::Responding);
        self.send_stored(id, StoredAnswer { left, ..stored });
        Moved::Some
    }

    /// Sends what the client takes of an entry's body.
    pub(in crate::proxy) fn send_stored(&mut self, id: ExchangeId, stored: StoredAnswer) -> Moved {
        let Some(left) = stored.left else {
            self.exchanges[id].enter(State::Done);
            return Moved::Some;
        };
        let client = &mut self.clients[self.exchanges[id].client];
        let Some(cache) = &self.tools.cache else { return Moved::Nothing };
        let sent = match cache.store.entry(stored.entry).body() {
            Body::Memory(bytes) => {
                let (first, end) = (left.first as usize, left.last as usize + 1);
                let room = client.conn.output_room(self.tools.ring_size);
                let part = &bytes[first..end.min(first + room)];
                if !part.is_empty() {
                    client.conn.prepare_output(&mut self.tools.rings).append(part);
                }
                part.len() as u64
            }
            Body::File(file, at) => {
                let rings = &mut self.tools.rings;
                match send_file(file, at + left.first, left, &mut client.conn, rings) {
                    Ok(sent) => sent,
                    Err(Cut::Client) => {
                        client.conn.end = End::Broken;
                        return Moved::Some;
                    }
                    Err(Cut::File) => {
                        self.truncate(id, Reason::ResponseIncomplete);
                        return Moved::Some;
                    }
                }
            }
        };
        if sent == 0 {
            return Moved::Nothing;
        }
        let exchange = &mut self.exchanges[id];
        exchange.bytes_out += sent;
        let first = left.first + sent;
        let left = (first <= left.last).then_some(Part { first, ..left });
        exchange.answer = Answer::Stored(StoredAnswer { left, ..stored });
        if left.is_none() {
            exchange.enter(State::Done);
        }
        Moved::Some
    }
}

/// Why a file was not sent whole.
enum Cut {
    /// The client does not take it any more.
    Client,
    /// It is shorter than it was, or cannot be read.
    File,
}

/// Sends a part of a file past the rings, once what is in the client's has gone.
fn send_file(
    file: &File,
    at: u64,
    left: Part,
    conn: &mut Conn,
    rings: &mut Stock,
) -> Result<u64, Cut> {
    if !conn.output.is_empty() || !conn.writable {
        return Ok(0);
    }
    let limit = left.len().min(SENT_AT_ONCE);
    match file.send(&conn.socket, at, usize::try_from(limit).unwrap_or(usize::MAX)) {
        Ok(0) => Err(Cut::File),
        Ok(count) => {
            conn.traffic.sent += count as u64;
            conn.writable = count as u64 == limit;
            Ok(count as u64)
        }
        Err(IoError::WouldBlock) => {
            conn.writable = false;
            Ok(0)
        }
        Err(IoError::Unsupported) => copy_file(file, at, limit, conn, rings),
        Err(IoError::Reset | IoError::TimedOut) => Err(Cut::Client),
        Err(_) => Err(Cut::File),
    }
}

/// The same by way of the ring, which is empty, where a kernel or a filter of system calls does not
/// send files to sockets.
fn copy_file(
    file: &File,
    at: u64,
    limit: u64,
    conn: &mut Conn,
    rings: &mut Stock,
) -> Result<u64, Cut> {
    let output = conn.prepare_output(rings);
    let [room, _] = output.free();
    let most = usize::try_from(limit).unwrap_or(usize::MAX).min(room.len());
    match file.read_at(&mut room[..most], at) {
        Ok(0) | Err(_) => Err(Cut::File),
        Ok(count) => {
            output.filled(count);
            Ok(count as u64)
        }
    }
}
