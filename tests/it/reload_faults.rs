//! What may go wrong in a reload once the file and the program were found to be good, and what
//! happens at its margins: nothing of it may be lost either.

use crate::common::{
    Backend, Client, Program, Traffic, json, process,
    program::{binary, plain},
    reload::DONE,
    servers,
    traffic::mirror,
    until,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, Signal};
use std::process::{Child, Stdio};
use std::{fs, net::TcpStream};

#[test]
fn what_was_opened_for_a_reload_that_is_refused_late_is_closed_again() {
    let backend = Backend::named("a");
    let mut program =
        Program::with(json!({ "workers": 2, "backend_servers": servers(&[&backend]) }));
    let [extra, status] = [Backend::absent().address, Backend::absent().address];
    let before = process::descriptor_count(program.pid());
    let stays = program.address.to_string();
    let good = program.config.clone();
    program.configure(|config| {
        config["listen"] = json!([stays, extra.to_string()]);
        config["status_listen"] = json!(status.to_string());
        config["access_log"] = json!("/nonexistent/folder/access.log");
    });
    let why = program.fail_to_reload();
    assert!(why.contains("access_log /nonexistent/folder/access.log: "), "{why}");
    // Whoever came there would wait for ever.
    for address in [extra, status] {
        assert!(TcpStream::connect(address).is_err(), "{address} is open");
    }
    assert_eq!(process::descriptor_count(program.pid()), before);
    assert_eq!(program.get("/").text(), "a");
    program.configure(|config| *config = good);
    program.reload();
    assert_eq!(program.get("/").text(), "a");
}

#[test]
fn a_token_is_asked_for_after_a_reload_that_is_refused_late() {
    let backend = Backend::named("a");
    let address = Backend::absent().address;
    let mut program = Program::with(json!({ "backend_servers": servers(&[&backend]) }));
    let token = program.folder.join("token");
    fs::write(&token, "secret\n").unwrap();
    program.configure(|config| {
        config["admin"] = json!({ "listen": address.to_string(), "token_file": token });
    });
    program.reload();
    let ask = |given: &str| {
        let mut client = Client::connect(address);
        client.send(format!(
            "GET /v1/status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {given}\r\nConnection: close\r\n\r\n"
        ));
        client.response().status
    };
    assert_eq!((ask("secret"), ask("other")), (200, 401));
    program.configure(|config| {
        config["admin"] = json!({});
        config["access_log"] = json!("/nonexistent/folder/access.log");
    });
    program.fail_to_reload();
    // The next control process has what the master knows.
    let control = program.control();
    process::kill(control);
    until("another control process", || program.control() != control);
    assert_eq!((ask("secret"), ask("other")), (200, 401));
}

/// The image before has left a descriptor that nobody knows: it must not stay open for ever.
#[test]
fn what_was_left_open_and_no_record_names_is_closed() {
    let backend = Backend::named("a");
    let program = Program::with(json!({ "backend_servers": servers(&[&backend]) }));
    let file = |name: &str| program.folder.join(name);
    fs::write(file("left"), "").unwrap();
    let record =
        json!({ "format": 1, "started": 1, "waker": 7, "listeners": [], "generations": [] });
    fs::write(file("record"), record.to_string()).unwrap();
    let script = "exec 7<&0 0</dev/null 8<left 9<record; \
                  HTTPLB_HANDOVER=9 exec \"$0\" -c servers.conf";
    let waker = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
    let mut command = plain("bash");
    command.args(["-c", script]).arg(binary()).current_dir(&program.folder);
    command.stdin(waker).stdout(Stdio::null());
    let image = command.stderr(fs::File::create(file("messages")).unwrap()).spawn().unwrap();
    let image = Image(image);
    until("it serves", || fs::read_to_string(file("messages")).unwrap().contains("httplb: ready"));
    let files = process::open_files(Pid::from_child(&image.0));
    let is_open = |name: &str| files.iter().any(|file| file.ends_with(name));
    assert!(is_open("/messages") && !is_open("/left") && !is_open("/record"), "{files:?}");
}

/// A program that is not started as others are.
struct Image(Child);

impl Drop for Image {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reload_has_descriptors_for_all_sockets_twice() {
    let backend = Backend::named("a");
    let listen: Vec<String> = (0..10).map(|_| String::from("127.0.0.1:0")).collect();
    let config = json!({
        "workers": 16,
        "listen": listen,
        "max_connections": 10,
        "backend_servers": servers(&[&backend]),
    });
    let program = Program::by(config, |_| {
        let mut command = plain("sh");
        command.args(["-c", "ulimit -S -n 300; exec \"$@\"", "sh"]);
        command.arg(crate::common::program::binary());
        command
    });
    program.reload();
    program.reload();
    assert_eq!(program.get("/").text(), "a");
}

#[test]
fn what_operators_say_during_a_reload_is_not_forgotten() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let program = Program::operated(
        json!({ "workers": 4, "backend_servers": servers(&backends.each_ref()) }),
    );
    let path = |address| format!("/v1/pools/default/backends/{address}");
    let first = backends[0].address;
    let registered = "127.0.0.9:9".parse().unwrap();
    for round in 0..8 {
        let before = program.count_messages(DONE);
        program.signal(Signal::HUP);
        let mut states = ["drain", "maint", "ready"].into_iter().cycle().skip(round % 3);
        let mut said = "";
        let mut is_there = program.backend("default", registered).is_some();
        while program.count_messages(DONE) == before {
            said = states.next().unwrap();
            let body = format!(r#"{{"state": "{said}"}}"#);
            let patched = program.ask(&format!("PATCH {}", path(first)), &body);
            assert_eq!(patched.status, 200, "{}", patched.body);
            is_there = !is_there;
            let method = if is_there { "PUT" } else { "DELETE" };
            let reply = program.ask(&format!("{method} {}", path(registered)), "");
            assert!([200, 201, 202].contains(&reply.status), "{method}: {}", reply.body);
        }
        until("all is as it was said", || {
            let admin = program.backend("default", first).expect("it")["admin"].clone();
            admin == said && program.backend("default", registered).is_some() == is_there
        });
    }
}

#[test]
fn from_all_addresses_to_those_of_ipv4_and_back_nobody_is_lost() {
    let backend = mirror();
    let mut program =
        Program::with(json!({ "workers": 2, "backend_servers": servers(&[&backend]) }));
    let port = program.address.port();
    let traffic = Traffic::at(program.address, 4);
    for listen in ["[::]", "0.0.0.0", "[::]", "127.0.0.1", "0.0.0.0"] {
        program.configure(|config| config["listen"] = json!([format!("{listen}:{port}")]));
        program.reload();
        traffic.wait_for(100);
    }
    traffic.end();
}
