//! What the documents show is true: their configurations are valid, their commands do what is said of them. Those of
//! a situation are played in their order, on a machine of their own, by `situations`; all others by one service.

mod machine;
mod reading;
mod situations;

use crate::common::{Value, program::binary};
use machine::{Machine, NOT_RUN, not_run};
use reading::{Block, document, documents, in_repository};
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

/// What the program says of a configuration.
fn tested(text: &str) -> Output {
    let mut command = Command::new(binary());
    command.args(["-t", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn assert_valid(place: &str, block: &str) {
    let is_whole = block.starts_with('{');
    let text = if is_whole { block.to_owned() } else { format!("{{{block}}}") };
    let output = tested(&text);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place}: {text}\n{errors}");
}

#[test]
fn every_configuration_is_valid() {
    let mut count = 0;
    for document in documents() {
        for block in document.blocks() {
            let Block::Json(text) = block else { continue };
            assert_valid(&document.place, &text);
            count += 1;
        }
    }
    assert!(count >= 22, "only {count} were found");
}

/// What stands in the tables for who comes from another proxy: each cell that shows keys.
#[test]
fn every_row_for_who_comes_from_elsewhere_is_valid() {
    let mut count = 0;
    for place in ["docs/FROM-NGINX.md", "docs/FROM-HAPROXY.md"] {
        let document = document(place);
        let rows = document.text.lines().filter(|line| line.starts_with("| "));
        let cells = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit(" | ").next());
        let shown = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        for keys in shown.filter(|shown| shown.starts_with('"') && shown.contains("\": ")) {
            assert_valid(place, keys);
            count += 1;
        }
    }
    assert!(count >= 75, "only {count} were found");
}

/// So that none is taken for a picture that should be tested.
#[test]
fn every_block_says_what_it_is() {
    let known = ["text", "lua", "yaml", "dockerfile", "nginx", "haproxy"];
    for document in documents() {
        for block in document.blocks() {
            let Block::Picture(language) = block else { continue };
            assert!(known.contains(&language.as_str()), "{}: {language:?}", document.place);
        }
    }
}

#[test]
fn the_line_of_the_access_log_has_the_keys_of_the_manual() {
    let manual = fs::read_to_string(in_repository("man/httplb.8")).expect("the manual");
    let section = manual.split(".Sh ACCESS LOG").nth(1).expect("the section");
    let section = section.split("\n.Sh ").next().expect("its end");
    let named: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix(".It Ic "))
        .flat_map(|line| line.split(" , "))
        .collect();
    let mut count = 0;
    for document in documents() {
        for block in document.blocks() {
            let Block::Log(text) = block else { continue };
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).expect("JSON");
                let keys = line.as_object().expect("an object").keys();
                keys.for_each(|key| {
                    assert!(named.contains(&key.as_str()), "{key} not in {named:?}");
                    count += 1;
                });
            }
        }
    }
    assert!(count > 15, "only {count} keys were found");
}

/// A service with what the examples speak of: its backends, a pool, a cache, a log.
const SERVICE: &str = r#"{
  "listen": [":9000"],
  "access_log": "/var/log/httplb/access.log",
  "status_listen": "127.0.0.1:9001",
  "admin": {"socket": "/run/httplb/admin.sock"},
  "cache": {"dir": "/var/cache/httplb", "max_size": "1MiB"},
  "backend_servers": [{"ip": "127.0.0.1", "port": 8001}, {"ip": "10.0.0.1", "port": 80}],
  "pools": {"api": {"backend_servers": [{"ip": "10.0.1.1", "port": 8080}, {"ip": "10.0.0.2", "port": 80}]}},
  "routes": [{"host": "a.example", "pool": "api"}, {"path": "/api", "pool": "api"}]
}"#;

#[test]
fn every_command_is_run_or_said_why_not() {
    let mut left_out = [0; NOT_RUN.len()];
    for document in documents() {
        for command in document.commands() {
            if let Some(row) = not_run(&document.place, &command) {
                left_out[row] += 1;
                // Its options are right, if no more can be said.
                if let Some(options) = command.strip_prefix("httplb -l ") {
                    let options = options.split("  #").next().unwrap_or_default().split(' ');
                    let output = Command::new(binary()).args(["-t", "-l"]).args(options).output();
                    assert!(output.expect("it starts").status.success(), "{command}");
                }
            }
        }
    }
    let rows = NOT_RUN.iter().zip(left_out);
    rows.for_each(|(row, count)| assert!(count > 0, "{row:?} leaves nothing out any more"));

    let Some(mut machine) = Machine::boot() else { return };
    machine.start_apps(&["127.0.0.1:8001", "10.0.0.1:80", "10.0.0.2:80", "10.0.1.1:8080"]);
    machine.write("/etc/httplb/servers.conf", SERVICE);
    // What a log was before it is rotated, and the file that an example changes.
    machine
        .run("systemctl start httplb; ln -s /var/log/httplb/access.log; curl -s localhost:9000/a");
    let generic =
        documents().into_iter().filter(|document| !situations::is_played(&document.place));
    let count: usize = generic.map(|document| machine.play(&document)).sum();
    assert!(count >= 25, "only {count} were run");
}

/// What is said of how one test or one example is run names what there is.
#[test]
fn every_test_and_example_that_is_named_is_there() {
    let mut count = 0;
    let sources = all_sources();
    for document in documents() {
        for command in document.commands() {
            let command = command.split("  #").next().unwrap_or_default();
            let Some((_, cargo)) = command.split_once("cargo ") else { continue };
            let words: Vec<&str> = cargo.split_whitespace().collect();
            let behind = |option: &str| {
                let at = words.iter().position(|word| *word == option)?;
                words.get(at + 1).copied()
            };
            if let Some(example) = behind("--example") {
                let path = in_repository(&format!("examples/{example}.rs"));
                assert!(path.exists(), "{}: {command}", document.place);
                count += 1;
            }
            let names = behind("--").filter(|_| words.first() == Some(&"test"));
            for part in names.unwrap_or_default().split("::").filter(|part| !part.is_empty()) {
                let is_there = |source: &String| {
                    source.contains(&format!("mod {part};"))
                        || source.contains(&format!("mod {part} {{"))
                        || source.contains(&format!("fn {part}"))
                };
                assert!(sources.iter().any(is_there), "{}: {command}: {part}", document.place);
                count += 1;
            }
        }
    }
    assert!(count >= 10, "only {count} were found");
}

fn all_sources() -> Vec<String> {
    fn read(folder: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                read(&path, into);
            } else if path.extension().is_some_and(|end| end == "rs") {
                into.push(fs::read_to_string(&path).expect("a source"));
            }
        }
    }
    let mut sources = Vec::new();
    ["src", "tests"].iter().for_each(|folder| read(&in_repository(folder), &mut sources));
    sources
}
