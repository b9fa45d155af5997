//! A server of a random world: answers what it is asked, or does not.

use std::collections::VecDeque;

use super::cached::origin;
use super::habits::{Habit, Manners};
use super::plan::{Book, Plan, Spoiled, chunked, pattern};
use crate::config::Endpoint;
use crate::mem::time::Micros;
use crate::proxy::tests::message::{Kind, Message, Reader};
use crate::sys::clock;
use crate::sys::world::{self, End, Peer};

/// A server with its connections.
pub struct Server {
    place: usize,
    door: world::Server,
    conns: Vec<Conn>,
    manners: Manners,
    /// The identifier that it returned last.
    last_id: String,
    /// When it changes how it receives those who connect.
    next_mood: Option<Micros>,
    /// It takes no more of them once it has so many, and serves those.
    most_conns: usize,
}

/// When what is sent once more is sent before the next response.
const WITH_THE_NEXT: Micros = Micros(u64::MAX);

/// What follows the last byte of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Next,
    Close,
    Reset,
    Silence,
}

pub struct Answer {
    /// Its request, or the version of what is stored.
    pub number: usize,
    pub bytes: Vec<u8>,
    sent: usize,
    /// Not before.
    pub at: Micros,
    pub after: After,
    pub is_whole: bool,
    /// Only the end of the connection tells where it ends: one that is cut looks whole.
    pub lasts_until_close: bool,
    /// Where its final head begins.
    final_at: usize,
    /// Of what is stored, where the body begins in it, and with which byte of the whole: if it says how
    /// long it is.
    pub body: Option<(usize, usize)>,
    /// It was sent before.
    is_surplus: bool,
}

impl Answer {
    /// One that nothing is known of yet.
    pub fn new(number: usize, at: Micros) -> Answer {
        Answer {
            number,
            bytes: Vec::new(),
            sent: 0,
            at,
            after: After::Next,
            is_whole: false,
            lasts_until_close: false,
            final_at: 0,
            body: None,
            is_surplus: false,
        }
    }

    /// It breaks off after so many bytes, and not by the end that it should have.
    fn cut(&mut self, len: usize) {
        self.is_whole &= len == self.bytes.len() && !self.lasts_until_close;
        self.bytes.truncate(len);
    }

    /// Its final response again.
    fn once_more(&self) -> Answer {
        let bytes = self.bytes[self.final_at..].to_vec();
        Answer { bytes, is_surplus: true, ..Answer::new(self.number, clock::now()) }
    }
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    /// Anybody's.
    None,
    /// This client was asked to log in.
    Asked(usize),
    /// This client is the user of all that comes.
    User(usize),
}

impl Login {
    /// A request came: none but its own client's may. It may log it in.
    fn note_arrival(&mut self, number: usize, plan: &Plan, is_multiplexed: bool) {
        match *self {
            Login::None => (),
            // What was on its way when the server asked. Nobody is logged in by that.
            Login::Asked(_) if is_multiplexed && plan.may_share() => (),
            Login::Asked(owner) | Login::User(owner) => {
                assert_eq!(owner, plan.client, "{number} came over another client's connection");
            }
        }
        if plan.logs_in {
            *self = Login::User(plan.client);
        }
    }

    /// The lines that an answer to a client has of it.
    fn lines(&mut self, client: usize, book: &mut Book) -> String {
        let asks = *self == Login::None && book.weather.logins && book.dice.one_in(6);
        if asks {
            *self = Login::Asked(client);
        }
        match self {
            Login::User(user) => format!("X-User: {user}\r\n"),
            Login::Asked(_) if asks => "WWW-Authenticate: Basic, NTLM\r\n".to_owned(),
            Login::Asked(_) | Login::None => String::new(),
        }
    }
}

struct Conn {
    name: usize,
    peer: Option<Peer>,
    reader: Reader,
    answers: VecDeque<Answer>,
    /// What it sends once more, and when.
    surplus: Option<(Micros, Answer)>,
    login: Login,
    /// The request that is coming in was answered already.
    answered_early: bool,
    /// It answers no more.
    silent: bool,
    next_cut: Option<Micros>,
}

impl Server {
    pub fn new(place: usize, address: Endpoint, book: &mut Book) -> Server {
        let moody = book.weather.refuses || book.weather.ignores;
        let shuts_door = book.weather.shuts_doors && book.dice.one_in(2);
        Server {
            place,
            door: world::listen(address),
            conns: Vec::new(),
            manners: Manners::roll(book),
            last_id: "none".to_owned(),
            next_mood: moody.then(clock::now),
            most_conns: if shuts_door { book.dice.between(1, 3) } else { usize::MAX },
        }
    }

    /// Does what can be done now. When it wants to do more, if it does by itself.
    pub fn act(&mut self, book: &mut Book) -> Option<Micros> {
        self.change_mood(book);
        while let Some(peer) = self.door.accept() {
            let name = self.conns.len();
            let next_cut = (book.weather.idle_cuts && book.dice.one_in(2))
                .then(|| clock::now() + book.dice.millis(1500));
            let conn = Conn {
                name,
                peer: Some(peer),
                reader: Reader::default(),
                answers: VecDeque::new(),
                surplus: None,
                login: Login::None,
                answered_early: false,
                silent: false,
                next_cut,
            };
            book.trace.note(|| format!("server {}: connection {name}", self.place));
            self.conns.push(conn);
        }
        self.shut_door_if_due(book);
        let (place, manners, last_id) = (self.place, self.manners, &mut self.last_id);
        let wishes: Vec<Option<Micros>> =
            self.conns.iter_mut().map(|conn| conn.act(place, manners, last_id, book)).collect();
        wishes.into_iter().flatten().chain(self.next_mood).min()
    }

    fn shut_door_if_due(&mut self, book: &mut Book) {
        if self.conns.len() >= self.most_conns {
            (self.most_conns, self.next_mood) = (usize::MAX, None);
            self.door.refuse(true);
            book.trace.note(|| format!("server {}: shuts its door", self.place));
        }
    }

    fn change_mood(&mut self, book: &mut Book) {
        if self.next_mood.is_none_or(|time| time > clock::now()) {
            return;
        }
        let refuses = book.weather.refuses && book.dice.one_in(2);
        let ignores = book.weather.ignores && book.dice.one_in(3);
        if refuses {
            self.door.refuse(true);
        } else {
            self.door.ignore(ignores);
        }
        book.trace.note(|| format!("server {}: refuses {refuses}, ignores {ignores}", self.place));
        self.next_mood = Some(clock::now() + book.dice.millis(2000));
    }

    /// Closes all connections.
    pub fn close(&mut self) {
        self.conns.clear();
    }
}

impl Conn {
    fn act(
        &mut self,
        place: usize,
        manners: Manners,
        last_id: &mut String,
        book: &mut Book,
    ) -> Option<Micros> {
        let peer = self.peer.as_ref()?;
        self.reader.feed(&peer.receive());
        self.read(place, manners, last_id, book);
        self.repeat_if_due();
        let wish = self.write(place, manners.habit, book);
        let surplus = self.surplus.as_ref().map(|(at, _)| *at);
        let surplus = surplus.filter(|at| *at > clock::now() && *at != WITH_THE_NEXT);
        let wish = wish.into_iter().chain(surplus).min();
        if self.peer.as_ref().is_some_and(|peer| peer.seen_end() != End::Open) {
            book.trace.note(|| format!("server {place}: connection {} was ended", self.name));
            self.peer = None;
        }
        self.cut_when_idle(place, book);
        self.peer.as_ref()?;
        let cut = self.next_cut.filter(|time| *time > clock::now());
        wish.into_iter().chain(cut).min()
    }

    fn cut_when_idle(&mut self, place: usize, book: &mut Book) {
        let is_due = self.next_cut.is_some_and(|time| time <= clock::now());
        if !is_due || self.silent || !self.answers.is_empty() || !self.reader.is_between_messages()
        {
            return;
        }
        self.next_cut = None;
        book.trace.note(|| format!("server {place}: closes idle connection {}", self.name));
        if book.weather.mix_ups
            && book.dice.one_in(2)
            && let Some(peer) = &self.peer
        {
            peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
        }
        self.leave(book.dice.one_in(4));
    }

    fn leave(&mut self, by_reset: bool) {
        self.silent = true;
        match &self.peer {
            // As RFC 9112 §9.6 has it: whoever closes reads on, or it would be a reset.
            Some(peer) if !by_reset => peer.shutdown_write(),
            Some(_) | None => self.peer.take().into_iter().for_each(Peer::reset),
        }
    }

    /// Puts what is to be sent once more before what was not begun.
    fn repeat_if_due(&mut self) {
        let has_begun = self.answers.front().is_some_and(|front| front.sent > 0);
        let is_due = self.surplus.as_ref().is_some_and(|(at, _)| {
            *at <= clock::now() || *at == WITH_THE_NEXT && !self.answers.is_empty()
        });
        if is_due && !has_begun && !self.silent {
            self.answers.extend(self.surplus.take().map(|(_, answer)| answer));
            self.answers.rotate_right(1);
        }
    }

    fn read(&mut self, place: usize, manners: Manners, last_id: &mut String, book: &mut Book) {
        if book.weather.shares {
            return self.read_for_what_is_stored(book);
        }
        loop {
            let is_new = self.reader.current().is_none();
            let whole = self.reader.next(Kind::Request);
            let Some(request) = whole.as_ref().or(self.reader.current()) else { return };
            let number = request.head.word()[1..].parse::<usize>().expect("a number");
            book.plans[number].check_request(number, request);
            if is_new {
                book.trace
                    .note(|| format!("server {place}: {} on connection {}", number, self.name));
                note_arrival(number, &self.answers, book);
                let is_multiplexed = book.weather.multiplexes;
                self.login.note_arrival(number, &book.plans[number], is_multiplexed);
            }
            let is_behind = !self.answers.is_empty() && !self.answered_early;
            if manners.forgets && whole.is_some() && is_behind {
                book.trace.note(|| format!("server {place}: forgets {number}"));
                continue;
            }
            book.plans[number].came_whole |= whole.is_some();
            let early = whole.is_none() && is_new && book.dice.one_in(8);
            if early || whole.is_some() && !self.answered_early {
                let request = request.clone();
                let lines = self.login.lines(book.plans[number].client, book);
                let answer = make_answer(number, &request, &lines, (manners, last_id), book);
                book.plans[number].was_left |= answer.after != After::Next;
                self.answers.push_back(answer);
                self.swap_last(manners.habit, book);
                book.plans[number].answered_early |= early;
            }
            self.answered_early = early || self.answered_early && whole.is_none();
            if whole.is_none() {
                return;
            }
        }
    }

    /// Answers the last two in the other order, where their identifiers tell whose they are.
    fn swap_last(&mut self, habit: Habit, book: &mut Book) {
        if !matches!(habit, Habit::Echoes | Habit::Repeats) {
            return;
        }
        let Some(last) = self.answers.len().checked_sub(2) else { return };
        let are_such = self.answers.range(last..).all(|answer| {
            let is_new = answer.sent == 0 && !answer.is_surplus && answer.after == After::Next;
            is_new && answer.is_whole && book.plans[answer.number].may_share()
        });
        // An interim response does not tell whose it is, and reaches a client over a connection of its own.
        let client_of = |answer: &Answer| book.plans[answer.number].client;
        let is_one_clients = client_of(&self.answers[last]) == client_of(&self.answers[last + 1]);
        let has_interim = self.answers.range(last..).any(|answer| answer.final_at > 0);
        let may_swap = book.weather.swaps && are_such && !(is_one_clients && has_interim);
        if may_swap && book.dice.one_in(3) {
            book.trace.note(|| format!("{} is answered first", self.answers[last + 1].number));
            self.answers.swap(last, last + 1);
        }
    }

    fn read_for_what_is_stored(&mut self, book: &mut Book) {
        while let Some(request) = self.reader.next(Kind::Request) {
            let mut answer = origin::make_answer(&request, book);
            spoil(&mut answer, book);
            self.answers.push_back(answer);
        }
    }

    fn write(&mut self, place: usize, habit: Habit, book: &mut Book) -> Option<Micros> {
        while let Some(answer) = self.answers.front_mut() {
            let peer = self.peer.as_ref()?;
            if self.silent {
                return None;
            }
            if answer.at > clock::now() {
                return Some(answer.at);
            }
            let left = answer.bytes.len() - answer.sent;
            let part = if book.dice.one_in(2) { left } else { book.dice.below(left + 1).max(1) };
            let part = part.min(left);
            let sent = match part {
                0 => 0,
                _ => peer.send(&answer.bytes[answer.sent..answer.sent + part]),
            };
            answer.sent += sent;
            if let Some((at, first)) = answer.body {
                book.note_sent(answer.number, first, answer.sent.saturating_sub(at));
            }
            if answer.sent < answer.bytes.len() {
                if sent == 0 {
                    return None;
                }
                answer.at = book.later();
                continue;
            }
            let answer = self.answers.pop_front()?;
            book.trace
                .note(|| format!("server {place}: {} answered, {:?}", answer.number, answer.after));
            if answer.is_whole && !answer.is_surplus {
                book.note_given(answer.number);
            }
            match answer.after {
                After::Next if habit == Habit::Repeats && answer.is_whole => {
                    let surplus = answer.once_more();
                    let at = match book.dice.below(3) {
                        0 => WITH_THE_NEXT,
                        1 => book.later(),
                        _ => clock::now() + book.dice.millis(300),
                    };
                    self.surplus = book.dice.one_in(2).then_some((at, surplus));
                }
                After::Next => (),
                After::Close => self.leave(false),
                After::Reset => self.leave(true),
                After::Silence => self.silent = true,
            }
        }
        None
    }
}

/// A request came to a server: whether it may.
fn note_arrival(number: usize, ahead: &VecDeque<Answer>, book: &mut Book) {
    book.plans[number].seen += 1;
    let plan = &book.plans[number];
    assert!(plan.is_idempotent() || plan.seen == 1, "{number} was sent twice");
    for answer in ahead.iter().filter(|answer| !answer.is_surplus) {
        let other = &book.plans[answer.number];
        let may_share = book.weather.multiplexes && plan.may_share() && other.may_share();
        assert!(plan.client == other.client || may_share, "two clients share a connection");
        assert!(plan.is_pipelinable(), "{number} was sent behind another");
    }
    if book.weather.is_fair() {
        let plans = book.plans.iter().enumerate();
        let earlier = plans.filter(|(at, other)| *at < number && other.client == plan.client);
        for (at, other) in earlier {
            let alone = !plan.is_pipelinable() || !other.is_pipelinable();
            assert!(!alone || other.served, "{number} came before {at} was answered");
        }
    }
}

/// The answer to request `number`, or what a server in bad weather makes of it.
fn make_answer(
    number: usize,
    request: &Message,
    login: &str,
    (manners, last_id): (Manners, &mut String),
    book: &mut Book,
) -> Answer {
    let id = request.head.get("x-request-id").unwrap_or_default();
    let mixed_up = book.weather.mix_ups && book.dice.one_in(4);
    let told = if mixed_up { number + 1000 } else { number };
    let echo = match (manners.habit.returns(number, id, last_id, book), mixed_up) {
        (Some(returned), false) => {
            *last_id = returned.clone();
            book.plans[number].returned = (returned != id).then(|| returned.clone());
            format!("X-Request-ID: {returned}\r\n")
        }
        (Some(_), true) if book.dice.one_in(2) => "X-Request-ID: another\r\n".to_owned(),
        (Some(_), true) | (None, _) => String::new(),
    };
    let mut bytes = Vec::new();
    if (request.head.get("expect").is_some() || book.dice.one_in(20)) && book.dice.one_in(2) {
        bytes.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    if book.dice.one_in(20) {
        bytes.extend(format!("HTTP/1.1 103 Early Hints\r\nX-Answer: {number}\r\n\r\n").bytes());
    }
    let mut after = After::Next;
    let is_bare = request.head.method() == "HEAD" && !manners.adds_bodies;
    let final_at = bytes.len();
    let (head, body) = compose(told, is_bare, &(echo + login), &mut after, book);
    bytes.extend(head.bytes());
    bytes.extend(body);
    if manners.closes_unsaid && after == After::Next {
        after = After::Close;
    }
    book.trace.note(|| format!("{number}: {head:?}"));
    let framed = head.contains("Content-Length") || head.contains("Transfer-Encoding");
    // Without a body, nothing of it is until the end.
    let is_unsaid = is_bare && !framed && !head.contains("Connection: close");
    book.plans[number].was_left_unsaid |= is_unsaid && after == After::Close;
    let mut answer = Answer {
        bytes,
        after,
        is_whole: !mixed_up,
        lasts_until_close: !framed,
        final_at,
        ..Answer::new(number, book.later())
    };
    if book.dice.one_in(10) {
        answer.at = answer.at + book.dice.millis(50);
    }
    spoil(&mut answer, book);
    answer
}

fn compose(
    number: usize,
    is_bare: bool,
    lines: &str,
    after: &mut After,
    book: &mut Book,
) -> (String, Vec<u8>) {
    let dice = &mut book.dice;
    let status = *dice.choose(&["200 OK", "200 OK", "200 OK", "404 No", "500 No", "204 Nothing"]);
    let len = if status.starts_with("204") { 0 } else { dice.size() };
    let body = pattern(number, len);
    let mut head = format!("HTTP/1.1 {status}\r\nX-Answer: {number}\r\nX-Length: {len}\r\n{lines}");
    if dice.one_in(20) {
        head += &format!("X-Filler: {}\r\n", "f".repeat(dice.below(2700)));
    }
    let closes = dice.one_in(8);
    let mut wire = Vec::new();
    match dice.below(4) {
        _ if status.starts_with("204") => (),
        0 | 1 => {
            head += &format!("Content-Length: {len}\r\n");
            wire = body;
        }
        2 => {
            head += "Transfer-Encoding: chunked\r\n";
            wire = chunked(&body, dice, Spoiled::No);
        }
        _ => {
            *after = After::Close;
            wire = body;
        }
    }
    if closes {
        head += "Connection: close\r\n";
        *after = After::Close;
    }
    if is_bare {
        wire.clear();
    }
    (head + "\r\n", wire)
}

/// Cuts or damages an answer, if the weather is such.
fn spoil(answer: &mut Answer, book: &mut Book) {
    let weather = book.weather;
    let dice = &mut book.dice;
    if weather.garbage && dice.one_in(5) {
        answer.is_whole = false;
        let nonsense: [&[u8]; 5] = [
            b"SSH-2.0-OpenSSH_9\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            &[b'x'; 5000],
        ];
        answer.bytes = dice.choose(&nonsense).to_vec();
        answer.after = *dice.choose(&[After::Next, After::Close]);
        return;
    }
    if weather.cuts && dice.one_in(4) {
        answer.cut(dice.below(answer.bytes.len() + 1));
        answer.after = match answer.lasts_until_close {
            true => After::Reset,
            false => *dice.choose(&[After::Close, After::Close, After::Reset]),
        };
    }
    if weather.hangs && dice.one_in(5) {
        let cut = dice.below(answer.bytes.len() + 1);
        answer.cut(if dice.one_in(2) { 0 } else { cut });
        answer.after = After::Silence;
    }
}
