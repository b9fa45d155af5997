//! Rules about the whole: that a type's name stands for one type, and that files of a folder do not import each
//! other in a circle.

use crate::rules::{Source, first_names};
use crate::scrub::is_word;
use std::collections::{BTreeMap, BTreeSet};

/// Of a hundred types, so many may have a name that another one has too. `State` and `Pool` are such names.
const MOST_SHARED: usize = 10;

/// Folders whose files import each other in no circle, `mod.rs` among them.
const WITHOUT_CIRCLES: [&str; 10] =
    ["cache", "config", "control", "http", "master", "mem", "net", "policy", "shared", "worker"];

/// The types that share their names, if they are too many.
pub fn check_type_names(sources: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in sources.iter().filter(|source| is_counted(source, sources)) {
        for name in source.code.lines().filter_map(defined_type) {
            places.entry(name).or_default().push(&source.place);
        }
    }
    let all: usize = places.values().map(Vec::len).sum();
    places.retain(|_, places| places.len() > 1);
    let shared: usize = places.values().map(Vec::len).sum();
    if shared * 100 <= all * MOST_SHARED {
        return Vec::new();
    }
    let told = places.iter().map(|(name, places)| format!("{name}: {}", places.join(", ")));
    let head = format!("{shared} of {all} types share their names, {MOST_SHARED} % may");
    std::iter::once(head).chain(told).collect()
}

/// The simulated kernel has the names of the real one.
fn is_counted(source: &Source, sources: &[Source]) -> bool {
    source.place.starts_with("src/")
        && !source.place.starts_with("src/sys/sim")
        && !source.is_test(sources)
}

fn defined_type(line: &str) -> Option<&str> {
    let mut words =
        line.split_whitespace().skip_while(|word| word.starts_with("pub") || *word == "in");
    ["struct", "enum", "union", "trait"].contains(&words.next()?).then_some(())?;
    let name = words.next()?;
    name.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

/// The circles among the files of some folders.
pub fn check_circles(sources: &[Source]) -> Vec<String> {
    WITHOUT_CIRCLES.iter().filter_map(|folder| circle_in(folder, sources)).collect()
}

fn circle_in(folder: &str, sources: &[Source]) -> Option<String> {
    let files: BTreeMap<&str, &Source> = sources
        .iter()
        .filter(|source| !source.is_test(sources))
        .filter_map(|source| match source.module()?[..] {
            [parent, file] if parent == folder => Some((file, source)),
            [parent] if parent == folder => Some(("mod", source)),
            _ => None,
        })
        .collect();
    // What imports nothing that is left is in no circle.
    let names: BTreeSet<&str> = files.keys().copied().collect();
    let mut left: BTreeMap<&str, BTreeSet<&str>> =
        files.iter().map(|(file, source)| (*file, neighbours(file, source, &names))).collect();
    loop {
        let names: BTreeSet<&str> = left.keys().copied().collect();
        let before = left.len();
        left.retain(|_, imported| imported.iter().any(|name| names.contains(name)));
        if left.len() == before {
            break;
        }
    }
    (!left.is_empty()).then(|| {
        let names: Vec<&str> = left.keys().copied().collect();
        format!("src/{folder}: among {} there is a circle of imports", names.join(", "))
    })
}

/// The files beside it that it names, by `super::` or, from `mod.rs`, as its own modules. What is none of them
/// stands in `mod.rs`.
fn neighbours<'a>(file: &str, source: &Source, names: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    if file == "mod" {
        let words = source.code.match_indices("::").map(|(at, _)| {
            let before = &source.code.as_bytes()[..at];
            let start = before.iter().rposition(|byte| !is_word(*byte)).map_or(0, |at| at + 1);
            &source.code[start..at]
        });
        return words.filter_map(|word| names.get(word).copied()).collect();
    }
    let mut found = BTreeSet::new();
    for (at, _) in source.code.match_indices("super::") {
        let after = at + "super::".len();
        let named = first_names(&source.code[after..], after).into_iter().map(|(_, name)| name);
        let named = named.filter(|name| *name != "super");
        found.extend(named.map(|name| names.get(name).copied().unwrap_or("mod")));
    }
    found
}
