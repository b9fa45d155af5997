//! Stored responses: on disk, for all workers.
//!
//! What is decided lies in `policy/` (may it be stored, is it fresh, whom does it fit, how does it
//! answer); here is what it is done with. Nothing here waits for anybody but the disk, and no failure
//! here is more than a request that goes to a backend.
//!
//! ```text
//! files           the directory: one file an entry, without a name until it is whole
//! entry           what is in a file
//! serve           the head of an answer from one
//! store           a worker's view: find
//! open_entries    entries at hand, opened and verified
//! pace            what becomes of it where the disk is slow
//! cold            those that are not in memory
//! in_memory       what of them is, and what the disk was asked for
//! recorder        a passing response becomes an entry
//! front           what lies before its body
//! follow          one that another request is fetching, as it is written
//! freshen         a 304 makes one fresh again
//! parts           parts become entries, and are joined
//! shared_cells    shared by all: the budget, changes
//! index           which entries there are, when used
//! keys            what URLs and entries are named by
//! process_slots   whose is which
//! collapse        who fetches what, who waits
//! directory       what every process does
//! sweeper         what control does: scan, evict, purge
//! ```
//!
//! # How a request is answered
//!
//! **Looking.** A GET or HEAD without a body, once its head was rewritten: [`RequestCacheFields`] reads its fields
//! in one pass, and [`Store::find`] looks for an entry: at hand, else on disk. That costs two hashes and
//! no system call at hand (one `fstat` for a large entry, so that a file that was changed is noticed),
//! nor for what is not stored, once the directory was looked through; else `openat`, `fstat`, `pread`,
//! `close`, and once more where answers vary. What is larger than
//! [`open_entries::PIECE`] is verified by [`Store::verify`], some bytes a turn, before it answers for the
//! first time. What is not in memory is *cold*: the disk is asked for it, and the exchange looks again soon. Then [`Freshness::judge`] and [`conditional::reply`] say what becomes of it.
//!
//! **Answering.** [`serve::write_head`] writes the head to the client's output ring: one copy, and
//! `Age`, `Cache-Status`, `X-Request-ID`. A body in memory follows into the ring: `recv` and one
//! `send` are all system calls. One in a file follows by [`File::send`], a window a turn. HEAD ends
//! with the head. The entry stays pinned from `find` to [`Store::release`], whatever is stored in its
//! place meanwhile.
//!
//! **Fetching.** Where nothing is found, or it must be validated first, and
//! [`storable::is_for_all`] the request, [`FetchTable::begin`] says whose turn it is. *Lead*: it goes to
//! a backend. *Follow*: its client is woken by the worker's waker; then, or after a limit, it looks
//! again. What is shown of a fetch by then ([`Recorder::show`]) answers it as it comes: [`Store::follow`]. *Alone*: it goes, and nobody waits for it; it may be recorded all the same. Only a first
//! exchange may wait or fetch: it waits for one that waits for nobody. Who fetches calls
//! [`FetchTable::end`] as early as it can: *Unshareable* at the head of a response that is not recorded,
//! *Stored* after `finish`, *Failed* or *Abandoned* when that is so; and wakes the workers that are
//! returned.
//!
//! **Recording.** At the final head of a response, [`Store::judge`] and [`Store::record`] give a
//! [`Recorder`], or a reason. The relay hands it each piece of the body proper before it passes it on:
//! so what is recorded goes by the rings, not by splice. It is a copy into memory up to
//! [`open_entries::PIECE`], beyond that a `pwrite` for each piece. When the framing has proved the end:
//! [`Recorder::finish`] (`open`, `pwrite`, `linkat`, `close`). In any other case, or when
//! [`Recorder::take`] fails: [`Recorder::abandon`]; the response goes on unrecorded. [`LookupToken`], what
//! `find` saw before the request was sent, keeps what was made void since then from being stored.
//!
//! **Validating.** [`conditional::write_validation`] writes the request into the backend's ring. A 304
//! that [`conditional::confirms`] the entry: [`Store::freshen`], and the entry answers, also the client's
//! own condition. One that does not: asked again without conditions. Another status: it is the
//! answer, and is recorded as any other. A failure, or a 5xx: [`Freshness::may_replace`].
//!
//! **Invalidating.** [`invalidation::invalidates`] at the final head of an answer:
//! [`CacheDirectory::invalidate`] for the request's URL, and those that `also_invalidated` gives.
//!
//! **Now and then.** [`Store::work`] once a turn, while [`Store::has_work`]. Control: [`sweeper::Sweeper`].
//! When a worker died: [`SharedCells::reap`] with its number, wake those it returns, then
//! [`sweeper::Sweeper::sweep_new`].
//!
//! [`RequestCacheFields`]: crate::http::cache_fields::RequestCacheFields
//! [`Freshness::judge`]: crate::policy::freshness::Freshness::judge
//! [`Freshness::may_replace`]: crate::policy::freshness::Freshness::may_replace
//! [`conditional::reply`]: crate::policy::conditional::reply
//! [`conditional::confirms`]: crate::policy::conditional::confirms
//! [`conditional::write_validation`]: crate::policy::conditional::write_validation
//! [`invalidation::invalidates`]: crate::policy::invalidation::invalidates
//! [`storable::is_for_all`]: crate::policy::storable::is_for_all
//! [`File::send`]: crate::sys::File::send
//! [`Store::find`]: store::Store::find
//! [`Store::verify`]: store::Store::verify
//! [`Store::release`]: store::Store::release
//! [`Store::judge`]: store::Store::judge
//! [`Store::record`]: store::Store::record
//! [`Store::freshen`]: store::Store::freshen
//! [`Store::work`]: store::Store::work
//! [`Store::has_work`]: store::Store::has_work
//! [`LookupToken`]: store::LookupToken
//! [`CacheDirectory::invalidate`]: directory::CacheDirectory::invalidate
//! [`Recorder`]: recorder::Recorder
//! [`Recorder::take`]: recorder::Recorder::take
//! [`Recorder::show`]: recorder::Recorder::show
//! [`Store::follow`]: store::Store::follow
//! [`Recorder::finish`]: recorder::Recorder::finish
//! [`Recorder::abandon`]: recorder::Recorder::abandon
//! [`FetchTable::begin`]: collapse::FetchTable::begin
//! [`FetchTable::end`]: collapse::FetchTable::end
//! [`SharedCells::reap`]: shared_cells::SharedCells::reap

pub mod checksum;
pub mod cold;
pub mod collapse;
pub mod directory;
pub mod entry;
pub mod files;
pub mod follow;
pub mod freshen;
pub mod front;
pub mod in_memory;
pub mod index;
pub mod keys;
pub mod layout;
pub mod open_entries;
pub mod pace;
pub mod parts;
pub mod process_slots;
pub mod recorder;
pub mod serve;
pub mod shared_cells;
pub mod store;
pub mod sweeper;
#[cfg(test)]
pub(crate) mod testing;
