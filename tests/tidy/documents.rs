//! The documents: what they link to and name is there, and nothing in the repository cites what is not in it.

use std::collections::BTreeSet;

/// A text of the repository, whatever it is written in.
pub struct Text {
    /// Its path from the root of the repository.
    pub place: String,
    pub text: String,
}

/// Folders whose files are named in documents by their paths.
const FOLDERS: [&str; 8] =
    ["src/", "tests/", "docs/", "man/", "packaging/", "benches/", "examples/", "fuzz/"];

/// Made by what the documents tell to run.
const MADE: [&str; 3] = ["fuzz/target/", "fuzz/corpus/", "fuzz/artifacts/"];

/// What is no part of the repository, and means nothing to whoever reads it.
const OUTSIDE: [&str; 4] = ["the contract", "customer", "issue #", "/work/"];

/// The headings of a document, as links name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| title.trim().to_lowercase())
    });
    headings
        .map(|title| {
            let kept = title.chars().filter(|one| one.is_alphanumeric() || " -_".contains(*one));
            kept.map(|one| if one == ' ' { '-' } else { one }).collect()
        })
        .collect()
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// What `path`, written in the file `place`, means from the root of the repository.
fn resolved(place: &str, path: &str) -> String {
    let mut parts: Vec<&str> = place.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => (),
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Checks one text; `texts` are all there are, and `exists` says whether there is a file or folder of this path.
pub fn check_text(text: &Text, texts: &[Text], exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    if text.place.ends_with(".md") {
        check_links(text, texts, exists, &mut faults);
        check_paths(text, exists, &mut faults);
    }
    check_citations(text, texts, exists, &mut faults);
    faults.into_iter().map(|fault| format!("{}: {fault}", text.place)).collect()
}

fn check_links(
    text: &Text,
    texts: &[Text],
    exists: &dyn Fn(&str) -> bool,
    faults: &mut Vec<String>,
) {
    let lines: Vec<&str> = prose(&text.text).collect();
    for link in lines.join("\n").split("](").skip(1) {
        let link = link.split(')').next().unwrap_or_default();
        if link.contains("://") {
            continue;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = match path {
            "" => text.place.clone(),
            path => resolved(&text.place, path),
        };
        if !exists(&target) {
            faults.push(format!("a link leads to {target}, which is not there"));
        } else if !anchor.is_empty() {
            let document = texts.iter().find(|other| other.place == target);
            if !document.is_some_and(|other| anchors(&other.text).contains(anchor)) {
                faults.push(format!("a link leads to {link}, which is no heading"));
            }
        }
    }
}

/// Paths between backquotes, and the first words of commands.
fn check_paths(text: &Text, exists: &dyn Fn(&str) -> bool, faults: &mut Vec<String>) {
    let quoted = text.text.split('`').filter(|part| !part.contains('\n'));
    let commands = text.text.lines().filter_map(|line| line.split_whitespace().next());
    for path in quoted.chain(commands) {
        let is_path = FOLDERS.iter().any(|folder| path.starts_with(folder))
            && !MADE.iter().any(|folder| path.starts_with(folder))
            && !path.contains(|one: char| one.is_whitespace() || "*$…".contains(one));
        if is_path && !exists(path.trim_end_matches(['/', '.', ','])) {
            faults.push(format!("{path} is not there"));
        }
    }
}

/// Documents that are cited, also in comments of the source, and what is outside.
fn check_citations(
    text: &Text,
    texts: &[Text],
    exists: &dyn Fn(&str) -> bool,
    faults: &mut Vec<String>,
) {
    let is_part = |one: char| one.is_alphanumeric() || "_-./".contains(one);
    for word in text.text.split(|one| !is_part(one)) {
        let word = word.trim_end_matches('.');
        let is_document = word.ends_with(".md") && !word.starts_with("//") && word.len() > 3;
        if is_document && !exists(word) && !exists(&resolved(&text.place, word)) {
            faults.push(format!("it cites {word}, which is not there"));
        }
    }
    for outside in OUTSIDE.iter().filter(|outside| text.text.contains(**outside)) {
        faults.push(format!("it speaks of {outside:?}, which is not in the repository"));
    }
    let rules = texts.iter().find(|other| other.place == "docs/CACHE.md");
    let rules = rules.map_or("", |rules| rules.text.as_str());
    for cited in text.text.split("docs/CACHE.md, rule").skip(1) {
        let cited = cited.trim_start_matches('s').trim_start();
        let number: String = cited.chars().take_while(char::is_ascii_digit).collect();
        if !rules.lines().any(|line| line.starts_with(&format!("{number}. "))) {
            faults.push(format!("docs/CACHE.md has no rule {number:?}"));
        }
    }
}

/// Every version that a document shows in what the program prints, or in a package's name, is this one.
pub fn check_versions(text: &Text, version: &str) -> Vec<String> {
    let marks = ["httplb ", "httplb_"];
    let shown = marks.iter().flat_map(|mark| text.text.split(mark).skip(1)).filter_map(|rest| {
        let shown: String =
            rest.chars().take_while(|one| one.is_ascii_digit() || *one == '.').collect();
        (shown.matches('.').count() == 2).then_some(shown)
    });
    shown
        .filter(|shown| shown != version)
        .map(|shown| format!("{}: it shows version {shown}, and this is {version}", text.place))
        .collect()
}
