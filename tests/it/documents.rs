//! What the documents show is true: their configurations are valid, their commands are taken.

use crate::common::{Backend, Program, Value, json, stored::Shelf};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The documents, and the code that they show: the language of each block with its text.
struct Document {
    place: &'static str,
    text: String,
}

const PLACES: [&str; 11] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/ARCHITECTURE.md",
    "docs/CACHE.md",
    "docs/GLOSSARY.md",
    "docs/HTTP.md",
    "docs/MEASUREMENTS.md",
    "docs/RELEASING.md",
    "docs/UNIX.md",
    "man/httplb.8",
    "man/servers.conf.5",
];

fn in_repository(place: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(place)
}

fn documents() -> impl Iterator<Item = Document> {
    PLACES.into_iter().map(|place| Document {
        place,
        text: fs::read_to_string(in_repository(place)).expect("a document"),
    })
}

impl Document {
    /// The blocks of code in this language.
    fn blocks(&self, language: &str) -> Vec<&str> {
        let begin = format!("```{language}\n");
        let blocks = self.text.split(begin.as_str()).skip(1);
        blocks.map(|rest| rest.split("```").next().unwrap_or_default()).collect()
    }

    /// The lines that a shell is to read, without their comments.
    fn commands(&self) -> Vec<String> {
        let of_manual = self.text.lines().filter_map(|line| line.strip_prefix(".Dl "));
        let indented = self.text.lines().filter_map(|line| line.strip_prefix("    "));
        let lines = self.blocks("sh").into_iter().flat_map(str::lines);
        let indented = indented.filter(|_| self.place.ends_with(".md"));
        let lines = lines.chain(of_manual).chain(indented).map(str::trim);
        lines.map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned()).collect()
    }
}

fn shell(command: &str, input: &str) -> Output {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    // It may end without reading its input; then the pipe breaks, which is no fault.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn assert_success(output: &Output, what: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}\n{}{errors}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn every_configuration_is_valid() {
    let mut count = 0;
    for document in documents() {
        for block in document.blocks("json") {
            let is_whole = block.starts_with('{');
            let text = if is_whole { block.to_owned() } else { format!("{{{block}}}") };
            let output = shell(&format!("{} -t -", env!("CARGO_BIN_EXE_httplb")), &text);
            assert_success(&output, &format!("{}: {text}", document.place));
            count += 1;
        }
    }
    assert!(count >= 9, "only {count} were found");
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
    let readme = documents().next().expect("the README");
    let lines = readme.blocks("jsonl");
    let line: Value = serde_json::from_str(lines[0]).expect("JSON");
    let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
    assert!(keys.len() > 15, "{keys:?}");
    keys.iter().for_each(|key| assert!(named.contains(&key.as_str()), "{key} not in {named:?}"));
}

/// Commands that begin with the program, or with cargo's way to run it: their options are right. What
/// would serve is only tested.
#[test]
fn every_command_line_of_the_program_is_taken() {
    let mut count = 0;
    for document in documents() {
        for command in document.commands() {
            let options = command
                .strip_prefix("httplb ")
                .or_else(|| command.strip_prefix("cargo run --release -- "));
            let Some(options) = options else { continue };
            let options = options.split(" && ").next().unwrap_or_default();
            let file = in_repository("servers.conf").display().to_string();
            let mut options = options.replace("/etc/httplb/servers.conf", &file);
            let ends = ["-t", "-T", "--explain"].iter().any(|one| options.starts_with(one));
            if !ends {
                options.insert_str(0, "-t ");
            }
            if options == "-t" {
                options = format!("-t {file}");
            }
            let run = format!("{} {options}", env!("CARGO_BIN_EXE_httplb"));
            assert_success(&shell(&run, ""), &format!("{}: {command}", document.place));
            count += 1;
        }
    }
    assert!(count >= 5, "only {count} were found");
}

/// What is shown of the admin API is asked of a service that has the backends of the examples.
#[test]
fn every_request_to_the_admin_api_is_answered() {
    let backend = Backend::named("a");
    let shelf = Shelf::new();
    let mut config = shelf.config(&[&backend]);
    let servers = config["backend_servers"].as_array_mut().expect("a list");
    servers.push(json!({"ip": "10.0.0.1", "port": 80}));
    let program = Program::operated(config);
    let socket = program.folder.join("admin.sock").display().to_string();
    let mut count = 0;
    for document in documents() {
        for command in document.commands() {
            let shown = "curl --unix-socket /run/httplb/admin.sock ";
            let request = command.strip_prefix("lb ").or_else(|| command.strip_prefix(shown));
            let Some(request) = request else { continue };
            let request = request.split(" | ").next().unwrap_or_default();
            let run = format!("curl -sS --fail-with-body --unix-socket {socket} {request}");
            assert_success(&shell(&run, ""), &format!("{}: {command}", document.place));
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} were found");
}

/// What is said of how one test or one example is run names what there is.
#[test]
fn every_test_and_example_that_is_named_is_there() {
    let mut count = 0;
    let sources = all_sources();
    for document in documents() {
        for command in document.commands() {
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
