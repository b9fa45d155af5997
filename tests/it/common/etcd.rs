//! Real etcd: one member, or a cluster of several, on addresses of this host.

use super::{eventually, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    env, fs,
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

struct Member {
    client: SocketAddr,
    peer: SocketAddr,
    process: Option<Child>,
}

pub struct Etcd {
    members: Vec<Member>,
    folder: PathBuf,
    /// By which it is the same cluster after a start.
    token: usize,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let bits = piece.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - piece.len()));
        for digit in 0..4 {
            let is_there = digit <= piece.len();
            let value = DIGITS[(bits >> (18 - 6 * digit) & 63) as usize];
            text.push(if is_there { value as char } else { '=' });
        }
    }
    text
}

pub fn from_base64(text: &str) -> String {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for digit in text.trim_end_matches('=').chars() {
        bits = bits << 6 | DIGITS.find(digit).expect("a digit") as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    String::from_utf8(bytes).unwrap()
}

impl Etcd {
    /// One member.
    pub fn one() -> Etcd {
        Etcd::of(1)
    }

    /// So many, which serve when this returns.
    pub fn of(count: usize) -> Etcd {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("httplb-etcd-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let member = |_| Member { client: free_address(), peer: free_address(), process: None };
        let mut etcd = Etcd { members: (0..count).map(member).collect(), folder, token: 0 };
        (0..count).for_each(|member| etcd.start(member));
        etcd.wait_until_it_serves();
        etcd
    }

    pub fn wait_until_it_serves(&self) {
        until("etcd serves", || self.try_call("kv/range", &json!({"key": base64(b"x")})).is_some());
    }

    /// Starts a member, anew if it has run before.
    pub fn start(&mut self, member: usize) {
        let name = |member: usize| format!("n{member}");
        let cluster: Vec<String> = (self.members.iter().enumerate())
            .map(|(place, one)| format!("{}=http://{}", name(place), one.peer))
            .collect();
        let log = File::create(self.folder.join(format!("{}.log", name(member)))).unwrap();
        let one = &mut self.members[member];
        let (client, peer) = (format!("http://{}", one.client), format!("http://{}", one.peer));
        let process = Command::new("etcd")
            .env("ETCD_ENABLE_V2", "false")
            .args(["--name", &name(member), "--initial-cluster", &cluster.join(",")])
            .args(["--initial-cluster-token", &format!("t{}", self.token)])
            .arg("--data-dir")
            .arg(self.folder.join(name(member)))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd (install etcd-server)");
        one.process = Some(process);
    }

    pub fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client.to_string()).collect()
    }

    /// The member at an address.
    pub fn member_at(&self, address: &str) -> usize {
        self.addresses().iter().position(|one| one == address).expect("a member")
    }

    fn pid(&self, member: usize) -> Pid {
        Pid::from_child(self.members[member].process.as_ref().expect("it runs"))
    }

    /// Ends a member at once.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut process) = self.members[member].process.take() {
            let _ = process.kill(); // it has ended, perhaps
            let _ = process.wait();
        }
    }

    /// Forgets all that the only member knew, which must not run: it is another cluster then.
    pub fn wipe(&mut self, member: usize) {
        self.token += 1;
        fs::remove_dir_all(self.folder.join(format!("n{member}"))).unwrap();
    }

    /// Stops a member: its connections stay, and nothing comes.
    pub fn stop(&self, member: usize) {
        kill_process(self.pid(member), Signal::STOP).unwrap();
    }

    pub fn go_on(&self, member: usize) {
        kill_process(self.pid(member), Signal::CONT).unwrap();
    }

    /// Asks any member that answers.
    pub fn call(&self, path: &str, body: &Value) -> Value {
        eventually(&format!("etcd answers to {path}"), || self.try_call(path, body))
    }

    fn try_call(&self, path: &str, body: &Value) -> Option<Value> {
        let running = self.members.iter().filter(|member| member.process.is_some());
        running.map(|member| member.client).find_map(|address| ask(address, path, body))
    }

    pub fn put(&self, key: &str, value: &Value) {
        self.call("kv/put", &put(key, value));
    }

    /// With a lease of so many seconds.
    pub fn put_leased(&self, key: &str, value: &Value, seconds: u64) {
        let lease = self.call("lease/grant", &json!({"TTL": seconds}))["ID"].clone();
        let mut request = put(key, value);
        request["lease"] = lease;
        self.call("kv/put", &request);
    }

    pub fn delete(&self, key: &str) {
        self.call("kv/deleterange", &json!({"key": base64(key.as_bytes())}));
    }

    pub fn get(&self, key: &str) -> Option<Value> {
        let found = self.call("kv/range", &json!({"key": base64(key.as_bytes())}));
        let value = found["kvs"][0]["value"].as_str()?;
        Some(serde_json::from_str(&from_base64(value)).expect("JSON"))
    }

    /// The member that leads.
    pub fn leader(&self) -> usize {
        eventually("a leader", || {
            (0..self.members.len()).find(|member| {
                let address = self.members[*member].client;
                let status = ask(address, "maintenance/status", &json!({}));
                status.is_some_and(|status| status["leader"] == status["header"]["member_id"])
            })
        })
    }
}

fn put(key: &str, value: &Value) -> Value {
    let value = value.to_string();
    json!({"key": base64(key.as_bytes()), "value": base64(value.as_bytes())})
}

/// A request over a connection of its own. None if it is not answered with success.
fn ask(address: SocketAddr, path: &str, body: &Value) -> Option<Value> {
    let body = body.to_string();
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let len = body.len();
    let head = format!(
        "POST /v3/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n"
    );
    socket.write_all((head + &body).as_bytes()).ok()?;
    let mut text = String::new();
    socket.read_to_string(&mut text).ok()?;
    let json = text.find('{').zip(text.rfind('}')).map(|(from, to)| &text[from..=to])?;
    let is_ok = text.starts_with("HTTP/1.1 200");
    is_ok.then(|| serde_json::from_str(json).ok()).flatten()
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|member| self.kill(member));
        let _ = fs::remove_dir_all(&self.folder); // only a temporary folder
    }
}
