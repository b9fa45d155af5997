//! What becomes of clients when the worker is held up: by a busy machine, or by the share of CPU
//! that its container may have.

mod common;
#[path = "costs/watched.rs"]
mod watched;

use common::{Backend, Client, json};
use watched::{Tool, Watched};

/// Each client is held up for longer than any of the short timers, as it is first watched.
const SLOW_WATCHING: Tool = Tool {
    name: "strace",
    package: "strace",
    report_option: "--output=",
    options: &["-D", "-f", "--trace=epoll_ctl", "--inject=epoll_ctl:delay_exit=200000"],
};

#[test]
fn a_client_that_the_worker_was_slow_to_watch_gets_its_answer() {
    let backend = Backend::named("one");
    let mut program = Watched::start(&SLOW_WATCHING, &[&backend], json!({}));
    let mut client = Client::connect(program.address);
    assert_eq!(client.get("/").text(), "one");
    assert_eq!(client.get("/").text(), "one");
    drop(client);
    let trace = program.report("+++ exited");
    assert!(trace.contains("DELAYED"), "it was not held up: {trace}");
}
