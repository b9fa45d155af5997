//! What relays borrow: rings for connections, and pipes for splicing.

use crate::mem::free_list::FreeList;
use crate::sys::log::{self, Level};
use crate::sys::{IoError, Pipe, PipeQuota, Socket};

use super::caching::Caching;

/// Bytes that a wide pipe holds: the most that a user without privileges may have in one pipe.
const WIDE_BYTES: usize = 1024 * 1024;
/// Wide pipes of a process, at most.
const WIDE: usize = 8;
/// Bytes that each further pipe holds: with smaller ones, a body takes more system calls.
const NARROW_BYTES: usize = 256 * 1024;
/// Bytes of a pipe where the process's share has no room for a narrow one. Below that, rings do better.
const SMALL_BYTES: usize = 64 * 1024;
/// Pipes of a process, at most: 22 MiB.
const PIPES: usize = 64;

/// What a relay needs of its process.
pub struct RelayBuffers {
    /// Rings for connections.
    pub rings: FreeList,
    /// Bytes in a ring.
    pub ring_size: usize,
    /// Pipes for splicing.
    pub pipes: Pipes,
    /// Splicing pays from this many bytes on.
    pub splice_min: u64,
    /// Bytes that went by splice.
    pub spliced: u64,
    /// Bodies that would have gone by splice, and were copied for want of a pipe, or as the kernel
    /// refuses.
    pub splice_fallbacks: u64,
    /// The worker's side of the cache, if there is one: it records bodies that pass.
    pub(super) caching: Option<Caching>,
}

/// The pipes of a process. A user without privileges may have 64 MiB in pipes over all programs, or what the
/// administrator has set: so a process opens pipes within its share of that only, and asks the kernel how
/// large each pipe really is, as other programs may have taken their part.
///
/// Wide pipes are handed out first: as long as few relays need pipes, all of these are wide.
pub struct Pipes {
    wide: Vec<Pipe>,
    narrow: Vec<Pipe>,
    wide_open: usize,
    open: usize,
    /// Bytes in all pipes that are open.
    held: usize,
    share: Share,
    access: Access,
    /// Whether the operator was told that no pipe is to be had.
    has_complained: bool,
    /// A view of the framing of bytes that go by splice.
    pub(super) sight: Sight,
}

/// What one process may have in pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    bytes: usize,
    /// Wide pipes among them.
    wide: usize,
}

impl Share {
    /// The share of one of `workers` processes of this user: together they have three quarters of the quota.
    /// Processes of the generation before may still have pipes for a while, and so may other programs.
    fn new(quota: PipeQuota, workers: usize) -> Share {
        let bytes = quota.all / 4 * 3 / workers;
        let wide = if quota.one < WIDE_BYTES { 0 } else { (bytes / 2 / WIDE_BYTES).min(WIDE) };
        Share { bytes, wide }
    }
}

/// Whether more pipes may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Pipes are opened within this process's share.
    Open,
    /// The kernel refused a pipe. The next one is asked for later, as each refusal costs system calls.
    Paused,
    /// No pipes are opened, and those in use are closed when they come back.
    Closed,
}

/// What a relay sees of bytes that stay in the kernel.
pub(super) struct Sight {
    /// Room for as many bytes as a wide pipe holds.
    pub bytes: Vec<u8>,
    /// Whether the kernel lets us look at framing behind data that we do not look at.
    pub is_far: bool,
}

impl Pipes {
    /// No pipes yet. Each is opened when it is first needed, within the share of one of `workers` processes;
    /// none is opened if the kernel refuses to splice, which is tried here.
    pub fn new(workers: usize) -> Pipes {
        let (wide, narrow) = (Vec::with_capacity(WIDE), Vec::with_capacity(PIPES));
        let sight = Sight { bytes: vec![0; WIDE_BYTES], is_far: Socket::supports_peek_offset() };
        let share = Share::new(PipeQuota::read(), workers);
        let access = if Pipe::try_out().is_ok() { Access::Open } else { Access::Closed };
        let [wide_open, open, held] = [0; 3];
        let has_complained = access == Access::Closed; // The master was refused too.
        Pipes { wide, narrow, wide_open, open, held, share, access, has_complained, sight }
    }

    /// An empty pipe, if there is one to be had: without one, rings do the work.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.wide.pop().or_else(|| self.narrow.pop()) {
            return Some(pipe);
        }
        let size = self.next_size()?;
        match Pipe::open(size) {
            Ok(pipe) => {
                self.open += 1;
                self.held += pipe.capacity();
                self.wide_open += usize::from(is_wide(&pipe));
                if size == WIDE_BYTES && !is_wide(&pipe) {
                    self.share.wide = self.wide_open; // No more of them are to be had.
                }
                Some(pipe)
            }
            Err(error) => {
                self.access = Access::Paused;
                self.complain(error);
                None
            }
        }
    }

    /// The size of the next pipe that may be opened.
    fn next_size(&self) -> Option<usize> {
        if self.access != Access::Open || self.open >= PIPES {
            return None;
        }
        let left = self.share.bytes.saturating_sub(self.held);
        match left {
            WIDE_BYTES.. if self.wide_open < self.share.wide => Some(WIDE_BYTES),
            NARROW_BYTES.. => Some(NARROW_BYTES),
            SMALL_BYTES.. => Some(SMALL_BYTES),
            _ => None,
        }
    }

    /// Whether a pipe may be had.
    pub(super) fn has_spare(&self) -> bool {
        self.spare() > 0 || self.next_size().is_some()
    }

    /// Puts a pipe back; one that still holds bytes is closed.
    pub(super) fn put(&mut self, pipe: Pipe) {
        match (pipe.is_empty() && self.access != Access::Closed, is_wide(&pipe)) {
            (true, true) => self.wide.push(pipe),
            (true, false) => self.narrow.push(pipe),
            (false, _) => self.close(&pipe),
        }
    }

    fn close(&mut self, pipe: &Pipe) {
        self.open -= 1;
        self.held -= pipe.capacity();
        self.wide_open -= usize::from(is_wide(pipe));
    }

    /// Lets pipes be opened again, some time after the kernel refused one.
    pub fn resume(&mut self) {
        if self.access == Access::Paused {
            self.access = Access::Open;
        }
    }

    /// Closes the pipes that are not in use, and opens no others: the process is about to end, and leaves its
    /// share to those that come after it.
    pub fn retire(&mut self) {
        self.access = Access::Closed;
        let spare: Vec<Pipe> = self.wide.drain(..).chain(self.narrow.drain(..)).collect();
        spare.iter().for_each(|pipe| self.close(pipe));
    }

    /// Tells the operator, once, why bodies are copied.
    pub(super) fn complain(&mut self, error: IoError) {
        if self.has_complained {
            return;
        }
        self.has_complained = true;
        match error {
            IoError::Exhausted => log::write(
                Level::Warning,
                format_args!(
                    "no pipe of {} KiB is to be had, so bodies are copied where they could be \
                     spliced (raise fs.pipe-user-pages-soft: other programs of this user have pipes \
                     too; or LimitNOFILE)",
                    SMALL_BYTES / 1024
                ),
            ),
            _ => log_refusal(),
        }
    }

    /// Pipes that are taken now.
    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.open - self.spare()
    }

    fn spare(&self) -> usize {
        self.wide.len() + self.narrow.len()
    }
}

fn is_wide(pipe: &Pipe) -> bool {
    pipe.capacity() > NARROW_BYTES
}

fn log_refusal() {
    log::write(
        Level::Warning,
        format_args!(
            "this kernel, or a seccomp profile, refuses splice: bodies are copied, which costs more \
             CPU (allow pipe2, fcntl and splice)"
        ),
    );
}

/// Tells the operator, before there are any workers, if they will have to copy bodies: splicing is
/// refused, or there is no room for a pipe in each of them.
pub fn doubt_splicing(workers: usize) {
    let quota = PipeQuota::read();
    match Pipe::try_out() {
        Err(_) => log_refusal(),
        Ok(()) if Share::new(quota, workers).bytes < SMALL_BYTES => log::write(
            Level::Warning,
            format_args!(
                "fs.pipe-user-pages-soft allows {} KiB of pipes, too little for {workers} workers, so \
                 bodies are copied, which costs more CPU (raise it, or lower workers)",
                quota.all / 1024
            ),
        ),
        Ok(()) => (),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        NARROW_BYTES, PIPES, Pipe, PipeQuota, Pipes, SMALL_BYTES, Share, WIDE, WIDE_BYTES,
    };
    use crate::sys::world::{self, Faults};

    fn all_of(pipes: &mut Pipes) -> Vec<Pipe> {
        std::iter::from_fn(|| pipes.take()).collect()
    }

    fn capacities(taken: &[Pipe]) -> Vec<usize> {
        taken.iter().map(Pipe::capacity).collect()
    }

    #[test]
    fn a_few_pipes_are_wide_and_lent_first() {
        world::reset(1, Faults::default());
        let mut pipes = Pipes::new(1);
        let taken = all_of(&mut pipes);
        let expected = [[WIDE_BYTES].repeat(WIDE), [NARROW_BYTES].repeat(PIPES - WIDE)].concat();
        assert_eq!(capacities(&taken), expected);
        assert!(!pipes.has_spare() && pipes.taken() == PIPES);
        taken.into_iter().for_each(|pipe| pipes.put(pipe));
        assert_eq!(pipes.take().expect("all are back").capacity(), WIDE_BYTES);
        assert_eq!(pipes.taken(), 1);
    }

    #[test]
    fn where_no_pipe_may_be_wide_there_are_as_many() {
        world::reset(1, Faults { pipe_capacity: 4096, ..Faults::default() });
        assert_eq!(all_of(&mut Pipes::new(1)).len(), PIPES);
    }

    #[test]
    fn all_workers_together_stay_within_the_quota() {
        for all in [0, 64 << 10, 1 << 20, 10 << 20, 64 << 20, usize::MAX] {
            for workers in [1, 2, 3, 16, 256] {
                world::reset(1, Faults { pipe_quota: all, ..Faults::default() });
                let mut pipes = Pipes::new(workers);
                let held: usize = capacities(&all_of(&mut pipes)).iter().sum();
                assert!(held.saturating_mul(workers) <= all, "{workers} workers, {all} bytes");
                // None is left unused where there is room for one.
                let share = Share::new(PipeQuota { all, one: 1 << 20 }, workers).bytes;
                assert!(share - held < SMALL_BYTES || pipes.taken() == PIPES);
            }
        }
    }

    #[test]
    fn a_pipe_that_is_not_to_be_had_is_asked_for_again_after_a_while() {
        world::reset(1, Faults { pipes: 2, ..Faults::default() });
        let mut pipes = Pipes::new(1);
        let taken = all_of(&mut pipes);
        assert_eq!((taken.len(), pipes.has_spare()), (2, false));
        world::change_faults(|faults| faults.pipes = 3);
        assert!(pipes.take().is_none());
        pipes.resume();
        assert!(pipes.has_spare());
        assert_eq!(world::messages().len(), 1);
    }

    #[test]
    fn who_retires_gives_all_pipes_up() {
        world::reset(1, Faults::default());
        let mut pipes = Pipes::new(1);
        let (first, second) = (pipes.take().unwrap(), pipes.take().unwrap());
        pipes.put(first);
        pipes.retire();
        assert_eq!((world::open_pipes(), pipes.has_spare()), (1, false));
        pipes.put(second);
        assert_eq!((world::open_pipes(), pipes.taken()), (0, 0));
    }

    #[test]
    fn where_splicing_is_refused_no_pipe_is_opened() {
        world::reset(1, Faults { refuses_drain: 1, ..Faults::default() });
        assert!(!Pipes::new(1).has_spare());
        super::doubt_splicing(1);
        assert!(world::messages()[0].1.contains("refuses splice"), "{:?}", world::messages());
    }
}
