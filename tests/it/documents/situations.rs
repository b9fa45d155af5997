//! Documents for situations, each played from its first line to its last on a machine of its own.

use super::{document, machine::Machine, reading::shows};
use crate::common::peers::tool;

/// Those with a test below.
const PLAYED: [&str; 7] = [
    "docs/CDN.md",
    "docs/DOCKER.md",
    "docs/INCIDENTS.md",
    "docs/MONITORING.md",
    "docs/NODE.md",
    "docs/TLS.md",
    "docs/UPGRADING.md",
];

pub fn is_played(place: &str) -> bool {
    PLAYED.contains(&place)
}

/// A machine with the package as it is installed, whose backends serve; or none, where there can be none.
fn installed() -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.start_apps(&["127.0.0.1:8001", "127.0.0.1:8002", "127.0.0.1:8003"]);
    machine.run("systemctl start httplb");
    Some(machine)
}

/// The same with two more, at the addresses of the documents.
fn with_servers() -> Option<Machine> {
    let machine = installed()?;
    machine.start_apps(&["10.0.0.1:8080", "10.0.0.2:8080"]);
    Some(machine)
}

#[test]
fn upgrading() {
    let Some(mut machine) = installed() else { return };
    machine.play(&document("docs/UPGRADING.md"));
}

#[test]
fn monitoring() {
    for (name, package) in [("promtool", "prometheus"), ("goaccess", "goaccess"), ("jq", "jq")] {
        tool(name, package);
    }
    let Some(mut machine) = installed() else { return };
    machine.run("curl -s http://127.0.0.1:9000/[1-3]");
    machine.run("until grep -q /3 /var/log/httplb/access.log; do sleep 0.05; done");
    machine.play(&document("docs/MONITORING.md"));
}

#[test]
fn behind_a_cdn() {
    let Some(mut machine) = with_servers() else { return };
    machine.play(&document("docs/CDN.md"));
}

#[test]
fn a_node_application() {
    tool("node", "nodejs");
    let Some(mut machine) = installed() else { return };
    machine.play(&document("docs/NODE.md"));
}

#[test]
fn tls() {
    for (name, package) in [("hitch", "hitch"), ("stunnel4", "stunnel4"), ("haproxy", "haproxy")] {
        tool(name, package);
    }
    let Some(mut machine) = with_servers() else { return };
    machine.play(&document("docs/TLS.md"));
    // By each of the three the backends know who the client is; HAProxy is there now.
    for (before, now) in [("haproxy", "haproxy"), ("haproxy", "stunnel4"), ("stunnel4", "hitch")] {
        machine.run(&format!("systemctl stop {before}; systemctl start {now}"));
        let seen = machine.run("curl -sk --interface 203.0.113.9 https://10.0.0.3/");
        let wanted = "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: https\n";
        shows(&seen, wanted).unwrap_or_else(|why| panic!("{now}: {why}"));
    }
}

#[test]
fn docker() {
    tool("yq", "yq");
    let Some(mut machine) = with_servers() else { return };
    machine.play(&document("docs/DOCKER.md"));
    machine.run("systemctl stop httplb; cp conf/servers.conf /etc/httplb/; chmod 1777 /run/httplb");
    machine
        .run("echo 10.0.0.1 app >> /etc/hosts; chown nobody /var/lib/httplb; rm -f /run/httplb/*");
    let command = machine.run("yq -r '.services.lb.command | join(\" \")' compose.yaml");
    let port = machine.run("yq -r '.services.lb.ports[0] | split(\":\")[-1]' compose.yaml");
    machine.run(&format!(
        "STATE_DIRECTORY=/var/lib/httplb setpriv --reuid nobody --clear-groups --no-new-privs httplb {} &",
        command.trim()
    ));
    let line = format!("curl -s --retry 9 --retry-connrefused http://localhost:{}/", port.trim());
    shows(&machine.run(&line), "10.0.0.1:8080\n…\n").expect("the backend called app");
}

/// A service with two backends, and checks by which both are known at once.
const SERVICE: &str = r#"{
  "listen": [":80"],
  "access_log": "/var/log/httplb/access.log",
  "status_listen": "127.0.0.1:9001",
  "admin": {"socket": "/run/httplb/admin.sock"},
  "health_check": {"path": "/", "interval": "300ms"},
  "backend_servers": [{"ip": "10.0.0.1", "port": 8080}, {"ip": "10.0.0.2", "port": 8080}]
}"#;

fn configure(machine: &Machine, config: &str) {
    machine.write("/etc/httplb/servers.conf", config);
    machine.run("systemctl reload httplb");
}

/// Waits until so many backends are up. The machine itself does: to enter it costs several processes.
fn wait_for_up(machine: &Machine, count: usize) {
    let is_so = format!("httplb ctl pools | grep -q '^default: {count} of 2 up'");
    machine.run(&format!("until {is_so}; do sleep 0.05; done"));
}

/// Does what a part of the document speaks of.
fn break_it(machine: &Machine, heading: &str) {
    let [first, second] = ["10.0.0.1:8080", "10.0.0.2:8080"];
    match heading {
        "All requests get 503" => {
            machine.set_app(first, "404");
            machine.run(&format!("kill $(cat /run/app/pids/{second})"));
            wait_for_up(machine, 0);
        }
        "A backend is down and should not be" => {
            machine.set_app(first, "404");
            wait_for_up(machine, 1);
        }
        "Requests get 502 or 504" => {
            configure(machine, &SERVICE.replace("300ms", "1h"));
            machine.set_app(first, "reset");
            machine
                .run("for n in 1 2 3 4; do curl -s -X POST http://localhost/pay >/dev/null; done");
        }
        "It is slow" => {
            machine.set_app(second, "slow 0.3");
            machine.run("curl -s http://localhost/[1-8]");
        }
        "Connections are full" => {
            let full = SERVICE.replace("\"listen\"", "\"max_connections\": 4, \"listen\"");
            configure(machine, &full.replace("300ms", "1h"));
            machine.set_app(first, "hang");
            machine.set_app(second, "hang");
            machine.run("for n in 1 2 3 4 5 6; do curl -s http://localhost/ >/dev/null & done");
        }
        "A reload did not take" => {
            let wrong = SERVICE.replace("access_log", "acess_log");
            machine.write("/etc/httplb/servers.conf", &wrong);
        }
        "What the numbers are" => (),
        other => panic!("{other:?} is a part of which nothing is broken here"),
    }
}

/// All is well again, whatever was broken.
fn mend(machine: &Machine) {
    machine.write("/etc/httplb/servers.conf", SERVICE);
    machine.run(
        "for app in 10.0.0.1:8080 10.0.0.2:8080; do rm -f /run/app/$app; \
         kill -0 $(cat /run/app/pids/$app) 2>/dev/null || app $app; httplb ctl ready $app; done; \
         systemctl reload httplb",
    );
    wait_for_up(machine, 2);
}

#[test]
fn incidents() {
    let Some(mut machine) = with_servers() else { return };
    let incidents = document("docs/INCIDENTS.md");
    configure(&machine, SERVICE);
    let mut count = machine.play(&incidents.introduction());
    for heading in incidents.headings() {
        break_it(&machine, heading);
        count += machine.play(&incidents.section(heading));
        mend(&machine);
    }
    assert!(count >= 20, "only {count} commands were run");
}
