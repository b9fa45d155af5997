//! The program, run by a tool that looks on: strace, valgrind.

use crate::common::{Backend, DEADLINE, Value, eventually, json, until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env, fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

pub struct Watched {
    child: Child,
    pub address: SocketAddr,
    folder: PathBuf,
}

/// A tool and the Debian package that has it.
pub struct Tool {
    pub name: &'static str,
    pub package: &'static str,
    /// The tool writes its report to the file that this option names.
    pub report_option: &'static str,
    /// It must leave the program the process that was started.
    pub options: &'static [&'static str],
}

impl Watched {
    /// With this configuration before these backends, one worker, and an access log if wanted. What it has
    /// for `each_backend` stands in each of them.
    pub fn start(tool: &Tool, backends: &[&Backend], mut config: Value) -> Watched {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("httplb-watched-{}-{number}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let address = Backend::absent().address;
        config["listen"] = json!([address.to_string()]);
        config["workers"] = json!(1);
        let keys = config.as_object_mut().and_then(|keys| keys.remove("each_backend"));
        let keys = keys.unwrap_or_else(|| json!({}));
        let servers = backends.iter().map(|backend| backend.server_with(keys.clone()));
        config["backend_servers"] = servers.collect();
        if config["access_log"] == "on" {
            config["access_log"] = json!(folder.join("access.log"));
        }
        fs::write(folder.join("servers.conf"), config.to_string()).unwrap();
        let errors = fs::File::create(folder.join("stderr")).unwrap();
        let started = Command::new(tool.name)
            .args(tool.options)
            .arg(format!("{}{}", tool.report_option, folder.join("report").display()))
            .arg(env!("CARGO_BIN_EXE_httplb"))
            .arg(folder.join("servers.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn();
        let child = started.unwrap_or_else(|error| {
            panic!("{}: {error} (apt-get install {})", tool.name, tool.package)
        });
        let mut watched = Watched { child, address, folder };
        until("the program under a tool listens", || {
            if let Some(status) = watched.child.try_wait().unwrap() {
                panic!("{} ended at its start, {status}: {}", tool.name, watched.stderr());
            }
            TcpStream::connect(address).is_ok()
        });
        watched
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }

    /// Ends the program in order, and returns what the tool reports once it has a line with
    /// `last`. Clients must be gone by then.
    pub fn report(&mut self, last: &str) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a program that runs");
        let child = &mut self.child;
        let status = eventually("the program ends", || child.try_wait().unwrap());
        assert!(status.success(), "{status}: {}", self.stderr());
        let path = self.folder.join("report");
        eventually(&format!("a report with {last:?} within {DEADLINE:?}"), || {
            fs::read_to_string(&path).ok().filter(|report| report.contains(last))
        })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended, as a rule
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder); // only a temporary folder
    }
}
