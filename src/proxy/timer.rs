//! The timers of the data plane, by name: what each is for. How long they run is in `settings`, when they are
//! started and what their end does in `timeouts`.

/// The timers of clients and of exchanges. Each is a queue of [`Timers`](crate::mem::timers::Timers), by its
/// place here; how long it runs, and why, says `Settings::durations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A client sends a head, or has not begun to send one on a new connection.
    Header,
    /// A client has had responses, and sends nothing more.
    Idle,
    /// A client does not take the end of its last response.
    Flush,
    /// A client's connection was closed on this side, and is read until the client closes it too.
    Linger,
    /// A client with an exchange is not watched by the poller.
    Unwatched,
    /// An exchange waits for a backend or a connection.
    Queue,
    /// A backend connection opens, or waits for room in the queue of a Unix socket.
    Connect,
    /// The backend is the slow side.
    Response,
    /// A tunnel in which nothing moves.
    Tunnel,
    /// The client is the slow side.
    Client,
    /// An exchange waits for the response that another one fetches.
    Collapsed,
    /// The client has ended its side, or of a tunnel either side has, and the exchange goes on.
    Fin,
    /// A client is idle, and clients are to go elsewhere or the service ends.
    Brief,
    /// A response in doubt is held back, or stands in the way of others.
    Doubt,
    /// An exchange is first on a shared connection, and stood behind another before.
    Behind,
    /// Others wait behind the exchange on a connection that clients share.
    HoldsUp,
}

impl Timer {
    /// All there are, in the order of their numbers.
    pub const ALL: [Timer; 16] = [
        Timer::Header,
        Timer::Idle,
        Timer::Flush,
        Timer::Linger,
        Timer::Unwatched,
        Timer::Queue,
        Timer::Connect,
        Timer::Response,
        Timer::Tunnel,
        Timer::Client,
        Timer::Collapsed,
        Timer::Fin,
        Timer::Brief,
        Timer::Doubt,
        Timer::Behind,
        Timer::HoldsUp,
    ];
}

const _: () = {
    let mut number = 0;
    while number < Timer::ALL.len() {
        assert!(Timer::ALL[number] as usize == number);
        number += 1;
    }
};
