//! What becomes of clients when the worker is held up: by a busy machine, or by the share of CPU
//! that its container may have.

use crate::common::{Backend, Client, Gate, Program, json, servers};
use crate::watched::{Tool, Watched};
use rustix::process::Signal;
use std::{thread, time::Duration};

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

#[test]
fn an_answer_and_a_head_that_came_in_time_are_not_late() {
    let gate = Gate::new();
    let backend = Backend::gated(&gate, |_| crate::common::Answer::text("one"));
    let timeouts = json!({ "response": "500ms", "header": "500ms" });
    let program =
        Program::with(json!({ "backend_servers": servers(&[&backend]), "timeouts": timeouts }));
    let (mut asking, mut beginning) = (program.client(), program.client());
    asking.ask("/");
    backend.wait_for_requests(1);
    beginning.send("GET / HTTP/1.1\r\n");
    thread::sleep(Duration::from_millis(100));
    program.signal(Signal::STOP);
    gate.open();
    beginning.send("Host: a\r\n\r\n");
    thread::sleep(Duration::from_millis(700));
    program.signal(Signal::CONT);
    assert_eq!(asking.response().text(), "one");
    assert_eq!(beginning.response().text(), "one");
}
