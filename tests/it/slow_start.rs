//! A backend that came back gets a share that grows.

use crate::common::{Backend, Program, json, servers, until};

/// A program over two backends, of which the second was found down and is back.
fn program_with_one_back(slow_start: &str) -> ([Backend; 2], Program) {
    let mut backends = [Backend::named("one"), Backend::absent()];
    let program = Program::with(json!({
        "backend_servers": servers(&backends.each_ref()),
        "slow_start": slow_start,
        "max_fails": 1,
    }));
    let mut client = program.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "one");
    }
    program.wait_for_message("is down");
    backends[1].start_again();
    program.wait_for_message("is up");
    (backends, program)
}

#[test]
fn a_backend_that_is_back_has_a_tenth_of_its_share_at_first() {
    let (backends, program) = program_with_one_back("10m");
    let mut client = program.client();
    for _ in 0..22 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(backends[1].request_count(), 2, "of 22, where the other has ten tenths");
}

#[test]
fn a_backend_that_is_back_has_its_share_in_the_end() {
    let (backends, program) = program_with_one_back("900ms");
    let mut client = program.client();
    until("half of the requests go to each", || {
        let before = backends[1].request_count();
        (0..20).for_each(|_| assert_eq!(client.get("/").status, 200));
        backends[1].request_count() - before == 10
    });
}
