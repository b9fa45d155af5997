//! A client of a random world: sends its requests, and judges what comes back.

use std::net::SocketAddr;

use super::cached::Offer;
use super::plan::{Book, Plan, Upload, pattern};
use crate::mem::time::{Micros, Millis};
use crate::proxy::tests::message::{Kind, Message, Reader};
use crate::sys::clock;
use crate::sys::world::{self, End, Peer};

/// What is sent at a stretch, and what must have come before.
struct Piece {
    bytes: Vec<u8>,
    /// The request's place in the client's row.
    request: usize,
    /// It waits for a 100, but not for ever.
    awaits_continue: bool,
}

/// A client and its requests.
pub struct Client {
    name: usize,
    peer: Option<Peer>,
    address: SocketAddr,
    /// Its requests, in their order.
    row: Vec<usize>,
    pieces: Vec<Piece>,
    piece: usize,
    sent: usize,
    reader: Reader,
    answered: usize,
    /// So many requests may be without answer when the next is sent.
    depth: usize,
    /// It acts no sooner.
    not_before: Micros,
    /// It goes on without a 100 then.
    patience: Option<Micros>,
    was_continued: bool,
    half_closes: bool,
    has_shut: bool,
    /// The head of a HEAD did not come whole, so that its answer has a body.
    was_misread: bool,
    /// An answer said that it is the last.
    was_dismissed: bool,
    aborts_at: Option<Micros>,
    stalled: bool,
    connected: bool,
}

impl Client {
    pub fn new(name: usize, address: SocketAddr, row: Vec<usize>, book: &mut Book) -> Client {
        let mut pieces = Vec::new();
        for (request, number) in row.iter().enumerate() {
            let plan = book.plans[*number].clone();
            let (head, body) = plan.wire(*number, &mut book.dice);
            let awaits_continue = plan.expects_continue;
            pieces.push(Piece { bytes: head, request, awaits_continue: false });
            pieces.push(Piece { bytes: body, request, awaits_continue });
        }
        if book.dice.one_in(2) {
            join(&mut pieces);
        }
        let aborts = book.weather.aborts && book.dice.one_in(2);
        let shares = book.weather.shares;
        let (longest, depths) =
            if shares { (2000, [1, 1, 2, 100]) } else { (200, [1, 2, 100, 100]) };
        let depth = *book.dice.choose(&depths);
        // Who comes late finds what others have fetched.
        let begins = match book.shelf.offer {
            Offer::Streamed => book.dice.millis(60),
            Offer::Anything | Offer::Steady if shares => book.dice.millis(3000),
            Offer::Anything | Offer::Steady => book.pause(),
        };
        Client {
            name,
            peer: None,
            address,
            row,
            pieces,
            piece: 0,
            sent: 0,
            reader: Reader::default(),
            answered: 0,
            depth,
            not_before: clock::now() + begins,
            patience: None,
            was_continued: false,
            half_closes: book.dice.one_in(4),
            has_shut: false,
            was_misread: false,
            was_dismissed: false,
            aborts_at: aborts.then(|| clock::now() + book.dice.millis(longest)),
            stalled: false,
            connected: false,
        }
    }

    pub fn is_done(&self) -> bool {
        self.connected && self.peer.is_none()
    }

    /// Does what can be done now. When it wants to do more, if it does by itself.
    pub fn act(&mut self, book: &mut Book) -> Option<Micros> {
        if self.is_done() {
            return None;
        }
        if self.not_before > clock::now() {
            return Some(self.not_before);
        }
        if !self.connected {
            self.connected = true;
            self.peer = Some(world::connect(self.address));
        }
        if self.aborts_at.is_some_and(|time| time <= clock::now()) {
            book.trace.note(|| format!("client {}: goes away", self.name));
            let peer = self.peer.take()?;
            if book.dice.one_in(2) {
                peer.reset();
            }
            return None;
        }
        if book.weather.stalls && !self.stalled && book.dice.one_in(20) {
            book.trace.note(|| format!("client {}: stalls", self.name));
            self.stalled = true;
            self.not_before = clock::now() + Micros::from(Millis(8000));
            return Some(self.not_before);
        }
        let more = self.receive(book);
        self.send(book);
        self.leave_if_done(book);
        self.peer.as_ref()?;
        let busy = self.not_before > clock::now() || more;
        let wish = busy.then_some(self.not_before.max(clock::now()));
        let patience = self.patience.filter(|time| *time > clock::now());
        wish.into_iter().chain(patience).chain(self.aborts_at).min()
    }

    fn send(&mut self, book: &mut Book) {
        let Some(peer) = &self.peer else { return };
        while let Some(piece) = self.pieces.get(self.piece) {
            if self.has_shut || piece.request >= self.answered + self.depth {
                return;
            }
            if piece.awaits_continue && !self.was_continued && self.answered <= piece.request {
                let until = *self.patience.get_or_insert(clock::now() + Micros::from(Millis(50)));
                if until > clock::now() {
                    return;
                }
            }
            let number = self.row[piece.request];
            let delay = std::mem::take(&mut book.plans[number].delay);
            if delay > Micros(0) {
                self.not_before = clock::now() + delay;
                return;
            }
            book.note_sending(number);
            let left = piece.bytes.len() - self.sent;
            let part = if book.dice.one_in(2) { left } else { book.dice.below(left + 1) };
            // Even nothing is a write, which a closed connection answers with a reset.
            let bytes = &piece.bytes[self.sent..self.sent + part];
            let count = if part > 0 { peer.send(bytes) } else { 0 };
            self.sent += count;
            if self.sent == piece.bytes.len() {
                (self.piece, self.sent, self.patience) = (self.piece + 1, 0, None);
                self.was_continued = false;
            } else if count < part {
                return; // No room.
            }
            if book.dice.one_in(4) {
                self.not_before = book.later().max(clock::now() + Micros(1));
                return;
            }
        }
        if self.half_closes && !self.has_shut {
            peer.shutdown_write();
            self.has_shut = true;
        }
    }

    /// Reads what there is. Whether there is more that it leaves for later.
    fn receive(&mut self, book: &mut Book) -> bool {
        let Some(peer) = &self.peer else { return false };
        let slow = book.weather.slow_readers && self.name % 2 == 0;
        let limit = if slow { 1 + book.dice.below(3000) } else { usize::MAX };
        self.reader.feed(&peer.receive_at_most(limit));
        let more = peer.unread() > 0;
        if more {
            // So slow that others are held up.
            let longest = if slow && book.shelf.offer == Offer::Streamed { 500 } else { 20 };
            self.not_before = clock::now() + book.dice.millis(longest);
        }
        while self.answered < self.row.len() {
            let number = self.row[self.answered];
            let kind = match book.plans[number].method {
                "HEAD" if !book.plans[number].is_nonsense => Kind::HeadResponse,
                _ => Kind::Response,
            };
            let Some(message) = self.reader.next(kind) else { break };
            self.judge(number, &message, book);
        }
        assert!(
            self.answered < self.row.len() || self.reader.is_between_messages() || self.was_misread,
            "client {}: more than it asked for: {:?}",
            self.name,
            String::from_utf8_lossy(self.reader.rest())
        );
        more
    }

    fn judge(&mut self, number: usize, message: &Message, book: &mut Book) {
        let status = message.head.status();
        book.trace.note(|| format!("client {}: {number} has {status}", self.name));
        assert!(!self.was_dismissed, "an answer behind the last");
        if status < 200 {
            self.was_continued |= status == 100;
            let told = message.head.get("x-answer");
            assert!(status == 100 || told == Some(&number.to_string()), "{number}: {told:?}");
            return;
        }
        let plan = &mut book.plans[number];
        plan.answered = true;
        let id = message.head.get("x-request-id");
        let method = plan.method;
        match (plan.wish.clone(), message.head.get("x-answer")) {
            (Some(wish), _) => wish.judge(method, message, book),
            (None, Some(told)) => {
                assert_eq!(told, number.to_string(), "another request's answer");
                assert!(id.is_some(), "{number}: no id");
                let own = self.name.to_string();
                assert!(message.head.get("x-user").is_none_or(|user| user == own), "{number}");
                check_body(number, method, message);
            }
            (None, None) => check_error(number, message, book),
        }
        let plan = &book.plans[number];
        if let (Some(own), Some(id)) = (&plan.id, id)
            && !plan.is_nonsense
            && status != 408
        {
            let is_right = own == id || plan.returned.as_deref() == Some(id);
            assert!(is_right, "another request's id: {id}, not {own}");
        }
        self.answered += 1;
        let closes = message.head.closes() || plan.is_http10;
        let own_fault = matches!(status, 400 | 408) && message.head.get("x-answer").is_none();
        let may_close = plan.closes || plan.is_http10 || plan.answered_early || own_fault;
        let may_close = may_close || book.weather.drains;
        let unsent = plan.upload != Upload::None && !book.weather.is_fair();
        assert!(!closes || may_close || unsent, "{number}: no reason to close");
        self.was_dismissed = closes;
        self.was_misread = status == 408 && plan.method == "HEAD";
    }

    fn leave_if_done(&mut self, book: &mut Book) {
        let Some(peer) = &self.peer else { return };
        if self.answered == self.row.len() && !self.was_dismissed {
            // Who was answered early and stalled with the rest of its upload is closed meanwhile.
            let was_closed = book.weather.stalls && peer.seen_end() != End::Open;
            if self.piece == self.pieces.len() || book.weather.nonsense || was_closed {
                self.peer = None;
            }
            return;
        }
        if peer.unread() > 0 || peer.seen_end() == End::Open {
            return;
        }
        let end = peer.seen_end();
        book.trace.note(|| format!("client {}: sees {end:?}", self.name));
        self.peer = None;
        if end == End::Fin
            && let Some(message) = self.reader.end()
        {
            self.judge(self.row[self.answered], &message, book);
        }
        if self.was_dismissed || self.answered == self.row.len() {
            return;
        }
        let weather = &book.weather;
        let fault = weather.cuts || weather.garbage || weather.is_rough() || weather.idle_cuts;
        let fault = fault || weather.spoils_disks();
        let number = self.row[self.answered];
        // The answer had begun when its request turned out to be none.
        let erased = weather.kernel.reset_erases && end == End::Reset;
        // Who is answered while the service ends is closed, perhaps with a request on the way.
        let fault = fault || book.plans[number].is_nonsense || weather.drains && erased;
        let cut = self.reader.current().is_some() || erased;
        // An idle client may be closed for its descriptor while its next request is on the way.
        let gave_way = (weather.scarcity || weather.drains) && !cut;
        // Nor does one that has ended its side wait as long as others.
        let others_are_slow = weather.slow_readers && book.shelf.offer == Offer::Streamed;
        let was_given_up = self.has_shut && (weather.is_rough() || others_are_slow);
        // A backend that left unsaid took no more of the upload that it had answered.
        let before = self.answered.checked_sub(1).map(|place| &book.plans[self.row[place]]);
        // In fair weather only one that answered HEAD with no word of its end does.
        let may_leave = |plan: &Plan| !weather.is_fair() || plan.was_left_unsaid;
        let was_cut = before.is_some_and(|plan| plan.answered_early && may_leave(plan));
        let excused = gave_way || was_given_up || was_cut || weather.stalls || weather.cuts_off;
        let wish = book.plans[number].wish.clone();
        let coming = self.reader.current();
        let was_too_long =
            wish.zip(coming).is_some_and(|(wish, message)| wish.judge_cut(message, book));
        let excused = excused || was_too_long;
        assert!(
            fault && cut || excused,
            "client {}: cut off ({end:?}) at {number}, {} bytes of a head, an answer begun: {cut}",
            self.name,
            self.reader.rest().len()
        );
    }
}

/// Joins all pieces that wait for nothing to the ones before, so that they may come together.
fn join(pieces: &mut Vec<Piece>) {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces.drain(..) {
        match joined.last_mut() {
            Some(last) if last.request == piece.request && !piece.awaits_continue => {
                last.bytes.extend(piece.bytes);
            }
            Some(_) | None => joined.push(piece),
        }
    }
    *pieces = joined;
}

fn check_body(number: usize, method: &str, message: &Message) {
    let len: usize = message.head.get("x-length").expect("x-length").parse().expect("a number");
    let expected = if method == "HEAD" { 0 } else { len };
    assert_eq!(message.body.len(), expected, "{number}: the length of the body");
    assert!(message.body == pattern(number, expected), "{number}: the body came changed");
}

/// An answer of our own must be one that the weather explains.
fn check_error(number: usize, message: &Message, book: &Book) {
    let status = message.head.status();
    let said = message.head.get("proxy-status").unwrap_or_default();
    let error = said.strip_prefix("httplb; error=").unwrap_or_else(|| panic!("{:?}", message.head));
    let weather = &book.weather;
    let plan = &book.plans[number];
    let explained = match (status, error) {
        (400, "http_request_error") => plan.is_nonsense || weather.stalls,
        (408, "http_request_error") => weather.stalls,
        (502, "connection_refused") => weather.refuses || weather.shuts_doors,
        (502, "connection_terminated") => {
            let is_lost = !plan.is_idempotent() || plan.upload != Upload::None;
            let is_lost = is_lost && weather.closes_unsaid;
            weather.cuts || weather.idle_cuts || weather.garbage || is_lost
        }
        (502, "http_protocol_error") => weather.garbage || weather.mix_ups || weather.adds_bodies,
        (502, "http_response_header_section_size") => weather.garbage || weather.adds_bodies,
        (503, "connection_limit_reached") => weather.is_rough(),
        (504, "connection_timeout") => weather.ignores,
        // A server and a client may also wait for each other: for a 100, for the body.
        (504, "http_response_timeout") => weather.hangs || weather.stalls && plan.expects_continue,
        _ => false,
    };
    assert!(explained, "{number}: {status} {error} without a reason");
    assert!(message.head.get("x-request-id").is_some(), "{number}: no id");
}
