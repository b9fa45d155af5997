//! What the documents show: blocks of code and commands, of Markdown and of manuals.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub struct Document {
    /// Its path in the repository.
    pub place: String,
    pub text: String,
}

/// A piece of a document that a test can hold against the program.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// A configuration, or keys of one.
    Json(String),
    /// Lines of the access log.
    Log(String),
    /// What a file at this path is to have in it: the line before names it, "`/etc/httplb/servers.conf`:".
    File(String, String),
    /// What is typed into a shell.
    Commands(Vec<String>),
    /// What the command right before it prints.
    Shown(String),
    /// Only for the eye, and its language.
    Picture(String),
}

pub fn in_repository(place: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(place)
}

/// All that there are: the README, CONTRIBUTING, those in docs, and the manuals.
pub fn documents() -> Vec<Document> {
    let mut places = vec![String::from("README.md"), String::from("CONTRIBUTING.md")];
    for folder in ["docs", "man"] {
        let entries = fs::read_dir(in_repository(folder)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        places.extend(names.map(|name| format!("{folder}/{}", name.to_string_lossy())));
    }
    places.sort();
    places.iter().map(|place| document(place)).collect()
}

pub fn document(place: &str) -> Document {
    let text = fs::read_to_string(in_repository(place)).expect("a document");
    Document { place: place.to_owned(), text }
}

impl Document {
    pub fn is_manual(&self) -> bool {
        !self.place.ends_with(".md")
    }

    /// Its part under this heading, up to the next one of the same rank.
    pub fn section(&self, heading: &str) -> Document {
        let all = self.headings();
        assert!(all.contains(&heading), "{} has no part {heading:?}: {all:?}", self.place);
        let from = self.text.find(&format!("\n## {heading}\n")).expect("the heading") + 1;
        let rest = &self.text[from..];
        let text = rest.find("\n## ").map_or(rest, |end| &rest[..end]);
        Document { place: self.place.clone(), text: text.to_owned() }
    }

    /// What stands before its parts.
    pub fn introduction(&self) -> Document {
        let text = self.text.split("\n## ").next().unwrap_or_default();
        Document { place: self.place.clone(), text: text.to_owned() }
    }

    pub fn headings(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("## ")).collect()
    }

    pub fn blocks(&self) -> Vec<Block> {
        if self.is_manual() { manual_blocks(&self.text) } else { markdown_blocks(&self.text) }
    }

    pub fn commands(&self) -> Vec<String> {
        let commands = |block| match block {
            Block::Commands(commands) => commands,
            _ => Vec::new(),
        };
        self.blocks().into_iter().flat_map(commands).collect()
    }
}

fn markdown_blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    let mut before = "";
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let Some(language) = line.trim_start().strip_prefix("```") else {
            before = if line.is_empty() { before } else { line };
            continue;
        };
        let body = lines.by_ref().take_while(|line| line.trim_start() != "```");
        let body: Vec<&str> = body.map(|line| line.get(indent..).unwrap_or_default()).collect();
        blocks.push(fenced(language, before, &body));
        before = "";
    }
    blocks
}

/// The path at the end of a line such as "In `/etc/hitch/hitch.conf`:".
fn file_named_by(line: &str) -> Option<&str> {
    let path = line.strip_suffix("`:")?.rsplit('`').next()?;
    (path.starts_with('/') || path.contains('.')).then_some(path)
}

/// What stands between fences; `before` is the last line of prose since the block before it.
fn fenced(language: &str, before: &str, body: &[&str]) -> Block {
    let (file, is_joined) = (file_named_by(before), before.is_empty());
    let text = body.join("\n") + "\n";
    match (language, file) {
        ("sh", _) => Block::Commands(commands_of(body)),
        ("text", _) if is_joined => Block::Shown(text),
        ("text", _) => Block::Picture(String::from("text")),
        (_, Some(path)) => Block::File(path.to_owned(), text),
        ("json", None) => Block::Json(text),
        ("jsonl", None) => Block::Log(text),
        (_, None) => Block::Picture(language.to_owned()),
    }
}

/// One a line; a line that ends with a backslash goes on in the next one.
fn commands_of(lines: &[&str]) -> Vec<String> {
    let whole = lines.join("\n").replace("\\\n", " ");
    let is_command = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    whole.lines().filter(is_command).map(|line| line.trim().to_owned()).collect()
}

fn manual_blocks(text: &str) -> Vec<Block> {
    let plain = |line: &str| line.replace("\\(dq", "\"").replace("\\e", "\\").replace("\\&", "");
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(command) = line.strip_prefix(".Dl ") {
            blocks.push(Block::Commands(vec![plain(command)]));
        } else if line.starts_with(".Bd -literal") {
            let body = lines.by_ref().take_while(|line| *line != ".Ed");
            let body = body.map(plain).collect::<Vec<_>>().join("\n") + "\n";
            blocks.extend(displayed(body));
        }
    }
    blocks
}

/// What a literal display of a manual is: keys, a command with what it prints, or messages.
fn displayed(body: String) -> Vec<Block> {
    if body.starts_with(['{', '"']) {
        return vec![Block::Json(body)];
    }
    match body.strip_prefix("$ ").and_then(|typed| typed.split_once('\n')) {
        Some((command, shown)) => {
            vec![Block::Commands(vec![command.to_owned()]), Block::Shown(shown.to_owned())]
        }
        None => vec![Block::Picture(String::from("text"))],
    }
}

/// Whether what was printed has the lines that a document shows, in their order. Numbers may differ; `…`
/// stands for anything.
pub fn shows(printed: &str, shown: &str) -> Result<(), String> {
    let mut printed_lines = printed.lines();
    let says_something = |line: &&str| !["", "…", "..."].contains(&line.trim());
    for line in shown.lines().filter(says_something) {
        if !printed_lines.any(|printed| is_like(printed, line)) {
            return Err(format!("no line like\n  {line}\nin\n{printed}"));
        }
    }
    Ok(())
}

fn is_like(printed: &str, shown: &str) -> bool {
    let words = |line: &str| line.split_whitespace().map(without_numbers).collect::<Vec<_>>();
    fn fits(printed: &[String], shown: &[String]) -> bool {
        match shown.split_first() {
            None => printed.is_empty(),
            Some((first, rest)) if first == "…" => {
                (0..=printed.len()).any(|skipped| fits(&printed[skipped..], rest))
            }
            Some((first, rest)) => {
                printed.split_first().is_some_and(|(one, more)| one == first && fits(more, rest))
            }
        }
    }
    fits(&words(printed), &words(shown))
}

/// The word with each number as a 0, so that `12.4ms` is like `3ms`; but an address is one word, and only itself.
fn without_numbers(word: &str) -> String {
    if word.matches('.').count() >= 3 {
        return word.to_owned();
    }
    let mut out = String::new();
    for one in word.chars() {
        let is_part = one.is_ascii_digit() || (one == '.' && out.ends_with('0'));
        match is_part {
            true if out.ends_with('0') => (),
            true => out.push('0'),
            false => out.push(one),
        }
    }
    out
}

#[test]
fn blocks_are_found_with_the_files_that_they_are() {
    let text = "a\n```sh\nfirst \\\n  --more\n# no command\nsecond  # why\n```\nIn `/etc/a.conf`:\n\n```nginx\nx;\n```\n\
                  \n   ```json\n   {}\n   ```\n```text\nok 12\n```\n";
    let commands = ["first    --more", "second  # why"].map(str::to_owned).to_vec();
    let wanted = vec![
        Block::Commands(commands),
        Block::File(String::from("/etc/a.conf"), String::from("x;\n")),
        Block::Json(String::from("{}\n")),
        Block::Shown(String::from("ok 12\n")),
    ];
    assert_eq!(markdown_blocks(text), wanted);
    let manual = ".Dl httplb -t\n.Bd -literal\n$ httplb -V\n\\&x\n.Ed\n.Bd -literal -offset indent\n\"via\": \"a\"\n.Ed\n";
    let wanted = vec![
        Block::Commands(vec![String::from("httplb -t")]),
        Block::Commands(vec![String::from("httplb -V")]),
        Block::Shown(String::from("x\n")),
        Block::Json(String::from("\"via\": \"a\"\n")),
    ];
    assert_eq!(manual_blocks(manual), wanted);
}

#[test]
fn what_is_printed_is_compared_without_its_numbers() {
    let printed =
        "default: 3 of 3 up\n10.0.0.1:80  up  0s  12.5\n10.0.0.2:80  down  7s  - why it is\n";
    assert_eq!(shows(printed, "default: 2 of 3 up\n…\n10.0.0.2:80 down 1s … is\n"), Ok(()));
    for wrong in ["default: x of 3 up\n", "10.0.0.2:80 up …\n", "10.0.0.2:80 down 7s\n", "… y\n"]
    {
        assert!(shows(printed, wrong).is_err(), "{wrong}");
    }
}
