//! A TCP connection with a buffer of what came and is not yet read, which tells how it ended.

use super::DEADLINE;
use socket2::SockRef;
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

/// How the peer's side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
    /// It did not: nothing came until the deadline.
    Silence,
}

pub struct Wire {
    pub stream: TcpStream,
    pub buffer: Vec<u8>,
    /// Gets a copy of all that comes.
    pub record: Option<Arc<Mutex<Vec<u8>>>>,
    end: Option<End>,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Wire {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let _ = stream.set_nodelay(true); // a Unix socket delays nothing
        Wire { stream, buffer: Vec::new(), record: None, end: None }
    }

    pub fn connect(address: SocketAddr) -> Wire {
        Wire::new(TcpStream::connect_timeout(&address, DEADLINE).unwrap())
    }

    /// Reads what comes next, at least one byte.
    pub fn more(&mut self) -> Result<(), End> {
        let mut bytes = [0; 64 * 1024];
        self.more_into(&mut bytes)
    }

    fn more_into(&mut self, bytes: &mut [u8]) -> Result<(), End> {
        if let Some(end) = self.end {
            return Err(end);
        }
        let end = match self.stream.read(bytes) {
            Ok(0) => End::Fin,
            Ok(len) => {
                self.buffer.extend_from_slice(&bytes[..len]);
                if let Some(record) = &self.record {
                    record.lock().unwrap().extend_from_slice(&bytes[..len]);
                }
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return self.more_into(bytes),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(End::Silence);
            }
            Err(_) => End::Reset,
        };
        self.end = Some(end);
        Err(end)
    }

    pub fn read_until_len(&mut self, len: usize) -> Result<(), End> {
        while self.buffer.len() < len {
            self.more()?;
        }
        Ok(())
    }

    /// Takes `len` bytes from the front.
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(len);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Takes a line with its CRLF. A line ended by LF alone is an error of the peer's.
    pub fn line(&mut self) -> Result<Vec<u8>, End> {
        loop {
            if let Some(at) = self.buffer.iter().position(|&byte| byte == b'\n') {
                return Ok(self.take(at + 1));
            }
            self.more()?;
        }
    }

    /// Reads until the peer's side ends.
    pub fn read_to_end(&mut self) -> End {
        loop {
            if let Err(end) = self.more() {
                return end;
            }
        }
    }

    /// Whether all could be sent; how the peer ended shows when reading.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends each piece so that it arrives on its own as a rule.
    pub fn send_pieces<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut is_first = true;
        pieces.into_iter().all(|piece| {
            if !std::mem::take(&mut is_first) {
                std::thread::sleep(Duration::from_micros(300));
            }
            self.send(piece)
        })
    }

    pub fn finish_sending(&self) {
        let _ = self.stream.shutdown(Shutdown::Write); // the peer may be gone already
    }

    /// Closes so that the peer sees a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Whether the peer's end has come already, without waiting for it. Reads what is there.
    pub fn has_ended(&mut self) -> Option<End> {
        self.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let end = loop {
            match self.more() {
                Ok(()) => (),
                Err(End::Silence) => break None,
                Err(end) => break Some(end),
            }
        };
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        end
    }
}
