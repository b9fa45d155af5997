//! Scripts of `packaging/examples`, each alone: what they do where the others are not well. `packaging/fleet` plays them
//! together.

use crate::common::peers::Folder;
use socket2::SockRef;
use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// A service that stops resets who asks it: the script goes on, and sees when it is back.
#[test]
fn bird_health_outlives_a_service_that_resets_it() {
    let folder = Folder::new("bird");
    let birdc = folder.path().join("birdc");
    fs::write(&birdc, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&birdc, fs::Permissions::from_mode(0o755)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            if number < 20 {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                continue;
            }
            let mut stream = stream;
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let path = format!("{}:{}", folder.path().display(), env::var("PATH").unwrap());
    let mut script = Command::new("packaging/examples/bird-health")
        .arg(port.to_string())
        .env("PATH", path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(script.stdout.take().unwrap()).lines();
    let said: Vec<String> = lines.map_while(Result::ok).take(2).collect();
    let ended = script.try_wait().unwrap();
    script.kill().unwrap();
    script.wait().unwrap();
    let wanted = ["disable", "enable"].map(|word| format!("httplb on port {port}: {word}"));
    assert_eq!((said, ended), (wanted.to_vec(), None));
}
