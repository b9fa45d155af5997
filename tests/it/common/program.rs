//! The program under test: started with a configuration of its own, watched, and killed in the
//! end.

use super::{Backend, Client, DEADLINE, Response, eventually, process, servers, until};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::{Value, json};
use std::{
    env,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, ErrorKind},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub struct Program {
    child: Child,
    pub address: SocketAddr,
    pub folder: PathBuf,
    /// What it was started with, or told by `configure`.
    pub config: Value,
    stderr: Arc<Mutex<String>>,
}

/// The binary: the one just built, or that of `HTTPLB_UNDER_TEST` (an installed one, say).
pub fn binary() -> PathBuf {
    env::var_os("HTTPLB_UNDER_TEST")
        .map_or_else(|| env!("CARGO_BIN_EXE_httplb").into(), PathBuf::from)
}

fn new_folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = env::temp_dir().join(format!("httplb-test-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A folder for a test alone, which goes with it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(new_folder())
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // only a temporary folder
    }
}

impl Program {
    /// With this configuration, an access log, and this folder for its state.
    pub fn with_state(mut config: Value, state: &Path) -> Program {
        let folder = new_folder();
        config["access_log"] = json!(folder.join("access.log"));
        let mut command = plain(binary());
        command.env("STATE_DIRECTORY", state);
        Program::launch(config, folder, command)
    }

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

    /// With an admin socket and a status page. See `operator`.
    pub fn operated(config: Value) -> Program {
        Program::operated_by(config, plain(binary()))
    }

    /// With an access log, an admin socket and a status page.
    pub fn operated_and_logging(mut config: Value) -> Program {
        let folder = new_folder();
        config["access_log"] = json!(folder.join("access.log"));
        config["admin"]["socket"] = json!(folder.join("admin.sock"));
        config["status_listen"] = json!("127.0.0.1:0");
        Program::launch(config, folder, plain(binary()))
    }

    /// The same, by a command that executes the program, to which `-c FILE` is added.
    pub fn operated_by(mut config: Value, command: Command) -> Program {
        let folder = new_folder();
        config["admin"]["socket"] = json!(folder.join("admin.sock"));
        config["status_listen"] = json!("127.0.0.1:0");
        Program::launch(config, folder, command)
    }

    /// With a copy of the binary of its own, which a test may replace: see `own_binary`.
    pub fn replaceable(config: Value) -> Program {
        let folder = new_folder();
        let own = folder.join("httplb");
        fs::copy(binary(), &own).expect("a copy of the program");
        Program::launch(config, folder, plain(own))
    }

    /// By a command that executes the program, to which `-c FILE` is added. In a folder of its own.
    pub fn by(config: Value, command: impl FnOnce(&Path) -> Command) -> Program {
        let folder = new_folder();
        let command = command(&folder);
        Program::launch(config, folder, command)
    }

    fn start(config: Value, folder: PathBuf) -> Program {
        Program::launch(config, folder, plain(binary()))
    }

    fn launch(mut config: Value, folder: PathBuf, mut command: Command) -> Program {
        if config["listen"].is_null() {
            config["listen"] = json!(["127.0.0.1:0"]);
        }
        if config["workers"].is_null() {
            config["workers"] = json!(1);
        }
        let file = folder.join("servers.conf");
        fs::write(&file, serde_json::to_string_pretty(&config).unwrap()).unwrap();
        command.arg("-c").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = spawned(&mut command);
        let stderr = Arc::new(Mutex::new(String::new()));
        let reader = child.stderr.take().unwrap();
        let sink = stderr.clone();
        thread::spawn(move || copy_lines(reader, &sink));
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Program { child, address: unknown, folder, config, stderr };
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

    /// A client that has asked for `target`, once that has come to `backend`, the only one asked now.
    pub fn client_at(&self, backend: &Backend, target: &str) -> Client {
        let before = backend.request_count();
        let mut client = self.client();
        client.ask(target);
        backend.wait_for_requests(before + 1);
        client
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

    /// How often this was said so far.
    pub fn count_messages(&self, part: &str) -> usize {
        self.stderr().matches(part).count()
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

    /// Ends it at once, with all its processes; all its connections are closed then.
    pub fn kill(&mut self) {
        let processes = self.processes();
        if self.is_running() {
            // The workers would let their clients end if the master were killed.
            self.signal(Signal::INT);
            let start = Instant::now();
            while self.is_running() && start.elapsed() < Duration::from_secs(5) {
                thread::sleep(Duration::from_millis(2));
            }
        }
        let _ = self.child.kill(); // it has ended, as a rule
        let _ = self.child.wait();
        processes.into_iter().skip(1).for_each(process::kill);
    }

    /// All its processes, the master first.
    pub fn processes(&self) -> Vec<Pid> {
        let mut all = vec![self.pid()];
        all.extend(process::children(self.pid()));
        all
    }

    /// The processes of this name.
    fn named(&self, name: &str) -> Vec<Pid> {
        let is_named = |pid: &Pid| process::name(*pid).as_deref() == Some(name);
        process::children(self.pid()).into_iter().filter(is_named).collect()
    }

    /// The worker in a seat, once there is one. The youngest, if there are several.
    pub fn worker(&self, seat: usize) -> Pid {
        let name = format!("httplb-w{seat}");
        eventually(&format!("a process {name}"), || self.named(&name).last().copied())
    }

    /// All worker processes there are.
    pub fn workers(&self) -> Vec<Pid> {
        let is_worker =
            |pid: &Pid| process::name(*pid).is_some_and(|name| name.starts_with("httplb-w"));
        process::children(self.pid()).into_iter().filter(is_worker).collect()
    }

    /// The control process, once there is one.
    pub fn control(&self) -> Pid {
        eventually("a control process", || self.named("httplb-control").last().copied())
    }

    /// Allows its only worker `count` descriptors. It is another one then: the limit of a process of
    /// another user is not ours to set, but what the master has is inherited.
    pub fn limit_descriptors(&self, count: u64) {
        let limit = Rlimit { current: Some(count), maximum: Some(count.max(4096)) };
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("a limit that may be set");
        let before = self.worker(0);
        process::kill(before);
        until("another worker", || self.worker(0) != before);
    }

    /// The descriptors of its only worker.
    pub fn descriptor_count(&self) -> usize {
        process::descriptor_count(self.worker(0))
    }

    /// The resident memory of all its processes now, in bytes.
    pub fn memory(&self) -> u64 {
        self.processes().into_iter().map(process::memory).sum()
    }

    /// The CPU time that its processes have used so far, each to a hundredth of a second.
    pub fn cpu_time(&self) -> Duration {
        self.processes().into_iter().map(process::cpu_time).sum()
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

/// Starts the program. A copy that was just written is busy for as long as another test's process, forked
/// meanwhile and not executed yet, has it open.
fn spawned(command: &mut Command) -> Child {
    eventually("the program's binary", || match command.spawn() {
        Ok(child) => Some(child),
        Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => None,
        Err(error) => panic!("the program's binary: {error}"),
    })
}

/// A command that does not know what manages this process.
pub fn plain(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_remove("JOURNAL_STREAM").env_remove("STATE_DIRECTORY");
    command
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
