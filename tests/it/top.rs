//! `httplb top` in tmux: shown, sorted, a backend drained and readied, and the terminal restored however
//! it ends.

use crate::common::{
    Backend, Program, json, peers::tool, program::binary, program::plain, servers, until,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fmt::Display,
    path::Path,
    process::{Command, Stdio},
};

/// A terminal with a shell in it, on a tmux server of its own.
struct Screen {
    name: String,
}

impl Screen {
    fn new(columns: usize, lines: usize) -> Screen {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let screen = Screen { name: format!("httplb-{}-{number}", std::process::id()) };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        screen.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &lines,
            "env",
            "-i",
            "PATH=/usr/bin:/bin",
            "TERM=screen",
            "LANG=C.UTF-8",
            "PS1=ready> ",
            "sh",
        ]);
        until("a shell", || screen.shows("ready>"));
        screen
    }

    fn tmux(&self, words: &[&str]) -> String {
        let tmux = tool("tmux", "tmux");
        let output = Command::new(tmux)
            .args(["-u", "-L", &self.name])
            .args(words)
            .env("LANG", "C.UTF-8")
            .output();
        let output = output.expect("tmux");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn shows(&self, part: &str) -> bool {
        self.text().contains(part)
    }

    fn wait_for(&self, part: &str) {
        until(&format!("{part:?} is shown"), || self.shows(part));
    }

    /// Whether an application has the other screen.
    fn is_alternate(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }

    /// The shell has its terminal back as it was: it echoes, makes lines, and shows the cursor.
    fn assert_restored(&self) {
        until("the other screen is left", || !self.is_alternate());
        self.wait_for("status=");
        self.keys(&[
            "stty -a | tr ' ' '\\n' | grep -c -x -e icanon -e echo -e isig; echo done=$((6*7))",
            "Enter",
        ]);
        self.wait_for("done=42");
        let text = self.text();
        let settings: Vec<&str> =
            text.lines().rev().skip_while(|line| !line.starts_with("done=42")).collect();
        assert_eq!(settings[1], "3", "{text}");
        assert_eq!(self.tmux(&["display-message", "-p", "#{cursor_flag}"]).trim(), "1");
    }

    fn top(&self, socket: &Path) {
        let command =
            format!("{} top --socket {}; echo status=$?", binary().display(), socket.display());
        self.keys(&[&command, "Enter"]);
    }

    fn pid_of_top(&self) -> Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))
            .expect("children");
        let number =
            children.split_whitespace().next().expect("a child").parse().expect("a number");
        Pid::from_raw(number).expect("a process")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The server and the shell end with it.
        let tmux = tool("tmux", "tmux");
        let _ = Command::new(tmux)
            .args(["-L", &self.name, "kill-server"])
            .stderr(Stdio::null())
            .status();
    }
}

/// Which of two texts stands further up.
fn is_above(screen: &Screen, one: impl Display, other: impl Display) -> bool {
    let text = screen.text();
    let place = |part: String| text.lines().position(|line| line.contains(&part));
    place(one.to_string()).zip(place(other.to_string())).is_some_and(|(one, other)| one < other)
}

/// By the API, from which the screen has it.
fn other_is_said_to_be_in_trouble(program: &Program) {
    let status = program.look("/v1/status");
    assert_eq!(
        status["troubles"][0],
        json!({"severity": "bad", "text": "other: no backend is up"})
    );
    assert_eq!(program.look("/v1/pools/other")["severity"], "bad");
    assert_eq!(program.look("/v1/pools/default")["severity"], "fine");
}

#[test]
fn backends_are_shown_sorted_and_steered() {
    let (first, second, absent) = (Backend::named("a"), Backend::named("b"), Backend::absent());
    let program = Program::operated(json!({"backend_servers": servers(&[&first, &second]),
        "health_check": {"path": "/", "interval": "200ms"},
        "pools": {"other": {"backend_servers": servers(&[&absent])}}}));
    program.wait_for_state("other", absent.address, "down");
    let screen = Screen::new(80, 24);
    screen.top(&program.admin_path());
    screen.wait_for("other: no backend is up");
    other_is_said_to_be_in_trouble(&program);
    assert!(screen.is_alternate());
    let text = screen.text();
    for part in [
        "httplb ",
        "REQ/S",
        "default: 2 of 2 up",
        "requests/s",
        &first.address.to_string(),
        "q quit",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // The worst is first, until it is sorted by requests.
    assert!(is_above(&screen, absent.address, first.address), "{text}");
    screen.keys(&["r"]);
    screen.wait_for("by requests");
    let client = || assert_eq!(program.get("/").status, 200);
    until("the busy pool is first", || {
        (0..20).for_each(|_| client());
        is_above(&screen, first.address, absent.address)
    });
    screen.keys(&["t"]);
    screen.wait_for("by trouble");
    until("the worst is first", || is_above(&screen, absent.address, first.address));

    // The second row is the first backend that works; it is drained after a yes alone.
    screen.keys(&["Down"]);
    screen.keys(&["d"]);
    screen.wait_for("? y or n");
    let text = screen.text();
    let question = text.lines().find(|line| line.contains("? y or n")).expect("a question");
    let name = question.trim_start_matches("drain default/").split('?').next().unwrap().to_owned();
    screen.keys(&["n"]);
    screen.wait_for("q quit");
    assert_eq!(program.state("default", &name), "up");
    screen.keys(&["d", "y"]);
    program.wait_for_state("default", &name, "drain");
    screen.wait_for(&format!("default/{name}: drain"));
    until("it is shown", || {
        screen.text().lines().any(|line| line.contains(&name) && line.contains(" drain "))
    });
    screen.keys(&["u", "y"]);
    program.wait_for_state("default", &name, "up");
    screen.keys(&["m", "y"]);
    program.wait_for_state("default", &name, "maint");

    screen.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    until("all lines are used", || {
        screen.text().lines().nth(29).is_some_and(|line| line.contains("quit"))
    });
    screen.tmux(&["resize-window", "-x", "40", "-y", "8"]);
    until("few lines are enough", || screen.shows(&name[..9]));
    screen.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    screen.keys(&["q"]);
    screen.wait_for("status=0");
    screen.assert_restored();
}

#[test]
fn the_terminal_is_restored_however_it_ends() {
    let backend = Backend::named("a");
    let mut program = Program::operated(json!({"backend_servers": servers(&[&backend])}));
    let screen = Screen::new(80, 24);
    let shown = |screen: &Screen| {
        screen.keys(&["clear", "Enter"]);
        screen.top(&program.admin_path());
        screen.wait_for("default: 1 of 1 up");
    };
    for key in ["q", "C-c", "C-d"] {
        shown(&screen);
        screen.keys(&[key]);
        screen.wait_for("status=0");
        screen.assert_restored();
    }
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        shown(&screen);
        kill_process(screen.pid_of_top(), signal).unwrap();
        screen.wait_for("status=0");
        screen.assert_restored();
    }
    shown(&screen);
    program.kill();
    screen.wait_for("status=1");
    // Its lines are broken where the terminal ends.
    assert!(
        screen.text().replace('\n', "").contains("is the service running"),
        "{}",
        screen.text()
    );
    screen.assert_restored();
}

#[test]
fn it_takes_the_terminal_again_that_a_shell_had_while_it_was_stopped() {
    let backend = Backend::named("a");
    let program = Program::operated(json!({"backend_servers": servers(&[&backend])}));
    let screen = Screen::new(80, 24);
    screen.top(&program.admin_path());
    screen.wait_for("default: 1 of 1 up");
    let top = screen.pid_of_top();
    // The shell goes on when its job has stopped; that it does with its terminal what it needs is up to it.
    kill_process(top, Signal::STOP).unwrap();
    screen.wait_for("ready>");
    let terminal = screen.tmux(&["list-panes", "-F", "#{pane_tty}"]);
    let cooked = Command::new("stty").args(["-F", terminal.trim(), "sane"]).status();
    assert!(cooked.expect("stty").success());
    screen.keys(&["fg; echo status=$?", "Enter"]);
    until("keys come at once", || {
        screen.keys(&["r"]);
        screen.shows("by requests")
    });
    screen.keys(&["q"]);
    screen.wait_for("status=0");
    screen.assert_restored();
}

#[test]
fn without_a_terminal_it_ends_at_once() {
    let backend = Backend::named("a");
    let program = Program::operated(json!({"backend_servers": servers(&[&backend])}));
    for socket in [program.admin_path(), program.folder.join("none")] {
        let mut command = plain(binary());
        command.args(["top", "--socket"]).arg(socket).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.stdout.is_empty() && errors.contains("no terminal"), "{errors}");
    }
}
