//! httplb: an HTTP/1.1 load balancer on raw system calls, one event loop in one process.
//!
//! This is the map: what there is, from the top layer down, and how a request travels through it.
//!
//! # Rules
//!
//! - **Imports point down.** A module imports only from layers below its own. Below `sys` all is
//!   pure: no descriptors, no clock, no randomness.
//! - **`unsafe`, `libc` and `rustix` stand in `sys/linux/` alone.** Unit tests run on `sys/sim/`, a
//!   simulated kernel under the same names. There are no threads, no locks and no shared ownership:
//!   things name each other by ids that go stale safely ([`mem::slab`]).
//! - **The unit of work is the client.** Whatever happens (bytes, room, a backend, a timeout) ends in
//!   `wake(client)`. `drive(client)` then makes all the progress that is possible, and may be
//!   called at any time without harm.
//! - **An exchange is one request with its response.** Until the response is committed, that is its
//!   head entered the client's output ring, all can be repeated; from then on nothing can. Only the
//!   first exchange in a client's queue commits. `Exchange::enter` alone changes its state.
//! - **Who is accepted has its memory already.** The stocks of rings and heads match the slabs. To
//!   run out means to wait, never to fail halfway; no request allocates.
//!
//! `tests/tidy.rs` checks the first two, the order of the modules here, and the length of files (600
//! lines) and of functions (70).
//!
//! # Files
//!
//! ```text
//! main.rs            hands the command line to cli and the configuration to worker
//! cli.rs             options, -t, -T, exit statuses, messages about the command line and the file
//!
//! worker/            one proxying process
//!   mod.rs           the event loop; signals, ticks twice a second, the graceful stop
//!   accept.rs        listeners; accepts within a budget, waits when slots or descriptors run out
//!   probes.rs        connects each second to backends that were taken out
//!
//! proxy/             the data plane; the steps of an exchange are methods of Proxy, a file a step
//!   mod.rs           Proxy: three slabs; events, wake, turn, drive, step, settle
//!   exchange.rs      Exchange, State and the changes it allows, Answer
//!   client.rs        Client; heads taken in, or refused with an answer of our own
//!   dispatch.rs      Waiting: its turn, a backend, a shared, unused or new connection; the lines
//!   send.rs          Connecting, Sending: head and body on their way to the backend
//!   receive.rs       Sending, Awaiting: the head of the response, 1xx, identity
//!   respond.rs       Answered, Responding: the commit, the body behind it, answers of our own
//!   tunnel.rs        Tunneling: WebSocket, bytes both ways until both sides have ended
//!   fail.rs          carries out the verdict on a failure; counts it for the backend's health
//!   finish.rs        Done: connections kept or closed, slots freed; idle sweeps; lingering; drain
//!   backend.rs       BackendConn, and a backend's stack of unused connections
//!   relay.rs         Relay: one direction of a body, by rings or by splice
//!   rechunk.rs       chunked bodies from ring to ring, framing checked and written anew
//!   pipes.rs         what relays borrow: rings, and at most 64 pipes
//!   preamble.rs      the PROXY header before a first request
//!   pools.rs         Pool and Backend as a worker knows them; how fast a backend answers
//!   timing.rs        which timer runs for what a client or an exchange waits for
//!   settings.rs      the limits of a process, and the memory bound
//!   request_ids.rs   UUIDs, randomness fetched in bulk
//!   access_log.rs    one JSON line a request, buffered, never blocking
//!   tests/           scenarios, and random worlds from a seed, on the simulated kernel
//!
//! net/               conn.rs: a socket, its two rings, what is known of its readiness
//!
//! cache/             stored responses on disk; mod.rs tells how a request is answered from them
//!   store.rs         a worker's view: find             shelf.rs      entries at hand
//!   recorder.rs      a passing response recorded       renew.rs      what a 304 confirms
//!   files.rs         the directory                     entry.rs      what is in a file
//!   serve.rs         the head of an answer             sweep.rs      scan, evict, purge: in control
//!   cells.rs         what all processes share          index.rs      which entries, when used
//!   fetches.rs       who fetches what, who waits       keeper.rs     what every process does
//!   checksum.rs      XXH64                             testing.rs    what the tests share
//!
//! sys/               the kernel; mod.rs chooses linux/, or sim/ in unit tests
//!   error.rs         IoError: what callers tell apart, each with its remedy
//!   linux/           socket listener unix poller doorbell pipe file disk memory message process
//!                    signals notify clock random
//!   sim/             the same names; world.rs, kernel.rs, stream.rs, dice.rs: all from one seed
//!   conformance_tests.rs   the same scripts on both kernels must give the same notes
//!
//! policy/            decisions: facts in, a word out
//!   route.rs         which pool a request is for: host, path, fields
//!   admit.rs         what is too large, or expects too much
//!   balance.rs       which backend is next: weights, least connections, backups, caps
//!   order.rs         which request may start before its turn
//!   retry.rs         Failure to Verdict; the budget of repeats
//!   health.rs        failures in a row to down, probes to up
//!   reuse.rs         which unused connection may be taken, and how long one is kept
//!   identity.rs      whether the response is this request's: the echoed X-Request-ID
//!   cache_key.rs     the URL by which answers are stored; references to others
//!   storable.rs      may it be stored, and which of its fields         RFC 9111 §3
//!   freshness.rs     age, lifetime, what a stale answer is good for    RFC 9111 §4.2, RFC 5861
//!   vary.rs          which requests an answer fits                     RFC 9111 §4.1
//!   conditional.rs   304; validation, and what a 304 updates           RFC 9110 §13, RFC 9111 §4.3
//!   ranges.rs        parts of a stored whole                           RFC 9110 §14
//!   invalidation.rs  what an unsafe method makes void                  RFC 9111 §4.4
//!   siphash.rs       SipHash-2-4 of 64 and 128 bits
//!
//! http/              bytes to meaning and back
//!   scan.rs          where a head ends; classes of bytes
//!   request.rs       RequestHead, Refusal              response.rs   ResponseHead
//!   fields.rs        field lines, lists, hop-by-hop    method.rs     safe, idempotent
//!   body.rs          how a body is framed              chunked.rs    where chunks end
//!   rewrite.rs       heads as they go on               reply.rs      answers of our own
//!   date.rs          dates written and read            proxy_header.rs   PROXY, versions 1 and 2
//!   caching.rs       what heads say to caches          cache_status.rs   RFC 9211
//!   cache_control.rs   directives, CDN-Cache-Control   structured.rs     dictionaries, RFC 9651
//!   testing.rs       what the tests share
//!
//! config/            servers.conf to a Config that is valid by construction
//!   mod.rs           Config, its defaults, ConfigError
//!   file.rs          JSON as a tree that keeps order and duplicates
//!   read.rs          values by kind and range; mistakes collected with their places
//!   check.rs         tree to Config, by way of process.rs, pool.rs and route.rs: a key each
//!   version.rs       refuses what this version does not have
//!   address.rs  units.rs  words.rs   addresses; "5s", "64KiB"; quoting and guessing
//!   dump.rs          a Config as JSON, for -T
//!
//! mem/               containers that are made once and then never allocate
//!   ring.rs          bytes in a circle                 buffer.rs     bytes in a line: a head
//!   slab.rs          slots with generational ids       stock.rs      pieces of an arena, lent
//!   queue.rs         first in, first out               timers.rs     a queue for each duration
//!   time.rs          Millis, Micros                    xorshift.rs   random numbers for tests
//! ```
//!
//! Tests of a file stand at its end or beside it in `*_tests.rs`. `tests/` runs the real binary,
//! `benches/` counts instructions, `fuzz/` has the parsers under random input, `packaging/test` runs
//! it all.
//!
//! # The way of a request
//!
//! 1. `worker/mod.rs`: an event names a client, which is marked and woken, or a listener, from
//!    which `worker/accept.rs` takes a new one. Then each ready client is driven (`proxy/mod.rs`).
//! 2. `proxy/client.rs`, intake: `net/conn.rs` fills the input ring, `http/scan.rs` finds the end of
//!    a head, `http/request.rs` validates it, `policy/route.rs` finds its pool, `http/rewrite.rs`
//!    writes it as it will go on into the buffer of a new exchange, at the end of the client's queue.
//!    It goes on while requests may be pipelined. A head that is refused becomes an exchange too, already Answered.
//! 3. `proxy/dispatch.rs`: it may start (`policy/order.rs`), a backend is picked (`policy/balance.rs`)
//!    or the exchange waits in the pool's line. It joins the connection of a neighbour, takes an
//!    unused one (`policy/reuse.rs`), or opens one.
//! 4. `proxy/send.rs`: the head goes into the backend's output ring, the body follows by
//!    `proxy/relay.rs`. All rings are flushed once, at the end of a round of `drive`.
//! 5. An event of the backend's connection wakes the client. `proxy/receive.rs`: the head is whole
//!    and valid (`http/response.rs`), is this request's (`policy/identity.rs`), its body is framed
//!    (`http/body.rs`). It stays where it is, in the backend's input ring: Answered.
//! 6. `proxy/respond.rs`: once the exchange is first and there is room, the head is rewritten into
//!    the client's output ring. This is the commit.
//! 7. `proxy/relay.rs` moves the body from ring to ring, or by splice past both, as far as the
//!    client takes it.
//! 8. `proxy/finish.rs`: the backend connection is kept or closed, the line for the access log is
//!    written, the slot is free, the next exchange is first. A client with nothing left to do gives
//!    its rings back and costs its slot alone.
//!
//! **When it fails**, at any step: `proxy/fail.rs` closes the connection, tells `policy/health.rs`,
//! and asks `policy/retry.rs`. *Retry*: Waiting again, from 3, with the same head. *Answer*: Answered
//! with a 502, 503 or 504 of our own, from 6. *Truncate*: the client has seen a part, so its
//! connection is closed short.

pub mod cli;

pub mod worker;

pub mod proxy;

pub mod cache;

pub mod net;

pub mod sys;

pub mod policy;

pub mod http;

pub mod config;

pub mod mem;
