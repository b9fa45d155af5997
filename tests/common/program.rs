//! The program under test: started with a configuration of its own, watched, and killed in the
//! end.

use super::{Backend, Client, DEADLINE, Response, eventually, servers, until};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::{Value, json};
use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{self, Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

pub struct Program {
    child: Child,
    pub address: SocketAddr,
    pub folder: PathBuf,
    stderr: Arc<Mutex<String>>,
}

/// The binary: the one just built, or that of `HTTPLB_UNDER_TEST` (an installed one, say).
fn binary() -> PathBuf {
    env::var_os("HTTPLB_UNDER_TEST")
        .map_or_else(|| env!("CARGO_BIN_EXE_httplb").into(), PathBuf::from)
}

fn new_folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = env::temp_dir().join(format!("httplb-test-{}-{number}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

impl Program {
    /// With all defaults before these backends.
    pub fn over(backends: &[&Backend]) -> Program {
        Program::with(json!({ "backend_servers": servers(backends) }))
    }

    /// With this configuration; where it lacks `listen` or `workers`, these are added, one worker.
    /// Returns when it is ready. `address` is the first that it listens on.
    pub fn with(config: Value) -> Program {
        Program::start(config, new_folder())
    }

    /// With an access log, which `log_lines` reads.
    pub fn logging(mut config: Value) -> Program {
        let folder = new_folder();
        config["access_log"] = json!(folder.join("access.log"));
        Program::start(config, folder)
    }

    fn start(mut config: Value, folder: PathBuf) -> Program {
        if config["listen"].is_null() {
            config["listen"] = json!(["127.0.0.1:0"]);
        }
        if config["workers"].is_null() {
            config["workers"] = json!(1);
        }
        let file = folder.join("servers.conf");
        fs::write(&file, serde_json::to_string_pretty(&config).unwrap()).unwrap();
        let mut child = Command::new(binary())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .env_remove("JOURNAL_STREAM")
            .spawn()
            .expect("the program's binary");
        let stderr = Arc::new(Mutex::new(String::new()));
        let reader = child.stderr.take().unwrap();
        let sink = stderr.clone();
        thread::spawn(move || copy_lines(reader, &sink));
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Program { child, address: unknown, folder, stderr };
        program.wait_until_ready();
        program
    }

    fn wait_until_ready(&mut self) {
        until("the program is ready", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                thread::sleep(Duration::from_millis(50)); // for the last of its messages
                panic!("the program ended at its start, {status}:\n{}", self.stderr());
            }
            self.stderr().contains("httplb: ready")
        });
        let stderr = self.stderr();
        let listening =
            stderr.split("listening on ").nth(1).expect("the line that tells where it listens");
        let address = listening.split([',', ' ', '\n']).next().unwrap_or_default();
        self.address = address.parse().unwrap_or_else(|_| panic!("an address in {stderr}"));
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// `GET target` over a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        let mut client = self.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
        let response = client.response();
        client.expect_end();
        response
    }

    /// All its messages so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub fn wait_for_message(&self, part: &str) {
        eventually(&format!("a message with {part:?}"), || {
            self.stderr().contains(part).then_some(())
        });
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a program that runs");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the program ends", || child.try_wait().unwrap())
    }

    /// Ends it at once; all its connections are closed then.
    pub fn kill(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }

    /// Allows it `count` descriptors from now on.
    pub fn limit_descriptors(&self, count: u64) {
        let limit = Rlimit { current: Some(count), maximum: Some(count.max(4096)) };
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("a limit that may be set");
    }

    pub fn descriptor_count(&self) -> usize {
        fs::read_dir(self.proc_file("fd")).expect("its descriptors").count()
    }

    fn proc_file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }

    /// Its resident memory now, in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(self.proc_file("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kibibytes * 1024
    }

    /// The CPU time that it has used so far, to a hundredth of a second.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(self.proc_file("stat")).unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        let ticks = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.join("access.log")
    }

    /// The access log once it has `count` lines, raw.
    pub fn raw_log(&self, count: usize) -> String {
        let log = || fs::read_to_string(self.log_path()).unwrap_or_default();
        let has_all = |log: &String| log.ends_with('\n') && log.lines().count() >= count;
        let text = eventually(&format!("{count} lines in the log"), || Some(log()).filter(has_all));
        assert_eq!(text.lines().count(), count, "{text}");
        text
    }

    pub fn log_lines(&self, count: usize) -> Vec<Value> {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        self.raw_log(count).lines().map(parse).collect()
    }
}

fn copy_lines(from: ChildStderr, to: &Mutex<String>) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let mut text = to.lock().unwrap();
        text.push_str(&String::from_utf8_lossy(&line));
        text.push('\n');
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("what the program said:\n{}", self.stderr());
        }
        let _ = fs::remove_dir_all(&self.folder); // only a temporary folder
    }
}
