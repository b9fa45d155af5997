//! Instructions, counted by callgrind: what to look at before and after a change. They are the same
//! on every run and on a busy machine, which times are not; but for bodies longer than a buffer,
//! whose cost depends on how the kernel cuts them.
//!
//! `cargo bench [PART OF A NAME]...`. Each row is measured twice, once with double the work; the
//! difference is what the work takes, without start and end. The lower half is the real program
//! with all that it does in user space for one request; what the kernel does for it is not counted.
//!
//! Needs Debian's package valgrind.

#[path = "../../tests/it/common/mod.rs"]
mod common;
mod pieces;
mod relayed;
#[path = "../../tests/costs/watched.rs"]
mod watched;

use std::env;
use std::process::Command;
use watched::Tool;

const CALLGRIND: Tool = Tool {
    name: "valgrind",
    package: "valgrind",
    report_option: "--log-file=",
    options: &["--tool=callgrind", "--callgrind-out-file=/dev/null"],
};

/// Set in a process that does nothing but a piece of work: its name and how many times.
const WORK: &str = "HTTPLB_BENCH_WORK";

fn main() {
    if let Ok(work) = env::var(WORK) {
        let (name, times) = work.split_once('=').expect("NAME=TIMES");
        return pieces::run(name, times.parse().expect("a number"));
    }
    let (options, wanted): (Vec<String>, Vec<String>) =
        env::args().skip(1).partition(|argument| argument.starts_with("--"));
    if !options.iter().any(|option| option == "--bench") {
        return; // `cargo test --all-targets` comes here as well
    }
    let is_wanted = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|part| name.contains(&part.to_lowercase()))
    };
    println!("{:>12}  user-space instructions for", "");
    for name in pieces::names().filter(|name| is_wanted(name)) {
        show(name, 1000, |times| instructions_of_piece(name, times));
    }
    for load in relayed::LOADS.iter().filter(|load| is_wanted(load.name)) {
        show(load.name, load.times, |times| load.instructions(times));
    }
}

fn show(name: &str, times: u64, instructions: impl Fn(u64) -> u64) {
    let one = (instructions(2 * times) - instructions(times)) as f64 / times as f64;
    println!("{one:>12.0}  {name}");
}

fn instructions_of_piece(name: &str, times: u64) -> u64 {
    let output = Command::new(CALLGRIND.name)
        .args(CALLGRIND.options)
        .arg(env::current_exe().expect("this program's path"))
        .env(WORK, format!("{name}={times}"))
        .output()
        .unwrap_or_else(|error| panic!("valgrind: {error} (apt-get install valgrind)"));
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    collected(&report)
}

/// The last line of callgrind's report.
fn collected(report: &str) -> u64 {
    let count = report.split("Collected :").nth(1).and_then(|rest| rest.split_whitespace().next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in {report}"))
}
