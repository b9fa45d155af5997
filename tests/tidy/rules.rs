//! The rules, as functions from source text to faults.

use crate::scrub::{is_word, test_modules, without_comments_and_texts, without_tests, word_at};

/// From the top down; neighbours on one line do not import each other.
const LAYERS: [&[&str]; 10] = [
    &["main", "lib", "program", "cli"],
    &["master", "ctl"],
    &["worker", "control", "registry", "names"],
    &["proxy"],
    &["cache", "shared", "net"],
    &["sys"],
    &["policy"],
    &["http", "dns"],
    &["config"],
    &["mem"],
];
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
const DEPENDENCIES: [&str; 6] = ["lexopt", "libc", "memchr", "rustix", "serde", "serde_json"];
const KERNEL_WORDS: [&str; 3] = ["unsafe", "libc", "rustix"];
const UNUSED_WORDS: [&str; 6] = ["Rc", "RefCell", "Arc", "Mutex", "RwLock", "thread"];

/// Words of src/proxy that stand in some of its files alone: nobody else writes to a client or a backend.
const ONLY_IN: [(&str, &[&str]); 1] = [(
    "prepare_output",
    &["downstream/write.rs", "downstream/sink.rs", "send.rs", "caching/revalidate.rs"],
)];

pub struct Source {
    /// Its path from the root of the repository.
    pub place: String,
    pub text: String,
    /// The text without comments, the contents of literals and tests.
    pub code: String,
    /// Files and folders of its modules that are tests, as `src/sys/conformance_tests`.
    test_modules: Vec<String>,
}

impl Source {
    pub fn new(place: String, text: String) -> Source {
        let all = without_comments_and_texts(&text);
        let code = without_tests(&all);
        let stem = place.trim_end_matches(".rs");
        let folder = stem.strip_suffix("/mod").or(stem.strip_suffix("/lib")).unwrap_or(stem);
        let test_modules = test_modules(&all).map(|name| format!("{folder}/{name}")).collect();
        Source { place, text, code, test_modules }
    }

    /// The module path, as `["http", "body"]`; nothing outside of src.
    pub fn module(&self) -> Option<Vec<&str>> {
        let path = self.place.strip_prefix("src/")?.strip_suffix(".rs")?;
        let mut module: Vec<&str> = path.split('/').collect();
        if module.last() == Some(&"mod") {
            module.pop();
        }
        Some(module)
    }

    /// Whether it is a test by its name, or by its declaration in another one of `tree`.
    pub fn is_test(&self, tree: &[Source]) -> bool {
        let stem = self.place.trim_end_matches(".rs");
        let is_of = |name: &String| {
            stem.strip_prefix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        tree.iter().flat_map(|source| &source.test_modules).any(is_of)
            || self.place.contains("/tests/")
            || stem.ends_with("/tests")
            || stem.ends_with("_tests")
    }

    fn line_of(&self, at: usize) -> usize {
        self.code.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = self.code.as_bytes();
        let starts =
            (0..code.len()).filter(move |&at| is_word(code[at]) && !word_at(code, at).is_empty());
        starts.map(move |at| (at, &self.code[at..at + word_at(code, at).len()]))
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&module))
}

/// Checks one file of a tree.
pub fn check_source(source: &Source, tree: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    check_lengths(source, &mut faults);
    if let Some(module) = source.module().filter(|_| !source.is_test(tree)) {
        check_imports(source, &module, &mut faults);
        check_words(source, &mut faults);
    }
    faults
}

fn check_imports(source: &Source, module: &[&str], faults: &mut Vec<String>) {
    let Some(own) = layer(module[0]) else {
        faults.push(format!("{}: module {} has no layer", source.place, module[0]));
        return;
    };
    for (at, name) in imports(source, module.len()) {
        let line = source.line_of(at);
        let place = format!("{}:{line}", source.place);
        match layer(name) {
            _ if name == module[0] || own == 0 => (),
            _ if name == "*" || name == "as" => {
                faults.push(format!("{place}: the crate's modules are imported by name"));
            }
            None => faults.push(format!("{place}: module {name} has no layer")),
            Some(other) if other <= own => {
                faults.push(format!(
                    "{place}: {} may not import from {name}, which is not below it",
                    module[0]
                ));
            }
            Some(_) => (),
        }
    }
}

/// The top-level modules that the source names by `crate::` or by enough `super::`.
fn imports(source: &Source, depth: usize) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut supers = 0;
    let mut expected = 0;
    for (at, word) in source.words() {
        supers = match word {
            "super" if at == expected => supers + 1,
            "super" => 1,
            _ => 0,
        };
        let after = at + word.len();
        let rest = &source.code[after..];
        expected = after + "::".len();
        if word != "crate" && supers != depth {
            continue;
        }
        if let Some(path) = rest.strip_prefix("::") {
            found.extend(first_names(path, after + 2));
        } else if rest.trim_start().starts_with("as ") {
            found.push((at, "as"));
        }
    }
    found
}

/// The first names of a path: `a` of `a::b`, `a` and `c` of `{a::b, c}`.
fn first_names(path: &str, offset: usize) -> Vec<(usize, &str)> {
    let bytes = path.as_bytes();
    if bytes.first() == Some(&b'*') {
        return vec![(offset, "*")];
    }
    if bytes.first() != Some(&b'{') {
        let len = bytes.iter().take_while(|&&byte| is_word(byte)).count();
        return if len == 0 { Vec::new() } else { vec![(offset, &path[..len])] };
    }
    let (mut depth, mut names, mut is_first) = (0, Vec::new(), true);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => break,
            b'}' => depth -= 1,
            b',' if depth == 1 => is_first = true,
            _ if depth == 1 && is_first && is_word(byte) => {
                let len = word_at(bytes, at).len();
                names.push((offset + at, &path[at..at + len]));
                is_first = false;
            }
            _ => (),
        }
    }
    names
}

fn check_words(source: &Source, faults: &mut Vec<String>) {
    let may_name_kernel = source.place.starts_with("src/sys/linux");
    let is_simulation = source.place.starts_with("src/sys/sim");
    for (at, word) in source.words() {
        let mut report = |why: &str| {
            faults.push(format!("{}:{}: {word}: {why}", source.place, source.line_of(at)))
        };
        if KERNEL_WORDS.contains(&word) && !may_name_kernel {
            report("stands in src/sys/linux alone");
        }
        if UNUSED_WORDS.contains(&word) && !is_simulation {
            report("no shared ownership, no locks, no threads");
        }
        for (_, files) in ONLY_IN.iter().filter(|(only, _)| *only == word) {
            if source.place.strip_prefix("src/proxy/").is_some_and(|file| !files.contains(&file)) {
                report("stands in a few files alone: see tests/tidy/rules.rs");
            }
        }
        let is_call = source.code[..at].ends_with('.') && source.code[at..].starts_with("unwrap()");
        if is_call && !is_simulation {
            report("handle it, or say by expect() why it cannot be");
        }
    }
}

fn check_lengths(source: &Source, faults: &mut Vec<String>) {
    let lines = source.text.lines().count();
    if lines > FILE_LINES {
        faults.push(format!("{}: {lines} lines, {FILE_LINES} at most", source.place));
    }
    for (name, line, length) in functions(&source.text) {
        if length > FUNCTION_LINES {
            faults.push(format!(
                "{}:{line}: {name}: {length} lines, {FUNCTION_LINES} at most",
                source.place
            ));
        }
    }
}

/// Name, first line and length of every function. The layout is rustfmt's, so a function ends
/// at the closing brace that is indented as its first line is.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let text = without_comments_and_texts(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[number..].iter().position(|line| {
            line.trim_end() == closing
                || line.trim_end().ends_with(';') && line.len() - line.trim_start().len() == indent
        });
        let is_one_line = line.trim_end().ends_with('}');
        if let (Some(end), false) = (end, is_one_line) {
            found.push((name, number + 1, end + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub") || ["const", "async", "unsafe", "extern", "in"].contains(word)
    });
    (words.next() == Some("fn")).then(|| {
        words.next().unwrap_or_default().split(['(', '<']).next().unwrap_or_default().to_string()
    })
}

pub fn check_map(sources: &[Source]) -> Vec<String> {
    let Some(map) = sources.iter().find(|source| source.place == "src/lib.rs") else {
        return vec!["src/lib.rs is missing".into()];
    };
    let named: Vec<&str> = map
        .code
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';')?.rsplit_once("mod ").map(|(_, name)| name))
        .collect();
    let mut modules: Vec<&str> = sources
        .iter()
        .filter(|source| !source.is_test(sources))
        .filter_map(|source| source.module().map(|module| module[0]))
        .collect();
    modules.retain(|name| *name != "lib" && *name != "main");
    modules.sort_unstable();
    modules.dedup();
    let mut faults: Vec<String> = modules
        .iter()
        .filter(|name| !named.contains(name))
        .map(|name| format!("src/lib.rs does not name module {name}"))
        .collect();
    let untold =
        sources.iter().filter(|source| !source.is_test(sources) && !is_on_map(map, source));
    faults.extend(untold.map(|source| format!("src/lib.rs: the map lacks {}", source.place)));
    let is_there = |path: &&str| sources.iter().any(|source| source.place == format!("src/{path}"));
    let paths = map.text.split('`').filter(|word| word.ends_with(".rs") && word.contains('/'));
    faults.extend(
        paths.filter(|path| !is_there(path)).map(|path| format!("src/lib.rs: {path} is not there")),
    );
    if !named.is_sorted_by_key(|name| layer(name)) {
        faults.push(format!("src/lib.rs: not in the order of the layers: {}", named.join(" ")));
    }
    faults
}

/// Whether the section of its folder names the file. What a folder is for stands there anyway.
fn is_on_map(map: &Source, file: &Source) -> bool {
    let Some((folders, name)) = file.place.strip_prefix("src/").and_then(|path| {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        Some((folders, name.strip_suffix(".rs")?))
    }) else {
        return true;
    };
    let section = match folders.split('/').next() {
        Some("") | None => "//! main.rs".to_string(),
        Some(folder) => format!("//! {folder}/"),
    };
    let section =
        map.text.split("//!\n").find(|part| part.lines().any(|line| line.starts_with(&section)));
    // The kernel's side is listed without the ends of the names.
    let is_named =
        |word: &str| word == format!("{name}.rs") || folders.starts_with("sys") && word == name;
    let words = |text: &'_ str| {
        text.split(|letter: char| letter.is_whitespace() || ":;,/()".contains(letter)).any(is_named)
    };
    ["mod", "lib"].contains(&name) || section.is_some_and(words)
}

pub fn check_dependencies(manifest: &str) -> Vec<String> {
    let (mut faults, mut in_dependencies) = (Vec::new(), false);
    let mut check = |name: &str| {
        if !DEPENDENCIES.contains(&name) {
            faults
                .push(format!("Cargo.toml: {name} is none of the six: {}", DEPENDENCIES.join(" ")));
        }
    };
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let (table, name) = match section.rsplit_once("dependencies.") {
                Some((before, name)) => (format!("{before}dependencies"), Some(name)),
                None => (section.to_string(), None),
            };
            let counts = table.ends_with("dependencies") && table != "dev-dependencies";
            in_dependencies = counts && name.is_none();
            if let (true, Some(name)) = (counts, name) {
                check(name);
            }
        } else if let (true, Some((name, _))) =
            (in_dependencies && !line.starts_with('#'), line.split_once('='))
        {
            check(name.split('.').next().unwrap_or(name).trim());
        }
    }
    faults
}
