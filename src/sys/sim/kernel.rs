//! What the simulated kernel knows, and how time and the network move on in it.
use super::dice::Dice;
use super::disk::Disk;
use super::poller::Watches;
use super::stream::{Phase, StreamEnd};
use super::waker::Bell;
use super::world::{Calls, Faults};
use super::{Signal, log::Level};
use crate::config::{Endpoint, UnixPath};
use crate::mem::time::Micros;
use crate::sys::IoError;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The name of anything in the kernel. None is used twice, not even in another world of the
/// thread: what outlives its world finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(u64);

/// Who has something: the program under test, or the test that plays the rest of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Program,
    Test,
}

/// How an address answers those who connect to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    Accepting,
    Refusing,
    /// It does not answer at all. Of a Unix socket: nobody more may wait there.
    Silent,
    /// Its file may not be written to.
    Denying,
}

/// An address where connections are taken: a listener of the program, or a server of the test.
pub struct Door {
    pub address: SocketAddr,
    pub owner: Owner,
    pub manners: Manners,
    /// Others may be at the address.
    shares: bool,
    /// Those that do are asked in the order of their names, and the rest of them not.
    spread: usize,
    /// How many connections may wait, and one more. Of Unix sockets alone: those of TCP are not
    /// counted.
    pub backlog: usize,
    /// How many descriptors it has.
    pub holders: usize,
    /// The ends here of connections that were not accepted yet.
    pub queue: VecDeque<Id>,
}

/// Where nobody is (RFC 6666): the addresses of Unix sockets are taken from there.
const UNIX: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);

/// The address of a Unix socket that has no path, as those have that connect.
pub const NAMELESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(UNIX), 0);

/// The address stands for the path of a Unix socket.
pub fn is_unix(address: SocketAddr) -> bool {
    address.ip() == UNIX
}

/// Everything. One per thread.
pub struct Kernel {
    pub epoch: u64,
    pub now: Micros,
    /// How long of that the program has waited for a processor.
    pub queued: Micros,
    pub dice: Dice,
    pub faults: Faults,
    pub calls: Calls,
    pub descriptors: usize,
    pub pipes: usize,
    pub ends: BTreeMap<Id, StreamEnd>,
    pub doors: BTreeMap<Id, Door>,
    pub pollers: BTreeMap<Id, Watches>,
    pub wakers: BTreeMap<Id, Bell>,
    pub signals: Vec<Signal>,
    pub messages: Vec<(Level, String)>,
    pub logs: BTreeMap<PathBuf, Vec<u8>>,
    pub disk: Disk,
    /// The names of Unix sockets, and which of them have a file.
    paths: BTreeMap<PathBuf, SocketAddr>,
    files: BTreeSet<SocketAddr>,
    named: u64,
}

thread_local! {
    static KERNEL: RefCell<Kernel> = RefCell::new(Kernel::new(1, 0, 0, Faults::default()));
}

/// Makes a system call in the kernel of this thread.
pub fn with<T>(call: impl FnOnce(&mut Kernel) -> T) -> T {
    KERNEL.with(|kernel| call(&mut kernel.borrow_mut()))
}

/// The same from a destructor: one may run when the thread ends, or while a failed test unwinds
/// out of a call, and then does nothing.
pub fn on_drop(call: impl FnOnce(&mut Kernel)) {
    let _ = KERNEL.try_with(|kernel| match kernel.try_borrow_mut() {
        Ok(mut kernel) => call(&mut kernel),
        Err(_) => assert!(std::thread::panicking(), "a system call within a system call"),
    });
}

/// Begins a new world, whose course follows from `seed`.
pub fn reset(seed: u64, faults: Faults) {
    with(|kernel| *kernel = Kernel::new(seed, kernel.epoch + 1, kernel.named, faults));
}

impl Kernel {
    fn new(seed: u64, epoch: u64, named: u64, faults: Faults) -> Kernel {
        Kernel {
            epoch,
            // A real clock does not start at 0 either.
            now: Micros(1_000_000_000),
            queued: Micros(0),
            dice: Dice::new(seed),
            faults,
            calls: Calls::default(),
            descriptors: 0,
            pipes: 0,
            ends: BTreeMap::new(),
            doors: BTreeMap::new(),
            pollers: BTreeMap::new(),
            wakers: BTreeMap::new(),
            signals: Vec::new(),
            messages: Vec::new(),
            logs: BTreeMap::new(),
            disk: Disk::default(),
            paths: BTreeMap::new(),
            files: BTreeSet::new(),
            named,
        }
    }

    /// A new name.
    pub fn name(&mut self) -> Id {
        self.named += 1;
        Id(self.named)
    }

    /// A port that nobody has, as they are given to those who connect.
    pub fn port(&mut self) -> u16 {
        self.named += 1;
        20_000 + (self.named % 40_000) as u16
    }

    /// Opens a door. `InUse` if there is one at the address, and not both of them share.
    pub fn open_door(
        &mut self,
        address: SocketAddr,
        owner: Owner,
        (shares, backlog): (bool, usize),
    ) -> Result<Id, IoError> {
        if self.doors_at(address).any(|(_, door)| !(shares && door.shares)) {
            return Err(IoError::InUse);
        }
        let id = self.name();
        self.files.extend(is_unix(address).then_some(address));
        let (manners, queue) = (Manners::Accepting, VecDeque::new());
        // Who bound alone shares later on.
        let (shares, spread) = (owner == Owner::Program && !is_unix(address), usize::MAX);
        let door = Door { address, owner, manners, shares, spread, backlog, holders: 1, queue };
        self.doors.insert(id, door);
        Ok(id)
    }

    /// A door, by a name that is held by someone and so cannot be stale.
    pub fn door(&mut self, id: Id) -> &mut Door {
        self.doors.get_mut(&id).expect("no listener of this world")
    }

    /// Lets new connections come only to the first `count` doors at an address.
    pub fn spread(&mut self, address: SocketAddr, count: usize) {
        for door in self.doors.values_mut().filter(|door| door.address == address) {
            door.spread = count;
        }
    }

    /// Gives a descriptor of a door back. With the last, it is closed.
    pub fn leave_door(&mut self, id: Id) {
        let Some(door) = self.doors.get_mut(&id) else { return };
        door.holders -= 1;
        if door.holders == 0 {
            self.close_door(id);
        }
    }

    /// Closes a door. Those who wait there are reset.
    pub fn close_door(&mut self, id: Id) {
        let held_back = |end: &StreamEnd| end.deferred.is_some_and(|(door, _)| door == id);
        let held_back: Vec<Id> =
            self.ends.iter().filter(|(_, end)| held_back(end)).map(|(id, _)| *id).collect();
        if let Some(door) = self.doors.remove(&id) {
            self.forget(id);
            for waiting in door.queue.into_iter().chain(held_back) {
                self.close(waiting, true);
            }
        }
    }

    fn doors_at(&self, address: SocketAddr) -> impl Iterator<Item = (Id, &Door)> {
        let meant = move |door: &Door| {
            door.address == address
                || door.address.ip().is_unspecified() && door.address.port() == address.port()
        };
        self.doors.iter().filter(move |(_, door)| meant(door)).map(|(id, door)| (*id, door))
    }

    /// The door that whoever connects to `address` comes to: one of those that share it.
    pub fn door_at(&mut self, address: SocketAddr) -> Option<Id> {
        let (first, door) = self.doors_at(address).next()?;
        let count = self.doors_at(address).count().min(door.spread);
        if count < 2 {
            return Some(first);
        }
        let chosen = self.dice.below(count);
        self.doors_at(address).nth(chosen).map(|(id, _)| id)
    }

    /// An endpoint among the addresses of the simulation.
    pub fn address_of(&mut self, endpoint: Endpoint) -> SocketAddr {
        match endpoint {
            Endpoint::Tcp(address) => address,
            Endpoint::Unix(path) => self.address_of_path(Path::new(path.as_str())),
        }
    }

    /// The name of a path among the addresses of the simulation.
    pub fn address_of_path(&mut self, path: &Path) -> SocketAddr {
        if let Some(address) = self.paths.get(path) {
            return *address;
        }
        self.named += 1;
        let address = SocketAddr::from((UNIX, self.named as u16));
        self.paths.insert(path.to_owned(), address);
        address
    }

    /// Somebody removes the file of a Unix socket, who may listen there all the same.
    pub fn remove_file(&mut self, path: &Path) {
        let address = self.address_of_path(path);
        self.files.remove(&address);
    }

    /// The door that whoever connects to `path` comes to, if there is one and room before it.
    pub fn unix_door(&mut self, path: &UnixPath) -> Result<Id, IoError> {
        let address = self.address_of((*path).into());
        if path.abstract_name().is_none() && !self.files.contains(&address) {
            return Err(IoError::NotFound);
        }
        let id = self.door_at(address).ok_or(IoError::Refused)?;
        let door = &self.doors[&id];
        match door.manners {
            Manners::Refusing => Err(IoError::Refused),
            Manners::Denying => Err(IoError::Denied),
            Manners::Silent => Err(IoError::WouldBlock),
            Manners::Accepting if door.queue.len() > door.backlog => Err(IoError::WouldBlock),
            Manners::Accepting => Ok(id),
        }
    }

    /// Lets what is under way come further: connections, bytes, room. Each does so by chance if
    /// there are such faults, and surely if `hurried`. Says whether anything moved.
    pub fn progress(&mut self, hurried: bool) -> bool {
        let ids: Vec<Id> = self.ends.keys().copied().collect();
        let mut moved = false;
        for id in ids {
            // Moving one may have removed another.
            let Some(end) = self.ends.get(&id) else { continue };
            let (phase, on_the_way, squeezed) =
                (end.phase, end.is_something_coming(), end.squeezed);
            let lucky = hurried || !self.faults.slow_connects || self.dice.one_in(2);
            if matches!(phase, Phase::Connecting { .. }) && lucky {
                moved |= self.try_connecting(id);
            }
            if on_the_way {
                self.arrive(id);
                moved = true;
            }
            if squeezed && (hurried || self.dice.one_in(2)) {
                self.end(id).squeezed = false;
                self.tell_of_room(id);
                moved = true;
            }
        }
        moved
    }

    /// Lets time pass, up to `until`, or to the moment when something happens by itself. Says
    /// whether anything did.
    pub fn pass_time(&mut self, until: Micros) -> bool {
        let next = self.ends.iter().filter_map(|(id, end)| Some((end.due()?, *id))).min();
        match next {
            Some((moment, id)) if moment <= until => {
                self.now = self.now.max(moment);
                self.present(id);
                self.try_connecting(id);
                true
            }
            Some(_) | None => {
                self.now = until;
                false
            }
        }
    }
}
