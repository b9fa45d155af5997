//! The real program under callgrind, between a client and backends on this machine.

use crate::common::{Answer, Backend, Client, Value, json, noise};
use crate::watched::Watched;
use crate::{CALLGRIND, collected};
use std::net::SocketAddr;

/// Work for the whole program.
pub struct Load {
    pub name: &'static str,
    /// How many requests a run has; the other run has double.
    pub times: u64,
    config: fn() -> Value,
    answer: fn() -> Answer,
    work: fn(SocketAddr, u64),
}

const REQUEST: &str = "GET /index.html HTTP/1.1\r\nHost: localhost:9000\r\n\
    User-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

/// So many that it does not show what the first ones cost more: each of them may be one of the slowest so
/// far, which the diary keeps.
const MANY: u64 = 4000;

const SMALL: Load = Load {
    name: "a relayed request with 1 KiB",
    times: MANY,
    config: || json!({}),
    answer: || Answer::text(noise(1 << 10, 1)),
    work: one_by_one,
};

pub const LOADS: [Load; 9] = [
    SMALL,
    Load {
        name: "a relayed request with a line in the log",
        config: || json!({ "access_log": "on" }),
        ..SMALL
    },
    Load { name: "a relayed request, one of 16 pipelined", work: pipelined, ..SMALL },
    Load {
        name: "a relayed request on a new connection",
        times: 1000,
        work: each_on_its_own,
        ..SMALL
    },
    Load {
        name: "a relayed request by least connections",
        config: || json!({ "balance": "least_connections" }),
        ..SMALL
    },
    Load {
        name: "a relayed request, max_connections auto",
        config: || json!({ "each_backend": { "max_connections": "auto" } }),
        ..SMALL
    },
    Load {
        name: "a relayed request with 16 KiB",
        answer: || Answer::text(noise(16 << 10, 1)),
        ..SMALL
    },
    Load {
        name: "a relayed request with 256 KiB, spliced",
        times: 100,
        answer: || Answer::text(noise(256 << 10, 1)),
        ..SMALL
    },
    Load {
        name: "a relayed request with 64 KiB in chunks of 4 KiB",
        times: 100,
        answer: || Answer::chunked(&noise(64 << 10, 1), 4096),
        ..SMALL
    },
];

impl Load {
    /// All instructions of a life of the program with so many requests.
    pub fn instructions(&self, times: u64) -> u64 {
        let answer = (self.answer)();
        let backends = [(); 3].map(|()| Backend::always(answer.clone()));
        let mut program = Watched::start(&CALLGRIND, &backends.each_ref(), (self.config)());
        (self.work)(program.address, times);
        collected(&program.report("Collected :"))
    }
}

fn expect_200(client: &mut Client) {
    assert_eq!(client.response().status, 200);
}

fn one_by_one(address: SocketAddr, times: u64) {
    let mut client = Client::connect(address);
    for _ in 0..times {
        client.send(REQUEST);
        expect_200(&mut client);
    }
}

fn pipelined(address: SocketAddr, times: u64) {
    let mut client = Client::connect(address);
    for _ in 0..times / 16 {
        client.send(REQUEST.repeat(16));
        (0..16).for_each(|_| expect_200(&mut client));
    }
}

fn each_on_its_own(address: SocketAddr, times: u64) {
    for _ in 0..times {
        one_by_one(address, 1);
    }
}
