//! Traffic of which every byte is checked: connections that are kept and such that are not, GET and
//! POST. Nothing of it may be lost, whatever is done to the service meanwhile.

use super::{Answer, Backend, Client, Request, noise};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

/// Clients that go on until they are told to end.
pub struct Traffic {
    stops: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

/// A backend for them: the answer depends on all bytes of the request.
pub fn mirror() -> Backend {
    Backend::answering(mirrored)
}

/// What it answers.
pub fn mirrored(request: &Request) -> Answer {
    let size: usize = request.target.trim_start_matches("/?").parse().unwrap_or(0);
    let mut body = noise(size, size as u64);
    body.extend_from_slice(&request.body);
    Answer::text(body)
}

impl Traffic {
    /// So many clients that keep their connections, and half as many that do not.
    pub fn at(address: SocketAddr, clients: usize) -> Traffic {
        Traffic::of(move || Client::connect(address), clients)
    }

    /// The same by a Unix socket.
    pub fn at_unix(path: PathBuf, clients: usize) -> Traffic {
        Traffic::of(move || Client::at_unix(&path), clients)
    }

    fn of(connect: impl Fn() -> Client + Clone + Send + 'static, clients: usize) -> Traffic {
        let (stops, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..clients + clients / 2).map(|index| {
            let (stops, served) = (stops.clone(), served.clone());
            let connect = connect.clone();
            let keeps = index < clients;
            thread::spawn(move || {
                let mut client = None;
                let mut round = index;
                while !stops.load(Ordering::Relaxed) {
                    round += 1;
                    client = ask(&connect, client, keeps, round);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let clients = clients.collect();
        Traffic { stops, served, clients }
    }

    /// Requests that were answered so far.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Returns when so many more requests were answered than now.
    pub fn wait_for(&self, more: usize) {
        let before = self.served();
        super::until("traffic goes on", || {
            self.served() >= before + more || self.clients.iter().any(JoinHandle::is_finished)
        });
    }

    /// Ends it. Fails if any request was lost, or answered wrongly. How many were answered.
    pub fn end(self) -> usize {
        self.stops.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client that lost nothing");
        }
        self.served.load(Ordering::Relaxed)
    }
}

/// Makes a request and checks the answer. The connection, if it goes on.
fn ask(
    connect: impl Fn() -> Client,
    client: Option<Client>,
    keeps: bool,
    round: usize,
) -> Option<Client> {
    let mut client = client.unwrap_or_else(connect);
    let size = [0, 10, 3000, 40_000][round % 4];
    let upload =
        if round % 3 == 0 { noise([5, 20_000][round / 3 % 2], round as u64) } else { vec![] };
    let close = if keeps { "" } else { "Connection: close\r\n" };
    let mut expected = noise(size, size as u64);
    expected.extend_from_slice(&upload);
    let method = if upload.is_empty() { "GET" } else { "POST" };
    let mut request = format!("{method} /?{size} HTTP/1.1\r\nHost: test\r\n{close}").into_bytes();
    if !upload.is_empty() {
        request.extend_from_slice(format!("Content-Length: {}\r\n", upload.len()).as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(&upload);
    client.send(request);
    let response = client.response_to(method);
    assert_eq!(response.status, 200);
    super::assert_same_bytes(&response.body, &expected, "an answer");
    if response.closes() {
        client.expect_end();
        return None;
    }
    Some(client)
}
