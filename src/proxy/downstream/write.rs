//! What a client is sent: heads, and bodies that no backend's connection gives. Beside the relay's
//! [`Sink`] the only place that writes to a client.

use crate::cache::open_entries::OpenEntry;
use crate::cache::serve::{self, Serving};
use crate::http::body::Body;
use crate::http::error_page::ErrorPage;
use crate::http::message::Version;
use crate::http::reply::{self, Reply};
use crate::http::response::ResponseHead;
use crate::http::rewrite::{self, Answering, ResponseFraming};
use crate::mem::Append;
use crate::mem::free_list::FreeList;
use crate::mem::ring::Ring;
use crate::net::Conn;
use crate::policy::ranges::Part;
use crate::sys::{File, IoError};

use super::client::Client;
use super::sink::Sink;
use crate::proxy::exchange::Final;
use crate::proxy::relay::Relay;
use crate::proxy::step::Frame;

/// Bytes of a file that are sent at once, at most.
const SENT_AT_ONCE: u64 = 1 << 20;

/// Why a file was not sent whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFileError {
    /// The client does not take it any more.
    Client,
    /// The file is shorter than it was, or cannot be read.
    File,
}

/// What of a request a reply to it may repeat.
pub struct OfRequest<'a> {
    /// Its head up to the identifier.
    pub before_id: &'a [u8],
    /// The value of `Host`.
    pub host: &'a [u8],
    /// The target.
    pub target: &'a [u8],
}

impl Client {
    /// Bytes that can be written now.
    pub fn room(&self, ring_size: usize) -> usize {
        match &self.sink {
            Sink::Http1(conn) => conn.output_room(ring_size),
            Sink::Nobody => ring_size,
        }
    }

    /// How the relay of a body that comes with this status is to tell the client where it ends.
    pub fn frame_for(&self, body: &Body, status: u16, version: Version) -> Frame {
        match (body, version) {
            (Body::Chunked(_) | Body::UntilClose, Version::Http11) if status != 101 => {
                Frame::Chunked
            }
            (Body::Chunked(_) | Body::UntilClose | Body::Empty | Body::Length(_), _) => Frame::Raw,
        }
    }

    /// How the head tells it, of a body that is relayed so.
    pub fn framing(&self, status: u16, body: &Relay) -> ResponseFraming {
        match (body.length(), body.frame()) {
            _ if status == 101 => ResponseFraming::AsIs,
            (Some(_), _) => ResponseFraming::AsIs,
            (None, Frame::Chunked) => ResponseFraming::Chunked,
            (None, Frame::Raw) => ResponseFraming::Close,
        }
    }

    /// Writes an interim response, for which there is room.
    pub fn write_interim(&mut self, head: &ResponseHead, via: Option<&str>, rings: &mut FreeList) {
        self.write(rings, |output| rewrite::interim(head, via, output));
    }

    /// Writes a reply of our own, whole: an error, or what a request is answered that ends here. Returns how
    /// many bytes that was.
    pub fn write_reply(
        &mut self,
        reply: &Reply,
        to: Option<Final>,
        request: &OfRequest,
        rings: &mut FreeList,
    ) -> u64 {
        self.write(rings, |output| match to {
            None => reply::write(reply, output),
            Some(Final::Methods) => reply::write_methods(reply, output),
            Some(Final::Reflection) => reply::write_reflection(reply, request.before_id, output),
            Some(Final::Redirect { .. }) => {
                reply::write_redirect(reply, request.host, request.target, output);
            }
        })
    }

    /// Writes the head of an error whose body, of so many bytes, follows. Returns how many bytes that was.
    pub fn write_reply_head(&mut self, reply: &Reply, length: u64, rings: &mut FreeList) -> u64 {
        self.write(rings, |output| reply::write_head(reply, length, output))
    }

    /// Writes a part of an error page, behind the first `sent` bytes, as much as there is room for. Returns how
    /// many bytes that was.
    pub fn write_page(
        &mut self,
        page: &ErrorPage,
        id: &[u8],
        sent: u64,
        ring_size: usize,
        rings: &mut FreeList,
    ) -> u64 {
        match (&self.sink, self.room(ring_size)) {
            (Sink::Nobody, _) => page.len(id) - sent,
            (Sink::Http1(_), 0) => 0,
            (Sink::Http1(_), room) => self.write(rings, |output| {
                page.write(id, sent, room, output);
            }),
        }
    }

    /// Writes the head of a backend's response. Returns how many bytes that was.
    pub fn write_head(
        &mut self,
        head: &ResponseHead,
        answering: &Answering,
        rings: &mut FreeList,
    ) -> u64 {
        self.write(rings, |output| rewrite::response(head, answering, output))
    }

    /// Writes the head of a stored response. Returns how many bytes that was, and which bytes of the entry
    /// follow, unless the request is HEAD.
    pub fn write_stored_head(
        &mut self,
        open_entry: &OpenEntry,
        serving: &Serving,
        rings: &mut FreeList,
    ) -> (u64, Option<Part>) {
        let mut body = None;
        let written =
            self.write(rings, |output| body = serve::write_head(open_entry, serving, output));
        (written, body)
    }

    /// Writes bytes of a stored body, as many as there is room for. Returns how many.
    pub fn write_part(&mut self, bytes: &[u8], ring_size: usize, rings: &mut FreeList) -> u64 {
        let part = &bytes[..bytes.len().min(self.room(ring_size))];
        if !part.is_empty() {
            self.write(rings, |output| output.append(part));
        }
        part.len() as u64
    }

    /// Sends a part of a file past the ring, once what is in that has gone. Returns how many bytes went.
    pub fn send_file(
        &mut self,
        file: &File,
        at: u64,
        len: u64,
        rings: &mut FreeList,
    ) -> Result<u64, SendFileError> {
        let limit = len.min(SENT_AT_ONCE);
        match &mut self.sink {
            Sink::Http1(conn) => send_file(file, at, limit, conn, rings),
            Sink::Nobody => Ok(limit),
        }
    }

    fn write(&mut self, rings: &mut FreeList, write: impl FnOnce(&mut Ring)) -> u64 {
        match &mut self.sink {
            Sink::Http1(conn) => {
                let output = conn.prepare_output(rings);
                let before = output.len();
                write(output);
                (output.len() - before) as u64
            }
            Sink::Nobody => 0,
        }
    }
}

fn send_file(
    file: &File,
    at: u64,
    limit: u64,
    conn: &mut Conn,
    rings: &mut FreeList,
) -> Result<u64, SendFileError> {
    if !conn.output.is_empty() || !conn.writable {
        return Ok(0);
    }
    match conn.send_file(file, at, usize::try_from(limit).unwrap_or(usize::MAX)) {
        Ok(0) => Err(SendFileError::File),
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
        Err(IoError::Reset | IoError::TimedOut) => Err(SendFileError::Client),
        Err(_) => Err(SendFileError::File),
    }
}

/// The same by way of the ring, which is empty, where a kernel or a filter of system calls does not
/// send files to sockets.
fn copy_file(
    file: &File,
    at: u64,
    limit: u64,
    conn: &mut Conn,
    rings: &mut FreeList,
) -> Result<u64, SendFileError> {
    let output = conn.prepare_output(rings);
    let [room, _] = output.free();
    let most = usize::try_from(limit).unwrap_or(usize::MAX).min(room.len());
    match file.read_at(&mut room[..most], at) {
        Ok(0) | Err(_) => Err(SendFileError::File),
        Ok(count) => {
            output.filled(count);
            Ok(count as u64)
        }
    }
}
