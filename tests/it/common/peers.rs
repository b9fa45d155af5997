//! Real programs as peers, from Debian's packages: nginx as a backend, and tools as clients. A
//! missing one fails the test.

use super::{Backend, Client, eventually, until};
use std::{
    env, fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// The path of a program. Fails with the name of the package that has it.
pub fn tool(name: &str, package: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is missing: apt-get install {package}"))
}

/// A folder that is removed in the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("httplb-peer-{}-{number}-{name}", std::process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // only a temporary folder
    }
}

/// One nginx of a single process, with its defaults for connections.
pub struct Nginx {
    pub address: SocketAddr,
    status: SocketAddr,
    folder: Folder,
    process: Option<Child>,
}

impl Nginx {
    /// It answers with its name everywhere but at `/files/`, where it serves `files`.
    pub fn start(name: &str, files: &Path) -> Nginx {
        let (address, status) = (Backend::absent().address, Backend::absent().address);
        let folder = Folder::new(&format!("{name}-{}", address.port()));
        let home = folder.path().display();
        let config = format!(
            "user root;\ndaemon off;\nmaster_process off;\npid {home}/pid;\nerror_log {home}/error.log;\n\
             worker_rlimit_nofile 4096;\nevents {{ worker_connections 4000; }}\n\
             http {{\n access_log off;\n client_body_temp_path {home}/body;\n proxy_temp_path {home}/proxy;\n\
             fastcgi_temp_path {home}/fastcgi;\n uwsgi_temp_path {home}/uwsgi;\n scgi_temp_path {home}/scgi;\n\
             client_max_body_size 0;\n\
             server {{ listen {address} backlog=4096;\n  location / {{ return 200 \"{name}\"; }}\n\
             location /files/ {{ alias {files}/; }} }}\n\
             server {{ listen {status};\n  location / {{ stub_status; }} }}\n}}\n",
            files = files.display(),
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut nginx = Nginx { address, status, folder, process: None };
        nginx.start_again();
        nginx
    }

    pub fn start_again(&mut self) {
        let config = self.folder.path().join("nginx.conf");
        let log = self.folder.path().join("stderr");
        let mut command = Command::new(tool("nginx", "nginx"));
        command.arg("-c").arg(&config).arg("-p").arg(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(&log).unwrap());
        let mut process = command.spawn().expect("nginx");
        until("nginx listens", || {
            if let Ok(Some(status)) = process.try_wait() {
                panic!("nginx ended, {status}: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            TcpStream::connect(self.address).is_ok()
        });
        self.process = Some(process);
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill(); // SIGKILL; it may have ended
            let _ = process.wait();
        }
    }

    /// How many requests it has got since it was started, without those of this function.
    pub fn requests(&self) -> usize {
        let asked = self.folder.path().join("asked");
        let pid = self.process.as_ref().expect("one that runs").id();
        let before = fs::read_to_string(&asked).unwrap_or_default();
        let mine = before.lines().filter(|line| *line == pid.to_string()).count();
        fs::write(&asked, format!("{before}{pid}\n")).unwrap();
        let text = Client::connect(self.status).get("/").text();
        let line = text.lines().nth(2).expect("accepts, handled, requests");
        let total: usize = line.split_whitespace().nth(2).unwrap().parse().unwrap();
        total - mine - 1
    }

    /// Its entry of `backend_servers`.
    pub fn server(&self) -> serde_json::Value {
        serde_json::json!({ "ip": self.address.ip().to_string(), "port": self.address.port() })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Python's http.server: HTTP/1.0, and it closes after each answer.
pub struct PythonServer {
    pub address: SocketAddr,
    process: Child,
}

impl PythonServer {
    pub fn start(files: &Path) -> PythonServer {
        let address = Backend::absent().address;
        let mut command = Command::new(tool("python3", "python3"));
        command.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(files);
        command.arg(address.port().to_string());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("python3");
        eventually("http.server listens", || TcpStream::connect(address).ok());
        PythonServer { address, process }
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended
        let _ = self.process.wait();
    }
}

/// hitch, which speaks TLS with clients and tells whom it speaks for by a PROXY header. Its
/// certificate is its own, made for the occasion.
pub struct Hitch {
    pub address: SocketAddr,
    process: Child,
    _folder: Folder,
}

impl Hitch {
    /// In front of `backend`; `option` says which header is written.
    pub fn start(backend: SocketAddr, option: &str) -> Hitch {
        let address = Backend::absent().address;
        let folder = Folder::new(&format!("hitch-{}", address.port()));
        let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
        let mut command = Command::new(tool("openssl", "openssl"));
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]);
        command.args(["-subj", "/CN=localhost", "-keyout"]).arg(&key);
        output(command.arg("-out").arg(&certificate));
        let pem = folder.path().join("pem");
        fs::write(&pem, [fs::read(key).unwrap(), fs::read(certificate).unwrap()].concat()).unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new(tool("hitch", "hitch"));
        command.arg(format!("--frontend=[{}]:{}", address.ip(), address.port()));
        command.arg(format!("--backend=[{}]:{}", backend.ip(), backend.port()));
        command.args([option, "--ocsp-dir=", "--workers=1"]);
        if rustix::process::getuid().is_root() {
            command.arg("--user=nobody"); // it refuses to be root
        }
        command.arg(&pem).stdin(Stdio::null()).stdout(fs::File::create(&log).unwrap());
        let mut process = command.stderr(Stdio::null()).spawn().expect("hitch");
        until("hitch listens", || {
            if let Ok(Some(status)) = process.try_wait() {
                panic!("hitch ended, {status}: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            TcpStream::connect(address).is_ok()
        });
        Hitch { address, process, _folder: folder }
    }
}

impl Drop for Hitch {
    fn drop(&mut self) {
        // At SIGTERM it takes its worker with it.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.process),
            rustix::process::Signal::TERM,
        );
        let _ = self.process.wait();
    }
}

/// A command with room for many descriptors, as far as the machine allows.
pub fn with_descriptors(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n 8192 2>/dev/null || ulimit -n \"$(ulimit -H -n)\"; exec \"$0\" \"$@\"",
    ]);
    command.arg(program);
    command
}

/// Its standard output. Fails when it fails.
pub fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().expect("a program that starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}
