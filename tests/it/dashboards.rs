//! The dashboard and the alerts for Prometheus, asked of a real one that scrapes a service under load: no panel
//! is empty, none is in error.

use crate::common::{
    Backend, Program, Traffic, Value, eventually, json,
    peers::{Folder, tool},
    servers,
    stored::Shelf,
    until,
};
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples").join(name)
}

/// A Prometheus that scrapes one service each second.
struct Prometheus {
    address: SocketAddr,
    process: Child,
    _folder: Folder,
}

impl Prometheus {
    fn start(service: SocketAddr) -> Prometheus {
        let address = Backend::absent().address;
        let folder = Folder::new(&format!("prometheus-{}", address.port()));
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\n\
             scrape_configs: [{{job_name: httplb, static_configs: [{{targets: ['{service}']}}]}}]\n",
            example("httplb.rules.yml").display()
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let process = Command::new(tool("prometheus", "prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus");
        Prometheus { address, process, _folder: folder }
    }

    /// What is at a path of its API; `None` while it is not there.
    fn get(&self, path: &str, query: &str) -> Option<Value> {
        let mut command = Command::new(tool("curl", "curl"));
        command.args(["--silent", "--get", &format!("http://{}{path}", self.address)]);
        if !query.is_empty() {
            command.arg("--data-urlencode").arg(format!("query={query}"));
        }
        serde_json::from_slice(&command.output().expect("curl").stdout).ok()
    }

    /// The values of an expression now. Fails with what is wrong with it.
    fn values(&self, expression: &str) -> Result<Vec<f64>, String> {
        let answer = self.get("/api/v1/query", expression).ok_or("no answer")?;
        if answer["status"] != "success" {
            return Err(format!("{}", answer["error"]));
        }
        let result = answer["data"]["result"].as_array().ok_or("no vector")?;
        let value = |sample: &Value| sample["value"][1].as_str()?.parse::<f64>().ok();
        Ok(result.iter().filter_map(value).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every expression of the dashboard, with the title of its panel, for a Prometheus that scrapes each second.
fn panels() -> Vec<(String, String)> {
    let text = fs::read_to_string(example("grafana-dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| {
            (title.to_owned(), target["expr"].as_str().expect("an expression").to_owned())
        })
    });
    let filled = |text: String| {
        text.replace("$__rate_interval", "15s").replace("$instance", ".*").replace("$pool", ".*")
    };
    targets.map(|(title, expression)| (title, filled(expression))).collect()
}

#[test]
fn no_panel_is_empty_and_no_expression_is_wrong() {
    let (first, second) = (crate::common::traffic::mirror(), crate::common::traffic::mirror());
    let shelf = Shelf::new();
    let mut config = shelf.config(&[&first, &second]);
    config["pools"] = json!({"spare": {"backend_servers": servers(&[&second])}});
    config["health_check"] = json!({"path": "/", "interval": "200ms", "status": ["2xx", "4xx"]});
    let program = Program::operated(config);
    let prometheus = Prometheus::start(program.status_address());
    until("Prometheus is ready", || prometheus.values("up").is_ok_and(|values| values == [1.0]));
    let traffic = Traffic::at(program.address, 4);
    traffic.wait_for(100);

    let panels = panels();
    assert!(panels.len() >= 35, "only {} expressions were found", panels.len());
    for (title, expression) in &panels {
        // Of what had no request there is no time: that one has no line.
        let is_number = |values: &Vec<f64>| values.iter().any(|value| value.is_finite());
        eventually(&format!("\"{title}\" shows something: {expression}"), || {
            let values = prometheus
                .values(expression)
                .unwrap_or_else(|why| panic!("{title}: {expression}: {why}"));
            is_number(&values).then_some(())
        });
    }
    // What is under load shows the load.
    let moved: BTreeSet<&str> = panels
        .iter()
        .filter(|(_, expression)| {
            prometheus
                .values(expression)
                .is_ok_and(|values| values.iter().any(|value| *value > 0.0))
        })
        .map(|(title, _)| title.as_str())
        .collect();
    for title in [
        "Responses a second by class",
        "Time of a request",
        "Client connections",
        "Requests a second",
        "State",
    ] {
        assert!(moved.contains(title), "{title} is 0 under load, of all: {moved:?}");
    }
    traffic.end();

    // The rules are evaluated by the same Prometheus, of a service that is well.
    let rules = eventually("the rules are evaluated", || {
        let answer = prometheus.get("/api/v1/rules", "")?;
        let groups = answer["data"]["groups"].as_array()?.clone();
        let rules: Vec<Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect();
        let is_evaluated = |rule: &Value| rule["health"] != "unknown";
        (!rules.is_empty() && rules.iter().all(is_evaluated)).then_some(rules)
    });
    assert!(rules.len() >= 19, "{}", rules.len());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert!(rule["type"] != "alerting" || rule["state"] != "firing", "{rule}");
    }
}

#[test]
fn every_alert_fires_when_it_must_and_not_before() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/rules.test.yml");
    let output = Command::new(tool("promtool", "prometheus"))
        .args(["test", "rules"])
        .arg(&tests)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    // None is without a test.
    let rules = fs::read_to_string(example("httplb.rules.yml")).unwrap();
    let tests = fs::read_to_string(tests).unwrap();
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 15);
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert}");
    }
}

#[test]
fn goaccess_reads_the_access_log() {
    let backend = Backend::named("a");
    let program = Program::logging(json!({"backend_servers": servers(&[&backend])}));
    for target in ["/one", "/two", "/two?x=1"] {
        program.get(target);
    }
    program.log_lines(3);
    let report = program.folder.join("report.json");
    let output = Command::new(tool("goaccess", "goaccess"))
        .arg(program.log_path())
        .arg("-p")
        .arg(example("goaccess.conf"))
        .args(["--no-global-config", "-o"])
        .arg(&report)
        .stdin(Stdio::null())
        .output()
        .expect("goaccess");
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&fs::read(&report).expect(&said)).expect("JSON");
    let general = &report["general"];
    assert_eq!(
        (&general["valid_requests"], &general["failed_requests"]),
        (&json!(3), &json!(0)),
        "{report}"
    );
    assert_eq!(report["hosts"]["data"][0]["data"], json!("127.0.0.1"));
    assert_eq!(report["hosts"]["data"][0]["hits"]["count"], json!(3));
}

#[test]
fn other_programs_take_their_examples() {
    let folder = Folder::new("examples");
    let run = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
    };
    run(Command::new(tool("bird", "bird2")).args(["-p", "-c"]).arg(example("bird.conf")));
    let pem = folder.path().join("example.pem");
    let key = folder.path().join("key");
    run(Command::new(tool("openssl", "openssl"))
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a", "-days", "1",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&pem));
    let both = fs::read_to_string(&key).unwrap() + &fs::read_to_string(&pem).unwrap();
    fs::write(&pem, both).unwrap();
    let text = fs::read_to_string(example("hitch.conf")).unwrap();
    let text = text.replace("/etc/hitch/example.pem", pem.to_str().unwrap());
    let is_user = |line: &&str| !line.starts_with("user") && !line.starts_with("group");
    let file = folder.path().join("hitch.conf");
    fs::write(&file, text.lines().filter(is_user).collect::<Vec<_>>().join("\n") + "\n").unwrap();
    run(Command::new(tool("hitch", "hitch")).args(["--test", "--config"]).arg(&file));
}
