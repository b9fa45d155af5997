//! A name server that says what a test wants, and programs that ask it: each in a mount namespace of its
//! own with a resolv.conf, a hosts file and a nsswitch.conf of its own.

use super::peers::Folder;
use super::{Backend, Program, Request, Value, backend::Answer, program};
use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    A,
    Aaaa,
    Srv,
}

/// What the server does with a question.
#[derive(Clone, Debug)]
pub enum Says {
    /// These addresses; where it is asked for the other family, none.
    Addresses(Vec<IpAddr>),
    /// Priority, weight, port, target.
    Services(Vec<(u16, u16, u16, String)>),
    /// There is no such name.
    NoName,
    /// There is such a name, without what is asked for.
    NoData,
    /// The server has failed.
    Failure,
    Refused,
    /// It does not answer.
    Silence,
    /// An answer that is none.
    Garbage,
    /// The same, after this time.
    Late(Duration, Box<Says>),
    /// The same by TCP; by UDP that it is too long.
    OverTcp(Box<Says>),
}

type Zone = HashMap<(String, Kind), Says>;

/// It answers for `NAME.test`. A name that nothing is said of does not exist.
pub struct NameServer {
    pub address: Ipv4Addr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<Vec<(String, Kind, bool)>>>,
    is_over: Arc<AtomicBool>,
}

/// An address of this test alone, at which port 53 is free.
pub fn own_host() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [low, high, ..] = std::process::id().to_le_bytes();
    Ipv4Addr::new(127, 64 + (high % 128), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

impl NameServer {
    pub fn start() -> NameServer {
        let is_root = rustix::process::geteuid().is_root();
        assert!(
            is_root,
            "resolv.conf knows no port but 53, and mounts are for root: run this as root"
        );
        let address = own_host();
        let server = NameServer {
            address,
            zone: Arc::default(),
            asked: Arc::default(),
            is_over: Arc::default(),
        };
        server.listen();
        server
    }

    fn listen(&self) {
        let udp = UdpSocket::bind((self.address, 53)).expect("port 53 of an address of its own");
        let tcp = TcpListener::bind((self.address, 53)).expect("port 53 of an address of its own");
        udp.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let (zone, asked, is_over) = self.parts();
        thread::spawn(move || {
            let mut room = [0; 4096];
            while !is_over.load(Ordering::Relaxed) {
                let Ok((len, peer)) = udp.recv_from(&mut room) else { continue };
                let question = room[..len].to_vec();
                let (zone, asked, udp) = (zone.clone(), asked.clone(), udp.try_clone().unwrap());
                thread::spawn(move || {
                    if let Some(answer) = answer(&question, &zone, &asked, false) {
                        let _ = udp.send_to(&answer, peer); // it may have stopped waiting
                    }
                });
            }
        });
        let (zone, asked, is_over) = self.parts();
        thread::spawn(move || {
            for stream in tcp.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (zone, asked) = (zone.clone(), asked.clone());
                thread::spawn(move || stream.map(|stream| talk(stream, &zone, &asked)));
            }
        });
    }

    #[allow(clippy::type_complexity)]
    fn parts(&self) -> (Arc<Mutex<Zone>>, Arc<Mutex<Vec<(String, Kind, bool)>>>, Arc<AtomicBool>) {
        (self.zone.clone(), self.asked.clone(), self.is_over.clone())
    }

    /// What it says of a name from now on, to whichever question.
    pub fn says(&self, name: &str, says: Says) {
        for kind in [Kind::A, Kind::Aaaa, Kind::Srv] {
            self.says_of(name, kind, says.clone());
        }
    }

    /// What it says from now on to one kind of question.
    pub fn says_of(&self, name: &str, kind: Kind, says: Says) {
        self.zone.lock().unwrap().insert((name.to_owned(), kind), says);
    }

    /// How often it was asked, by UDP or TCP.
    pub fn questions(&self, name: &str, kind: Kind) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(asked, of, _)| asked == name && *of == kind).count()
    }

    /// Whether it was asked by TCP.
    pub fn was_asked_over_tcp(&self) -> bool {
        self.asked.lock().unwrap().iter().any(|(_, _, is_tcp)| *is_tcp)
    }

    /// Returns when each kind of question of a program was asked again, after which whatever was said
    /// before is known there, or soon will be.
    pub fn wait_until_asked(&self, name: &str) {
        let before = self.questions(name, Kind::A);
        super::until("it is asked twice", || self.questions(name, Kind::A) >= before + 2);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((self.address, 53)); // so that it looks
    }
}

/// Questions that come by one connection.
fn talk(mut stream: TcpStream, zone: &Mutex<Zone>, asked: &Mutex<Vec<(String, Kind, bool)>>) {
    let mut len = [0; 2];
    while stream.read_exact(&mut len).is_ok() {
        let mut question = vec![0; u16::from_be_bytes(len).into()];
        if stream.read_exact(&mut question).is_err() {
            return;
        }
        let Some(answer) = answer(&question, zone, asked, true) else { return };
        let len = (answer.len() as u16).to_be_bytes();
        if stream.write_all(&[&len, &answer[..]].concat()).is_err() {
            return;
        }
    }
}

fn answer(
    question: &[u8],
    zone: &Mutex<Zone>,
    asked: &Mutex<Vec<(String, Kind, bool)>>,
    is_tcp: bool,
) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] > 0 {
        let len = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..=at + len]).to_lowercase());
        at += 1 + len;
    }
    let kind = match u16::from_be_bytes([question[at + 1], question[at + 2]]) {
        1 => Kind::A,
        28 => Kind::Aaaa,
        33 => Kind::Srv,
        _ => return None,
    };
    let question = &question[..at + 5];
    let name = labels.join(".");
    asked.lock().unwrap().push((name.clone(), kind, is_tcp));
    let says = zone.lock().unwrap().get(&(name, kind)).cloned().unwrap_or(Says::NoName);
    write(question, kind, &says, is_tcp)
}

fn write(question: &[u8], kind: Kind, says: &Says, is_tcp: bool) -> Option<Vec<u8>> {
    let message = |code: u8, is_cut: bool, records: &[Vec<u8>]| {
        let flags = 0x81 | u8::from(is_cut) << 1;
        let count = (records.len() as u16).to_be_bytes();
        let head = [&question[..2], &[flags, 0x80 | code, 0, 1], &count, &[0; 4]].concat();
        [&head, &question[12..], &records.concat()].concat()
    };
    let record = |kind: u16, data: &[u8]| {
        let head = [&[0xc0, 12][..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60]].concat();
        [&head, &(data.len() as u16).to_be_bytes()[..], data].concat()
    };
    Some(match says {
        Says::Addresses(addresses) => {
            let records: Vec<Vec<u8>> = addresses
                .iter()
                .filter_map(|address| match (address, kind) {
                    (IpAddr::V4(ip), Kind::A) => Some(record(1, &ip.octets())),
                    (IpAddr::V6(ip), Kind::Aaaa) => Some(record(28, &ip.octets())),
                    _ => None,
                })
                .collect();
            let is_long = !is_tcp && records.len() > 25;
            if is_long { message(0, true, &[]) } else { message(0, false, &records) }
        }
        Says::Services(services) if kind == Kind::Srv => {
            let of = |(priority, weight, port, target): &(u16, u16, u16, String)| {
                let mut data = [*priority, *weight, *port].map(u16::to_be_bytes).concat();
                for label in target.split('.').filter(|label| !label.is_empty()) {
                    data.push(label.len() as u8);
                    data.extend(label.as_bytes());
                }
                data.push(0);
                record(33, &data)
            };
            message(0, false, &services.iter().map(of).collect::<Vec<_>>())
        }
        Says::Services(_) | Says::NoData => message(0, false, &[]),
        Says::NoName => message(3, false, &[]),
        Says::Failure => message(2, false, &[]),
        Says::Refused => message(5, false, &[]),
        Says::Silence => return None,
        Says::Garbage => {
            let mut bytes = message(0, false, &[vec![0xc0, 0xff, 0xff]]);
            bytes[7] = 2;
            bytes
        }
        Says::Late(after, says) => {
            thread::sleep(*after);
            return write(question, kind, says, is_tcp);
        }
        Says::OverTcp(_) if !is_tcp => message(0, true, &[]),
        Says::OverTcp(says) => return write(question, kind, says, is_tcp),
    })
}

/// The files by which names are looked up.
pub struct Resolver {
    pub folder: Folder,
}

impl Resolver {
    /// Of a host that asks this name server, and whose hosts file has these lines.
    pub fn asking(server: Ipv4Addr, hosts: &str) -> Resolver {
        let folder = Folder::new(&format!("names-{server}"));
        let resolver = Resolver { folder };
        resolver
            .write("resolv.conf", &format!("nameserver {server}\noptions timeout:1 attempts:2\n"));
        resolver.write("nsswitch.conf", "hosts: files dns\n");
        resolver.write("hosts", hosts);
        resolver
    }

    /// Changes a file where it is, so that whoever has it mounted sees it.
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.path().join(file), text).unwrap();
    }

    /// A command that executes `binary` on that host.
    pub fn command(&self, binary: impl AsRef<Path>) -> Command {
        let mut command = program::plain("unshare");
        let folder = self.folder.path().display();
        let files = ["resolv.conf", "nsswitch.conf", "hosts"];
        let mounts = files.map(|file| format!("mount --bind {folder}/{file} /etc/{file}; "));
        let script = format!("{}exec \"$@\"", mounts.concat());
        command.args(["--mount", "bash", "-ec", &script, "bash"]).arg(binary.as_ref());
        command
    }

    /// The program on that host, with an admin socket and a status page.
    pub fn program(&self, config: Value) -> Program {
        Program::operated_by(config, self.command(program::binary()))
    }
}

/// So many backends at one port of addresses that follow each other.
pub struct Fleet {
    pub backends: Vec<Backend>,
    pub port: u16,
}

impl Fleet {
    /// Each answers with its address.
    pub fn of(count: u8) -> Fleet {
        Fleet::answering(count, |ip, _| Answer::text(ip.to_string()))
    }

    pub fn answering(
        count: u8,
        answer: impl Fn(IpAddr, &Request) -> Answer + Clone + Send + Sync + 'static,
    ) -> Fleet {
        let [_, second, third, _] = own_host().octets();
        let port = Backend::absent().address.port();
        let third = third ^ (port % 251) as u8;
        let backends = (1..=count).map(|host| {
            let ip = IpAddr::from([127, second, third, host]);
            let answer = answer.clone();
            Backend::answering_on(SocketAddr::new(ip, port), move |request| answer(ip, request))
        });
        Fleet { backends: backends.collect(), port }
    }

    /// Their addresses, by their places.
    pub fn at(&self, places: &[usize]) -> Vec<IpAddr> {
        places.iter().map(|place| self.backends[*place].address.ip()).collect()
    }

    /// What a name server says of them.
    pub fn says(&self, places: &[usize]) -> Says {
        Says::Addresses(self.at(places))
    }
}
