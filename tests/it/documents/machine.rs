//! A machine to play documents on: a network, processes and folders of its own, by the kernel's namespaces, so that
//! paths and ports are those that the documents name.

use super::reading::{Block, Document, in_repository, shows};
use crate::common::{
    DEADLINE,
    peers::tool,
    process,
    program::{Scratch, binary, plain},
};
use rustix::process::{Pid, getuid};
use std::{
    cell::Cell,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Commands that are not run here: where they stand, how they begin, and why. All others are.
pub const NOT_RUN: [(&str, &str, &str); 14] = [
    (
        "",
        "cargo ",
        "builds; packaging/test does, and another test here looks whether what is named is there",
    ),
    ("", "HTTPLB_", "the same"),
    ("", "for policy in ", "the same: cargo run --example"),
    ("", "packaging/", "is what runs all tests, or is run by it"),
    ("", "fuzz/target/", "packaging/fuzz builds and runs it"),
    ("", "dpkg ", "packaging/container does it, in a Debian of its own"),
    ("", "httplb top", "needs a terminal: tests/it/top.rs drives it in tmux"),
    ("", "httplb -l ", "serves until it is stopped: its options are tried by -t"),
    ("", "apt ", "packages of others: packaging/test installs what stands behind `needs`"),
    ("", "docker ", "there is no daemon"),
    ("man/", "hitch ", "serves until it is stopped, with a certificate that is not here"),
    ("docs/REGISTERING.md", "curl -H 'X-Policy", "asks backends that cargo has started"),
    ("docs/FLEET.md", "", "takes several hosts: packaging/fleet makes them, and does the same"),
    ("docs/MEASUREMENTS.md", "", "measures for minutes, on a machine that does nothing else"),
];

/// Why a command of this document is not run, if it is not.
pub fn not_run(place: &str, command: &str) -> Option<usize> {
    NOT_RUN
        .iter()
        .position(|(here, begin, _)| place.starts_with(here) && command.starts_with(begin))
}

pub struct Machine {
    holder: Child,
    /// Its first process, as others outside know it.
    first: Pid,
    folder: Scratch,
    /// Functions of the shell that the document has defined.
    defined: String,
    run_count: Cell<usize>,
}

impl Machine {
    /// With the package's files, and httplb not started. `None`, and it is said loudly, where there can be none.
    pub fn boot() -> Option<Machine> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child"]);
        let is_possible = getuid().is_root()
            && Command::new("unshare")
                .args(["--mount", "--net", "true"])
                .status()
                .is_ok_and(|it| it.success());
        if !is_possible {
            eprintln!("SKIPPED: no namespaces can be had here (only root may); run this as root");
            return None;
        }
        tool("ip", "iproute2");
        let folder = Scratch::new();
        command.arg("bash").arg(in_repository("tests/it/documents/machine/boot"));
        command.arg(folder.join("")).arg(binary()).arg(in_repository(""));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("unshare");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().expect("a pipe")).read_line(&mut said).unwrap();
        if said.contains("the kernel has no overlayfs") {
            eprintln!("SKIPPED: {said}");
            holder.wait().expect("it ends");
            return None;
        }
        assert_eq!(said, "booted\n");
        let children = process::children(Pid::from_child(&holder));
        let first = *children.first().expect("the first process of the machine");
        Some(Machine { holder, first, folder, defined: String::new(), run_count: Cell::new(0) })
    }

    /// What comes of a line of bash, with this on its standard input. It prints into a file: what it leaves
    /// running may hold that open.
    fn try_run(&self, line: &str, input: &str) -> (ExitStatus, String) {
        let number = self.run_count.get();
        self.run_count.set(number + 1);
        let printed = self.folder.join(&format!("printed-{number}"));
        let sink = File::create(&printed).expect("a file");
        let mut command = plain("nsenter");
        command.args(["--target", &self.first.as_raw_nonzero().to_string()]);
        command.args(["--mount", "--net", "--pid", "--", "timeout", "30", "bash", "-c"]);
        let work = self.folder.join("work").display().to_string();
        command.arg(format!("cd {work}\n{}{line}", self.defined));
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::piped()).stdout(sink.try_clone().unwrap()).stderr(sink);
        let mut child = command.spawn().expect("nsenter");
        // It may end without reading its input; then the pipe breaks, which is no fault.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        let status = child.wait().expect("it ends");
        let printed = fs::read(&printed).expect("what it printed");
        (status, String::from_utf8_lossy(&printed).into_owned())
    }

    /// What a line of bash prints. Fails if that fails.
    pub fn run(&self, line: &str) -> String {
        let (status, printed) = self.try_run(line, "");
        assert!(status.success(), "{line}: {status}\n{printed}");
        printed
    }

    pub fn write(&self, path: &str, text: &str) {
        let line = format!("mkdir -p $(dirname {path}) && cat > {path}");
        let (status, printed) = self.try_run(&line, text);
        assert!(status.success(), "{path}: {printed}");
    }

    /// Starts backends that say who they are, at these addresses: see machine/app.
    pub fn start_apps(&self, addresses: &[&str]) {
        self.run(&format!("app {}", addresses.join(" ")));
    }

    /// Has a backend behave differently, such as `slow 2` or `500`; or well again, by nothing.
    pub fn set_app(&self, address: &str, behaviour: &str) {
        match behaviour {
            "" => self.run(&format!("rm -f /run/app/{address}")),
            _ => self.run(&format!("echo {behaviour} > /run/app/{address}")),
        };
    }

    /// Does what the document says: writes its files, runs its commands, and looks whether they show what it
    /// shows. Tells how many were run.
    pub fn play(&mut self, document: &Document) -> usize {
        let mut count = 0;
        let mut blocks = document.blocks().into_iter().peekable();
        while let Some(block) = blocks.next() {
            match block {
                Block::File(path, text) => self.write(&path, &text),
                Block::Commands(commands) => {
                    let shown = blocks.next_if(|next| matches!(next, Block::Shown(_)));
                    let shown = match &shown {
                        Some(Block::Shown(text)) => text.as_str(),
                        _ => "",
                    };
                    count += self.play_commands(&document.place, &commands, shown);
                }
                Block::Json(_) | Block::Log(_) | Block::Shown(_) | Block::Picture(_) => (),
            }
        }
        count
    }

    fn play_commands(&mut self, place: &str, commands: &[String], shown: &str) -> usize {
        let to_run: Vec<&String> =
            commands.iter().filter(|command| not_run(place, command).is_none()).collect();
        for (number, command) in to_run.iter().enumerate() {
            if command.contains("() {") {
                self.defined += &format!("{command}\n");
                continue;
            }
            let is_last = number + 1 == to_run.len();
            self.play_command(place, command, if is_last { shown } else { "" });
        }
        to_run.len()
    }

    /// Until it shows what it should. A command whose comment begins with "fails" does so.
    fn play_command(&self, place: &str, command: &str, shown: &str) {
        let should_fail = command.contains("  # fails");
        let start = Instant::now();
        loop {
            let (status, printed) = self.try_run(command, "");
            let done = match status.success() != should_fail {
                true => shows(&printed, shown),
                false => Err(format!("{status}\n{printed}")),
            };
            let Err(why) = done else { return };
            // What shows something is a look, and may be had again.
            if shown.is_empty() || start.elapsed() > DEADLINE {
                let (_, journal) = self.try_run("cat /var/log/journal.httplb", "");
                panic!("{place}: {command}: {why}\n{journal}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With it ends the first process of the machine, and with that all others.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
