//! Rules about who imports whom inside a layer: no circles, or small ones.

use crate::rules::Source;
use crate::scrub::{is_word, word_at};
use std::collections::{BTreeMap, BTreeSet};

/// Folders, and of how many files a circle of imports may be there. A folder's own `mod.rs` is in none. That
/// of a folder below it and its files may know each other, as an owner and its parts.
const LARGEST_CIRCLES: [(&str, usize); 11] = [
    ("cache", 1),
    ("config", 1),
    ("control", 1),
    ("http", 1),
    ("master", 1),
    ("mem", 1),
    ("net", 1),
    ("policy", 1),
    ("proxy", 2),
    ("shared", 1),
    ("worker", 1),
];

type Module<'a> = Vec<&'a str>;
type Imports<'a> = BTreeMap<Module<'a>, BTreeSet<Module<'a>>>;

/// The circles among the files of some folders that are too large.
pub fn check_circles(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for (folder, most) in LARGEST_CIRCLES {
        let (mut imports, owners) = imports_in(folder, sources);
        let around_owner = circle_of(&vec![folder], &imports);
        let is_below = |owner: &Module, part: &Module| {
            owner.len() > 1 && owners.contains(owner) && part.starts_with(owner)
        };
        for (module, imported) in &mut imports {
            imported.retain(|other| !is_below(module, other) && !is_below(other, module));
        }
        let mut circles: BTreeSet<_> =
            imports.keys().map(|module| circle_of(module, &imports)).collect();
        circles.retain(|circle| circle.len() > most);
        circles.extend(Some(around_owner).filter(|circle| circle.len() > 1));
        let told = |circle| format!("src/{folder}: a circle of imports among {circle:?}");
        faults.extend(circles.iter().map(told));
    }
    faults
}

/// What each file of a folder imports of it; and which of them are `mod.rs`.
fn imports_in<'a>(folder: &str, sources: &'a [Source]) -> (Imports<'a>, BTreeSet<Module<'a>>) {
    let files = || {
        sources.iter().filter(|source| !source.is_test(sources)).filter_map(|source| {
            source.module().filter(|module| module[0] == folder).map(|module| (module, source))
        })
    };
    let modules: BTreeSet<Module> = files().map(|(module, _)| module).collect();
    let imports = files().map(|(module, source)| {
        let found = paths(&source.code).into_iter().filter_map(|path| resolve(&path, &module));
        let of_folder = found.filter_map(|path| {
            let len = (1..=path.len()).rev().find(|len| modules.contains(&path[..*len]))?;
            modules.get(&path[..len]).cloned()
        });
        let others = of_folder.filter(|other| *other != module).collect();
        (module, others)
    });
    let owners = files().filter(|(_, source)| source.place.ends_with("/mod.rs"));
    (imports.collect(), owners.map(|(module, _)| module).collect())
}

/// A path as seen from the root of the crate; `None` if it begins elsewhere.
fn resolve<'a>(path: &[&'a str], module: &[&'a str]) -> Option<Module<'a>> {
    let supers = path.iter().take_while(|name| **name == "super").count();
    let (base, rest) = match path.first().copied() {
        Some("crate") => (&module[..0], &path[1..]),
        Some("super") => (&module[..module.len().checked_sub(supers)?], &path[supers..]),
        Some("self") => (module, &path[1..]),
        Some(_) | None => (module, path),
    };
    Some([base, rest].concat())
}

/// All paths in a text: `a::b` and `a::c` of `a::{b, c}`.
fn paths(code: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        if !is_word(code.as_bytes()[at]) {
            at += 1;
            continue;
        }
        let (mut paths, end) = path_at(code, at);
        if paths.iter().any(|path| path.len() > 1) {
            found.append(&mut paths);
        }
        at = end.max(at + 1);
    }
    found
}

/// The paths that begin with the word at this place, and where they end.
fn path_at(code: &str, at: usize) -> (Vec<Vec<&str>>, usize) {
    let word = word_at(code.as_bytes(), at);
    let first = &code[at..at + word.len()];
    let mut end = at + first.len();
    if !code[end..].starts_with("::") {
        return (vec![vec![first]], end);
    }
    end += "::".len();
    let mut tails = Vec::new();
    if code[end..].starts_with('{') {
        end += 1;
        while end < code.len() && !code[end..].starts_with('}') {
            if is_word(code.as_bytes()[end]) {
                let (mut more, after) = path_at(code, end);
                tails.append(&mut more);
                end = after.max(end + 1);
            } else {
                end += 1;
            }
        }
        end += 1;
    } else if code.as_bytes().get(end).is_some_and(|byte| is_word(*byte)) {
        (tails, end) = path_at(code, end);
    } else {
        tails.push(Vec::new()); // As `a::*` and `a::<T>`.
    }
    tails.iter_mut().for_each(|tail| tail.insert(0, first));
    (tails, end)
}

/// The files that a file imports, by whatever way, and that import it.
fn circle_of(module: &Module, imports: &Imports) -> BTreeSet<String> {
    let reached = reached_from(module, imports);
    let circle = reached.iter().filter(|other| reached_from(other, imports).contains(module));
    let own = std::iter::once(module.join("/"));
    own.chain(circle.map(|other| other.join("/"))).collect()
}

fn reached_from<'a>(module: &Module<'a>, imports: &Imports<'a>) -> BTreeSet<Module<'a>> {
    let mut reached = BTreeSet::new();
    let mut left = vec![module];
    while let Some(next) = left.pop() {
        for other in imports.get(next).into_iter().flatten() {
            if reached.insert(other.clone()) {
                left.push(other);
            }
        }
    }
    reached
}
