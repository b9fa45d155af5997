//! httplb: an HTTP/1.1 load balancer on raw system calls: processes with an event loop each.
//!
//! This is the map: what there is, from the top layer down, and how a request travels through it. How it
//! works together, and where each decision is made, is in `docs/ARCHITECTURE.md`.
//!
//! # Rules
//!
//! - **Imports point down.** A module imports only from layers below its own. Below `sys` all is
//!   pure: no descriptors, no clock, no randomness.
//! - **`unsafe`, `libc` and `rustix` stand in `sys/linux/` alone.** Unit tests run on `sys/sim/`, a
//!   simulated kernel under the same names. There are no threads, no locks and no shared ownership:
//!   things name each other by ids that go stale safely (`mem/slab.rs`).
//! - **The unit of work is the client.** Whatever happens (bytes, room, a backend, a timeout) ends in
//!   `wake(client)`. `drive(client)` then makes all the progress that is possible, and may be
//!   called at any time without harm.
//! - **An exchange is one request with its response.** Until the response is committed, that is its
//!   head entered the client's output ring, all can be done again; from then on nothing can. Only the
//!   first exchange in a client's queue commits. `Exchange::enter` alone changes its state, and
//!   `enter_cache` where it stands with the cache.
//! - **Who is accepted has its memory already.** The free lists of rings and heads match the slabs. To
//!   run out means to wait, never to fail halfway; no request allocates.
//!
//! `tests/tidy` checks the first two, that this map names every file, and the length of files (600
//! lines) and of functions (70).
//!
//! # Files
//!
//! ```text
//! main.rs            calls program.rs, which hands the command line to cli and the configuration to master
//! cli.rs             options, -t, -T, exit statuses, messages about the command line and the file
//! cli/explain.rs     --explain and -H
//!
//! master/            the process that starts the others, watches them and replaces them
//!   supervisor.rs    the loop; signals, ended children
//!   shutdown.rs      the end of the service, more and more plainly
//!   takeover.rs      a generation whose processes all serve takes the place of the one before
//!   start.rs         the start of the service, and of each generation
//!   state.rs         Master, what it knows              image.rs    the program that a reload executes
//!   generation.rs    the processes of one configuration, and what they have in common
//!   child_init.rs    the first moments of a child: what it drops, opens and gives up
//!   restart_limit.rs how many workers died of late
//!   admin_sockets.rs the sockets where operators come in, and their token
//!   listeners.rs     a socket for each worker and address, kept open; which worker has which
//!   reload.rs        the program on disk takes this one's place, or all stays as it is
//!   preflight.rs     whether it could: what it is asked before, and how it answers
//!   helpers.rs       the processes that do something for the control process, a row each
//!   handover.rs      from one image of the program to the next: descriptors by number, and bytes
//!   record.rs        what the bytes mean               environment.rs  variables for one image alone
//!   inherited.rs     what this process was given: sockets passed by systemd, a handover, a question
//!   backend_state.rs what is known of the backends, from one generation to the next
//!   saved.rs         those that have registered, from one start to the next
//!   log_files.rs     the access log, made for those who are not root
//!   cache_shm.rs     what generations share of the stored answers; a child's way to their directory
//!   notify.rs        what the service manager is told        cpus.rs   how many workers "auto" is
//!   warnings.rs      what of a configuration is hardly meant, on this machine
//!   memory_limit.rs  how much memory there is                unit.rs   how long a stop may take
//!
//! ctl/               the client of a service that runs: httplb ctl, httplb top
//!   options.rs       what stands behind ctl on the command line
//!   target.rs        which service is meant           client.rs    one request to its admin API
//!   show.rs          what it tells of itself           diary.rs     what it writes down as it happens
//!   change.rs        what changes something, and which backend is meant
//!   top/             httplb top: the screen, each second
//!     keys.rs        what is pressed      model.rs     what is known      view.rs     what is shown
//!   by_signal.rs     a reload that the service manager asks for
//!   text.rs          tables, and nothing that could steer a terminal
//!
//! worker/            a proxying process
//!   mod.rs           the event loop; signals, ticks twice a second, the graceful stop
//!   accept.rs        listeners; accepts within a budget, waits when slots or descriptors run out
//!   sticky_key.rs    the key of the sticky cookies, in the state directory
//!   alone.rs         a worker without a service, for tests that count what it costs
//!
//! names/             the process that looks up names
//!   mod.rs           the loop: look-ups that are due, children that have ended, what is told
//!   lookup.rs        one look-up, in a child       store.rs       what is kept for the next start
//!
//! control/           the process that does what must not be done by each worker
//!   mod.rs           the event loop; how it ends
//!   checks.rs        when each backend is checked, and what comes of it
//!   probe.rs         one check: a connection, a request, the head of its response
//!   admin.rs         operators' connections, within fixed limits  connection.rs  one of them
//!   request_parser.rs their requests, by the parser of http/        answer.rs   and the answers
//!   api.rs           a request to a Command                        commands.rs what it does
//!   commands/shown.rs   what operators are shown
//!   query.rs         the parameters of a request
//!   explain.rs       how a request would be handled now
//!   health.rs        whether clients are to be sent here
//!   names.rs         backends that names bring: what was found, and the cells
//!   names_shown.rs   names as JSON, and for Prometheus
//!   caps.rs          the caps that find themselves: what workers have counted, and what comes of it
//!   fleet.rs         the registry: backends that come and go, what is held   fleet_shown.rs   shown
//!   fleet_cells.rs   written into the cells          shared_commands.rs  commands that go to the registry
//!   client_limit.rs  whether all client connections are taken: for how long, and that it is said
//!   cache.rs         the sweeper's steps, purges, whether answers can be stored at all
//!   view.rs          a snapshot of the cells, and what this process alone knows
//!   sampler.rs       takes in what was counted, each second         recent.rs   large texts made just now
//!   troubles.rs      says when requests begin to fail, and when that ends
//!   diary.rs         what failed, was slow or was said, as JSON
//!   json.rs  metrics.rs  page.rs   the view as JSON, for Prometheus, for people
//!   verdict.rs       what is wrong, the worst first                 page_rows.rs  page_line.rs  page_text.rs  page_window.rs   its parts
//!   held_pages.rs    pages that somebody has clicked into
//!
//! proxy/             the data plane; the steps of an exchange are methods of Proxy, a file a step
//!   mod.rs           Proxy: clients, exchanges, backends; events, wake, turn, drive, step, settle
//!   ids.rs           what clients, exchanges and connections are named by; Token
//!   turn.rs          Turn: the time, and who is to be driven
//!   step.rs          what a step comes to: Progress, RelayError, Frame, ChunkPlace
//!   exchange.rs      Exchange, Response           state.rs       State and the changes it allows
//!   exchange/renew.rs   one made of one that is over
//!   attempts.rs      how an exchange is tried, and was before
//!   caching/         what the cache has to do with an exchange
//!     mod.rs         Caching, the owner
//!     context.rs     what is told to it of an exchange, and CacheStep, what becomes of that
//!     carry_out.rs   the way to it, and what it says done
//!     state.rs       CacheState and the changes it allows; which State it goes with
//!     lookup.rs      Waiting: a stored answer, or what another request fetches
//!     follow.rs      what another request fetches, as it comes; a fetch without its client
//!     hit.rs         an entry's answer: from memory by the ring, from files past it
//!     in_chunks.rs   what is followed and has not said its length, in chunks
//!     cold.rs        exchanges whose answer is to be read from the disk first
//!     record.rs      answers recorded while they pass
//!     rest.rs        a stored part before the rest, for which a backend is asked
//!     revalidate.rs  what an answer or a failure means for what is stored: 304, stale, void
//!     background.rs  stale entries revalidated behind an answer, for no client
//!   downstream/      the clients' side of a worker, as one owner
//!     mod.rs         Downstream: clients, each with its queue of exchanges
//!     client.rs      Client                        arrival.rs     how one comes in
//!     room.rs        who is let in, and who makes room for others
//!     proxy_protocol.rs the PROXY header before a first request
//!     read_requests.rs bytes to exchanges: heads taken in, or refused with a reply of our own
//!     accept_head.rs what is made of a head: its pool, its cookie, the head as it goes on
//!     write.rs       what a client is sent: heads, replies of our own, stored responses
//!     sink.rs        Sink: a connection, or nobody; how a body gets there
//!     close.rs       how a connection ends: with patience, at once, by a reset
//!     ending.rs      Closing, ClientPhase and the changes they allow
//!   upstream/        the backends' side of a worker, as one owner
//!     mod.rs         Upstream: pools, backends, connections
//!     pools.rs       Pool and Backend as a worker knows them, read anew when they have changed
//!     pick.rs        which backend, with a turn and a place shared by all workers
//!     waiting.rs     the queues for a place and for a connection
//!     backlog.rs     who waits for room in the queue of a Unix socket
//!     connection.rs  BackendConn: opened, used again, shared, released, closed
//!     idle.rs        a backend's stack of idle connections
//!     multiplexed.rs connections that carry requests of several clients
//!     bound.rs       connections over which a client has logged in, which are its own
//!     health.rs      what is learned of a backend by what it does
//!   dispatch.rs      Waiting: its turn, a backend, a shared, idle or new connection; places taken back
//!   send.rs          Connecting, Sending: head and body on their way to the backend
//!   receive.rs       Sending, Awaiting: the head of the response, 1xx, identity
//!   multiplex.rs     requests of several clients on one connection: who shares, and who leaves it
//!   share.rs         requests behind each other on one connection, and how they leave it
//!   respond.rs       Answered, Responding: the commit, the body behind it, answers of our own
//!   tolerance.rs     what pools tolerate of peers, and hints at what would have helped
//!   tunnel.rs        Tunneling: WebSocket, bytes both ways until both sides have ended
//!   doubt.rs         responses that may be another request's: asked again, read on, dropped
//!   doubted.rs       what is known of them
//!   held.rs          a response in doubt while its request is asked again, and its delivery after all
//!   fail.rs          carries out the verdict on a failure; counts it for the backend's health
//!   evacuate.rs      a backend went down: what waits there goes elsewhere
//!   teardown.rs      Done: connections kept or closed, slots freed
//!   housekeeping.rs  idle sweeps, memory given back, drain
//!   relay.rs         Relay: one direction of a body, by rings or by splice
//!   chunked_relay.rs chunked bodies: framing checked, and written anew from ring to ring or spliced
//!   buffers.rs       what relays borrow: rings, at most 64 pipes, room to look at what is spliced
//!   service.rs       whether clients are to come back
//!   timeouts.rs      which timer runs for what a client or an exchange waits for
//!   timer.rs         the timers, by name
//!   settings.rs      the limits of a process, and the memory bound
//!   request_ids.rs   UUIDs, randomness fetched in bulk
//!   rate_limited_log.rs messages that are written now and then, however often there is cause
//!   stats.rs         counts what happens, in the worker's row of the shared cells
//!   access_log.rs    one JSON line a request, buffered, never blocking
//!   remarkable.rs    what failed or was slow, kept for whoever asks  diary.rs       where
//!   tests/           scenarios, and random worlds from a seed, on the simulated kernel
//!
//! registry/          the process that holds the watch of a registry of many instances
//!   mod.rs           the event loop; the next member; what is told to control, and what it wants written
//!   session.rs       what is done with one member: a snapshot, a watch, pings and writes beside it
//!   link.rs          a connection to it                reader.rs     a response, read piece by piece
//!   etcd.rs          etcd's messages                   keys.rs       what the keys mean
//!   writes.rs        by which requests something is written     base64.rs   RFC 4648
//!
//! shared/            what the processes share: one array of atomic cells
//!   mod.rs           which cell is whose; epochs, waiting, when a slot is used again
//!   segment.rs       Segment, the handle: what lies where
//!   layout.rs        PoolId, BackendId, how many there may be
//!   rotations.rs     the rotations, shared by all generations
//!   states.rs        what a replaced generation follows of the one that serves
//!   elsewhere.rs     what the workers of other generations have, for limits and gauges
//!   pools.rs         a pool's name, rotation, epoch     backends.rs   address, setting, health
//!   registry.rs      who is in which pool                health.rs     what checks and requests found
//!   wishes.rs        what operators have set of backends that come and go
//!   claims.rs        places limited over all workers: claimed, waited for, given back by the dead
//!   place_times.rs   how long places at a backend were held, for the cap that finds itself
//!   counters.rs      a worker's row: what it holds and counts     totals.rs     over all rows
//!   histogram.rs     how long something took, in buckets          tally.rs       counts of one thing
//!   history.rs       what was counted of late, kept over reloads
//!   diary.rs         what failed, was slow or was said, kept over reloads
//!   wakers.rs      who is rung when a place becomes free, and why nobody is forgotten
//!   name_report.rs   what the process that looks up names tells the control process
//!   name_cells.rs    how names stand, and counts of them  name_records.rs as generations leave them to each other
//!   ipc.rs           what master and children tell each other beside signals
//!   reload_report.rs what becomes of reloads, for whoever asked by a signal
//!   fleet.rs         what control and the registry process tell each other
//!   withdrawal.rs    whether the service is withdrawn, and by whom
//!   report.rs        messages about backends that went up or down
//!   snapshot.rs      the service, its pools and backends at a moment, as plain numbers
//!   snapshot_reader.rs read from the cells: for page, metrics, JSON, health, explanations
//!
//! net/               conn.rs: a socket, its two rings, what is known of its readiness
//!   own.rs           backends that are the service itself
//!   unix.rs          backends at Unix sockets that are not there
//!
//! cache/             stored responses on disk; mod.rs tells how a request is answered from them
//!   store.rs         a worker's view: find             open_entries.rs   entries at hand
//!   recorder.rs      a passing response recorded       freshen.rs    what a 304 confirms
//!   front.rs         what lies before its body         parts.rs      parts, and how they are joined
//!   files.rs         the directory                     entry.rs      what is in a file
//!   follow.rs        an answer that another request is fetching, as it is written
//!   serve.rs         the head of an answer             sweeper.rs    scan, evict, purge: in control
//!   shared_cells.rs  what all processes share          index.rs      which entries, when used
//!   collapse.rs      who fetches what, who waits       directory.rs  what every process does
//!   in_memory.rs     what of an entry is in memory     cold.rs       what the disk is to read first
//!   pace.rs          what is left out where the disk is slow
//!   keys.rs          UrlKey, EntryKey
//!   process_slots.rs   of the processes of several generations    layout.rs   how much room they have
//!   checksum.rs      XXH64                             testing.rs    what the tests share
//!
//! sys/               the kernel; mod.rs chooses linux/, or sim/ in unit tests
//!   error.rs         IoError: what callers tell apart, each with its remedy
//!   binding.rs       Binding: what a listener is bound to
//!   keepalive.rs     KeepAlive: when the kernel looks for a silent peer
//!   state_folder.rs  where the service keeps what outlives it
//!   linux/           socket listener unix poller waker pipe file disk memory log process
//!                    terminal signals notify seccomp landlock clock random channel spawn
//!                    cpu_queue: how long others had the processor
//!                    place: paths through folders of others
//!                    process/: children, title, user
//!                    log/limit.rs: what is left out of the messages to the operator
//!                    resolver: names, by the C library
//!   sim/             the same names; world.rs, kernel.rs, stream.rs, dice.rs: all from one seed
//!   conformance_tests.rs   the same scripts on both kernels must give the same notes
//!
//! policy/            decisions: facts in, a word out
//!   route.rs         which pool a request is for: host, path, fields
//!   admit.rs         what is too large, or expects too much
//!   balance.rs       which backend is next: weights, least connections, backups, caps
//!   concurrency.rs   the cap that finds itself, by what throughput gains from more
//!   queueing.rs      who waits for a place there, in which order, and who would wait in vain
//!   slow_start.rs    the growing share of a backend that came up
//!   order.rs         which request may start before its turn
//!   retry.rs         Failure to Verdict; the budget of retries
//!   health.rs        checks, marks and the operator's wish to up or down
//!   passive.rs       failures in a row to a mark, then to a trial; why, in words
//!   reuse.rs         which idle connection may be taken, and how long one is kept
//!   sharing.rs       how many requests may stand behind each other on one connection
//!   naming.rs        which addresses of a name are backends after a look-up: who comes, goes, stays
//!   multiplexing.rs  how many of several clients may, and for whom they do not wait
//!   sticky.rs        the cookie that names a backend  siphash.rs   what it is made by
//!   explain/         how one request would be handled, asked of all the others; pool.rs: its pool and
//!                    backend; cache.rs: what is stored; text.rs: all of it as text
//!   identity.rs      whether the response is this request's: the echoed X-Request-ID
//!   cache_key.rs     the URL by which answers are stored; references to others
//!   caching.rs       what the cache does with a request, for proxy/ and explain/
//!   disk_pace.rs     how long a process may wait for a slow disk
//!   storable.rs      may it be stored, and which of its fields         RFC 9111 §3
//!   freshness.rs     age, lifetime, what a stale answer is good for    RFC 9111 §4.2, RFC 5861
//!   vary.rs          which requests an answer fits                     RFC 9111 §4.1
//!   conditional.rs   304; validation, and what a 304 updates           RFC 9110 §13, RFC 9111 §4.3
//!   ranges.rs        parts of a stored whole                           RFC 9110 §14
//!   segments.rs      what there is of a body of which not all is there RFC 9111 §3.3
//!   invalidation.rs  what an unsafe method makes void                  RFC 9111 §4.4
//!   trouble.rs       whether requests fail: when it begins, when it ends
//!   registry.rs      what a snapshot of the registry is believed
//!   reason.rs        why there was no answer of a backend: for the log and the metrics
//!
//! http/              bytes to meaning and back
//!   scan.rs          where a head ends; classes of bytes
//!   request.rs       RequestHead, Refusal              response.rs   ResponseHead
//!   fields.rs        field lines, lists, hop-by-hop    method.rs     safe, idempotent
//!   message.rs       version, framing, what stands once    framing.rs    Content-Length, Transfer-Encoding
//!   body.rs          how a body is framed              chunked.rs    where chunks end
//!   rewrite.rs       heads as they go on               reply.rs      answers of our own
//!   error_page.rs    their bodies, where an operator wrote them
//!   forwarded.rs     what tells a backend of the client: X-Forwarded-*, Forwarded, X-Real-IP
//!   upgrade.rs       what a client offers to switch to
//!   line_ends.rs     CRs put in where a pool tolerates lines without
//!   cookie.rs        found, taken out, set             proxy_header.rs   PROXY, versions 1 and 2
//!   auth.rs          schemes that log in a connection
//!   following.rs     what follows a response on its connection
//!   date.rs          dates written and read            cache_status.rs   RFC 9211
//!   cache_fields.rs  what heads say to caches          structured.rs     dictionaries, RFC 9651
//!   cache_control.rs   directives, CDN-Cache-Control   testing.rs        what the tests share
//!   names.rs         what field names mean, by table
//!   naive.rs         heads read and written byte by byte, for tests
//!
//! dns/               answers of name servers: mod.rs, the servers of a service
//!
//! config/            servers.conf to a Config that is valid by construction
//!   model.rs         Config and what it is made of, with its defaults    error.rs   ConfigError
//!   json.rs          text to a tree with the line of each value; what is nearly JSON is understood, and told
//!   scalars.rs       texts, numbers and words of it       other_formats.rs   files of other programs
//!   lines.rs         where things stand in the file       file.rs        the tree, and the tree as JSON
//!   keys.rs          the keys there are                   warnings.rs    what is valid and hardly meant
//!   dictionary.rs    words of nginx, haproxy and others, and what to write for them
//!   words_by_place.rs   those that mean something else in some objects
//!   read.rs          values by kind and range; mistakes collected with their places
//!   check.rs         tree to Config, by way of process.rs, listen.rs, pool.rs and route.rs: a key each
//!   registry.rs      the key registry
//!   endpoint.rs      Endpoint: an address of TCP or a Unix socket. It stands so low because all the
//!                    layers above name a server by it; sys connects
//!   address.rs  units.rs  text.rs   addresses; "5s", "64KiB"; quoting and guessing
//!   named.rs         backends by name              tolerance.rs     what a pool puts up with
//!   request_limit.rs   requests at once: a number, or "auto"
//!   statuses.rs      statuses and classes of them, as they are listed
//!   dump.rs          a Config as JSON, for -T
//!
//! mem/               containers that are made once and then never allocate
//!   ring.rs          bytes in a circle                 buffer.rs     bytes in a line: a head
//!   slab.rs          slots with generational ids       free_list.rs  pieces of an arena
//!   slab/reusing.rs  slots whose values stay, for what is large
//!   record_ring.rs   the last records of several processes
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
//! 2. `proxy/downstream/read_requests.rs`: `net/conn.rs` fills the input ring, `http/scan.rs` finds the end of
//!    a head, `http/request.rs` validates it, `policy/route.rs` finds its pool, `http/rewrite.rs`
//!    writes it as it will go on into the buffer of a new exchange, at the end of the client's queue.
//!    It goes on while requests may be pipelined. A head that is refused becomes an exchange too, already Answered.
//! 3. `proxy/dispatch.rs`: it may start (`policy/order.rs`), no stored answer fits
//!    (`proxy/caching/lookup.rs`, else on with 6), a backend is picked (`policy/balance.rs`)
//!    or the exchange waits in the pool's line. It joins the connection of a neighbour, takes an
//!    idle one (`policy/reuse.rs`), or opens one.
//! 4. `proxy/send.rs`: the head goes into the backend's output ring, the body follows by
//!    `proxy/relay.rs`. All rings are flushed once, at the end of a round of `drive`.
//! 5. An event of the backend's connection wakes the client. `proxy/receive.rs`: the head is whole
//!    and valid (`http/response.rs`), is this request's (`policy/identity.rs`), its body is framed
//!    (`http/body.rs`). It stays where it is, in the backend's input ring: Answered.
//! 6. `proxy/respond.rs`: once the exchange is first and there is room, the head is rewritten into
//!    the client's output ring. This is the commit.
//! 7. `proxy/relay.rs` moves the body from ring to ring, or by splice past both, as far as the
//!    client takes it.
//! 8. `proxy/teardown.rs`: the backend connection is kept or closed, the line for the access log is
//!    written, the slot is free, the next exchange is first. A client with nothing left to do gives
//!    its rings back and costs its slot alone.
//!
//! **When it fails**, at any step: `proxy/fail.rs` closes the connection, tells `policy/health.rs`,
//! and asks `policy/retry.rs`. *Retry*: Waiting again, from 3, with the same head. *Answer*: Answered
//! with a 502, 503 or 504 of our own, from 6. *Truncate*: the client has seen a part, so its
//! connection is closed short.

// The modules are no interface: what is public in them is what the program, or a test of it, uses.
#![allow(clippy::len_without_is_empty)]

mod program;
pub use program::run;

// Public for tests, benches and fuzz targets alone: in the program itself the compiler then names
// whatever is not used.
#[cfg(not(feature = "internals"))]
mod cli;
#[cfg(feature = "internals")]
pub mod cli;

#[cfg(not(feature = "internals"))]
mod master;
#[cfg(feature = "internals")]
pub mod master;

#[cfg(not(feature = "internals"))]
mod ctl;
#[cfg(feature = "internals")]
pub mod ctl;

#[cfg(not(feature = "internals"))]
mod control;
#[cfg(feature = "internals")]
pub mod control;

#[cfg(not(feature = "internals"))]
mod names;
#[cfg(feature = "internals")]
pub mod names;

#[cfg(not(feature = "internals"))]
mod registry;
#[cfg(feature = "internals")]
pub mod registry;

#[cfg(not(feature = "internals"))]
mod worker;
#[cfg(feature = "internals")]
pub mod worker;

#[cfg(not(feature = "internals"))]
mod proxy;
#[cfg(feature = "internals")]
pub mod proxy;

#[cfg(not(feature = "internals"))]
mod cache;
#[cfg(feature = "internals")]
pub mod cache;

#[cfg(not(feature = "internals"))]
mod shared;
#[cfg(feature = "internals")]
pub mod shared;

#[cfg(not(feature = "internals"))]
mod net;
#[cfg(feature = "internals")]
pub mod net;

#[cfg(not(feature = "internals"))]
mod sys;
#[cfg(feature = "internals")]
pub mod sys;

#[cfg(not(feature = "internals"))]
mod policy;
#[cfg(feature = "internals")]
pub mod policy;

#[cfg(not(feature = "internals"))]
mod dns;
#[cfg(feature = "internals")]
pub mod dns;

#[cfg(not(feature = "internals"))]
mod http;
#[cfg(feature = "internals")]
pub mod http;

#[cfg(not(feature = "internals"))]
mod config;
#[cfg(feature = "internals")]
pub mod config;

#[cfg(not(feature = "internals"))]
mod mem;
#[cfg(feature = "internals")]
pub mod mem;
