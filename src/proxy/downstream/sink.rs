//! Where the response of an exchange goes, and how its body gets there.

use std::mem::swap;

use crate::mem::Append;
use crate::mem::free_list::FreeList;
use crate::mem::ring::Ring;
use crate::net::Conn;
use crate::sys::{IoError, Pipe};

/// What is at the end of a response's way: owned by a client, and borrowed by the relay of a body. The
/// relay of a request's body ends at a backend's connection in the same way.
pub enum Sink<C> {
    /// A connection that speaks HTTP/1.
    Http1(C),
    /// Nobody: what is written is gone. A stale entry is revalidated, and what comes is only recorded.
    Nobody,
}

impl Sink<Conn> {
    /// The connection, if there is one.
    pub fn conn(&self) -> Option<&Conn> {
        match self {
            Sink::Http1(conn) => Some(conn),
            Sink::Nobody => None,
        }
    }

    /// The connection, for whoever reads from it.
    pub fn conn_mut(&mut self) -> Option<&mut Conn> {
        match self {
            Sink::Http1(conn) => Some(conn),
            Sink::Nobody => None,
        }
    }

    /// Closes the connection so that whoever is at its end sees a reset.
    pub fn reset(self) {
        match self {
            Sink::Http1(conn) => conn.reset(),
            Sink::Nobody => (),
        }
    }

    /// A sink that borrows this one, for whoever has a part of the response to write.
    pub fn as_mut(&mut self) -> Sink<&mut Conn> {
        match self {
            Sink::Http1(conn) => Sink::Http1(conn),
            Sink::Nobody => Sink::Nobody,
        }
    }
}

impl Sink<&mut Conn> {
    /// Bytes that can be written now.
    #[inline]
    pub fn room(&self, ring_size: usize) -> usize {
        match self {
            Sink::Http1(conn) => conn.output_room(ring_size),
            Sink::Nobody => ring_size,
        }
    }

    /// Whether all that was written has been sent.
    #[inline]
    pub fn is_flushed(&self) -> bool {
        match self {
            Sink::Http1(conn) => conn.output.is_empty(),
            Sink::Nobody => true,
        }
    }

    /// Whether it can be given what lies in a pipe.
    #[inline]
    pub fn takes_pipes(&self) -> bool {
        match self {
            Sink::Http1(_) => true,
            Sink::Nobody => false,
        }
    }

    /// Whether the kernel may have room for what lies in a pipe.
    #[inline]
    pub fn is_writable(&self) -> bool {
        match self {
            Sink::Http1(conn) => conn.writable,
            Sink::Nobody => true,
        }
    }

    /// Writes `bytes`, for which there is room.
    #[inline]
    pub fn write(&mut self, bytes: &[u8], rings: &mut FreeList) {
        match self {
            Sink::Http1(conn) => conn.prepare_output(rings).append(bytes),
            Sink::Nobody => (),
        }
    }

    /// Takes all that `input` holds, once it is flushed: the rings change places. Returns how many bytes.
    #[inline]
    pub fn take_all(&mut self, input: &mut Ring) -> usize {
        let count = input.len();
        match self {
            Sink::Http1(conn) => swap(input, &mut conn.output),
            Sink::Nobody => input.consume(count),
        }
        count
    }

    /// Takes up to `limit` bytes out of `input`, as many as there is room for. Returns how many.
    #[inline(always)] // lest a body be handed from function to function
    pub fn pour(&mut self, input: &mut Ring, limit: usize, rings: &mut FreeList) -> usize {
        match self {
            Sink::Http1(conn) => input.pour_into(conn.prepare_output(rings), limit),
            Sink::Nobody => {
                let count = limit.min(input.len());
                input.consume(count);
                count
            }
        }
    }

    /// The same with those behind the first `from`, which stay in `input`.
    #[inline]
    pub fn copy(&mut self, input: &Ring, from: usize, limit: usize, rings: &mut FreeList) -> usize {
        match self {
            Sink::Http1(conn) => input.copy_into(from, conn.prepare_output(rings), limit),
            Sink::Nobody => limit.min(input.len() - from),
        }
    }

    /// Takes what lies in a pipe, as much as the kernel has room for.
    pub fn drain(&mut self, pipe: &mut Pipe) -> Result<(), IoError> {
        let Sink::Http1(conn) = self else { return Err(IoError::Unsupported) };
        match conn.drain_pipe(pipe) {
            Ok(count) => {
                conn.traffic.sent += count as u64;
                Ok(())
            }
            Err(error) => {
                conn.writable &= error != IoError::WouldBlock;
                Err(error)
            }
        }
    }

    /// Moves the pipe's bytes by way of the ring, which has room, because the kernel does not splice them to
    /// this socket.
    pub fn drain_copying(&mut self, pipe: &mut Pipe, rings: &mut FreeList) -> Result<(), IoError> {
        let Sink::Http1(conn) = self else { return Err(IoError::Unsupported) };
        let output = conn.prepare_output(rings);
        let count = pipe.read(output.free())?;
        output.filled(count);
        Ok(())
    }
}
