//! The rules of the source that the compiler does not know: which layer may import which, where
//! the kernel may be spoken to, what is not used at all, and how long a file or a function gets.
//!
//! The rules themselves are in `tidy/rules.rs`, those of documents in `tidy/documents.rs`; each is shown here to fail when
//! it should.

mod circles;
mod documents;
mod names;
mod rules;
mod scrub;

use circles::check_circles;
use documents::{Text, check_text, check_versions};
use names::check_type_names;
use rules::{Source, check_dependencies, check_map, check_source};
use std::{fs, path::Path};

/// All Rust files below `folder`, with their paths as seen from the root of the repository.
fn read_tree(folder: &Path, into: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder that can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" {
            read_tree(&path, into);
        } else if name.ends_with(".rs") {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let place = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            into.push(Source::new(place, fs::read_to_string(&path).expect("a readable file")));
        }
    }
}

fn tree(folders: &[&str]) -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in folders {
        read_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut sources);
    }
    sources.sort_by(|a, b| a.place.cmp(&b.place));
    sources
}

/// All texts below `folder` that people read, with their paths as seen from the root of the repository.
fn read_texts(folder: &Path, into: &mut Vec<Text>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder that can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !["target", "corpus", "artifacts", "seeds"].contains(&&*name) {
            read_texts(&path, into);
        } else if let (true, Ok(text)) = (path.is_file(), fs::read_to_string(&path)) {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let place = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            into.push(Text { place, text });
        }
    }
}

fn demand_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults\n  {}\n", faults.len(), faults.join("\n  "));
}

fn faults_of(place: &str, text: &str) -> Vec<String> {
    check_source(&Source::new(place.into(), text.into()), &[])
}

fn assert_fault(place: &str, text: &str, part: &str) {
    let faults = faults_of(place, text);
    assert!(faults.iter().any(|fault| fault.contains(part)), "{part:?} not in {faults:?}\n{text}");
}

fn assert_clean(place: &str, text: &str) {
    assert_eq!(faults_of(place, text), Vec::<String>::new(), "{text}");
}

#[test]
fn every_source_file_keeps_the_rules() {
    let sources = tree(&["src", "tests", "examples", "benches", "fuzz"]);
    assert!(sources.iter().any(|source| source.place == "src/lib.rs"), "the tree was not found");
    demand_none(sources.iter().flat_map(|source| check_source(source, &sources)).collect());
}

#[test]
fn lib_rs_names_every_module_in_the_order_of_the_layers() {
    demand_none(check_map(&tree(&["src"])));
}

#[test]
fn a_name_of_a_type_stands_for_one_type_mostly() {
    demand_none(check_type_names(&tree(&["src"])));
    let file =
        |number: usize, text: &str| Source::new(format!("src/mem/f{number}.rs"), text.into());
    let alike = [
        file(0, "pub struct A;\n"),
        file(1, "enum A {}\n"),
        file(2, "pub(super) struct B<T>(T);\n"),
    ];
    assert_eq!(check_type_names(&alike).len(), 2);
    let many: Vec<Source> =
        (0..30).map(|number| file(number, &format!("struct A{};\n", number.max(1)))).collect();
    assert_eq!(check_type_names(&many), Vec::<String>::new());
}

#[test]
fn files_import_each_other_in_no_circle() {
    demand_none(check_circles(&tree(&["src"])));
    let file = |name: &str, text: &str| Source::new(format!("src/{name}.rs"), text.into());
    let circles = |files: &[Source]| check_circles(files).len();
    let line = [
        file("http/mod", "mod a; use a::A;\n"),
        file("http/a", "use super::b;\n"),
        file("http/b", "use super::c::C;\n"),
        file("http/c", ""),
    ];
    assert_eq!(circles(&line), 0);
    let [a, b] = ["use super::b;\n", "use super::{c::C, d};\n"];
    let end = "fn f() { super::a::g() }\n";
    assert_eq!(circles(&[file("http/a", a), file("http/b", b), file("http/c", end)]), 1);
    assert_eq!(circles(&[file("http/a", a), file("http/b", b), file("http/c", "")]), 0);
    let by_mod = |body: &str| [file("http/mod", body), file("http/a", "use super::T;\n")];
    assert_eq!(circles(&by_mod("mod a;\npub use b::T;\n")), 0);
    assert_eq!(circles(&by_mod("mod a;\npub use a::U;\n")), 1);
    // In proxy/ two files may know each other, by whatever path; three may not.
    let [a, b] = ["use crate::proxy::{x::b::B, ids};\n", "use crate::{mem, proxy::a};\n"];
    assert_eq!(circles(&[file("proxy/a", a), file("proxy/x/b", b)]), 0);
    let back = "use super::super::a::A;\n";
    let [b, c] = [file("proxy/x/b", "use super::c;\n"), file("proxy/x/c", back)];
    assert_eq!(circles(&[file("proxy/a", a), b, c]), 1);
    // An owner and its parts may, but not Proxy and what it consists of.
    let part = "use super::Owner;\n";
    let [a, b, c] = ["a", "b", "c"].map(|name| file(&format!("proxy/x/{name}"), part));
    let owner = file("proxy/x/mod", "mod a; mod b; mod c; use a::A; use b::B; fn f() { c::g() }\n");
    assert_eq!(circles(&[owner, a, b, c]), 0);
    let step = file("proxy/a", "use super::Proxy;\n");
    assert_eq!(circles(&[file("proxy/mod", "mod a;\n"), step]), 0);
    let step = file("proxy/a", "use super::Proxy;\n");
    assert_eq!(circles(&[file("proxy/mod", "mod a; use a::A;\n"), step]), 1);
}

#[test]
fn the_program_depends_on_six_crates_and_no_others() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    demand_none(check_dependencies(&fs::read_to_string(manifest).expect("Cargo.toml")));
}

#[test]
fn documents_lead_to_what_is_there_and_nothing_cites_what_is_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    for folder in ["src", "tests", "docs", "man", "packaging", "benches", "examples", "fuzz", ".ci"]
    {
        read_texts(&root.join(folder), &mut texts);
    }
    for file in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Cargo.toml", "build.rs"] {
        let text = fs::read_to_string(root.join(file)).expect("a document");
        texts.push(Text { place: file.into(), text });
    }
    // What these rules are shown by names what is not there.
    texts.retain(|text| !text.place.starts_with("tests/tidy/"));
    assert!(texts.iter().any(|text| text.place == "docs/ARCHITECTURE.md"), "none was found");
    let exists = |path: &str| root.join(path).exists();
    demand_none(texts.iter().flat_map(|text| check_text(text, &texts, &exists)).collect());
}

#[test]
fn documents_show_the_version_of_the_program() {
    let shown = ["README.md", "man/httplb.8", "docs/RELEASING.md"].map(|place| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
        Text { place: place.into(), text: fs::read_to_string(path).expect("a document") }
    });
    let version = env!("CARGO_PKG_VERSION");
    assert!(shown[0].text.contains(version), "the README shows none");
    demand_none(shown.iter().flat_map(|text| check_versions(text, version)).collect());
}

#[test]
fn a_document_that_leads_nowhere_is_found() {
    let faults = |place: &str, text: &str| {
        let file = |place: &str, text: &str| Text { place: place.into(), text: text.into() };
        let rules = file("docs/CACHE.md", "# The cache\n## What is it?\n1. First.\n");
        let texts = [file(place, text), rules];
        let exists = |path: &str| ["docs/CACHE.md", "src/lib.rs", place].contains(&path);
        check_text(&texts[0], &texts, &exists).len()
    };
    for (place, fine) in [
        ("README.md", "[a](docs/CACHE.md#what-is-it) [b](https://a.example/x.md) `src/lib.rs`"),
        ("README.md", "# A b\n[c](#a-b)\n```\n[d](nowhere)\n```\n"),
        ("docs/A.md", "[a](CACHE.md) [b](../src/lib.rs)"),
        ("src/lib.rs", "// docs/CACHE.md, rule 1.\n"),
    ] {
        assert_eq!(faults(place, fine), 0, "{fine}");
    }
    for (place, wrong) in [
        ("README.md", "[a](docs/CACHE.md#where-is-it)"),
        ("README.md", "[a](CACHE.md)"),
        ("README.md", "see `src/main.rs`"),
        ("README.md", "```sh\npackaging/none at all\n```\n"),
        ("docs/A.md", "[a](../lib.rs)"),
        ("src/lib.rs", "// CACHE.md, rule 1\n"),
        ("src/lib.rs", "// docs/CACHE.md, rule 2.\n"),
        ("src/lib.rs", "// section 3 of the contract\n"),
    ] {
        assert_ne!(faults(place, wrong), 0, "{wrong}");
    }
    let version = |text: &str| {
        check_versions(&Text { place: String::new(), text: text.into() }, "1.2.3").len()
    };
    assert_eq!(version("httplb 1.2.3: httplb_1.2.3_amd64.deb httplb 8"), 0);
    assert_eq!(version("httplb 1.2.4: httplb_1.2.2_amd64.deb"), 2);
}

#[test]
fn an_import_from_a_higher_layer_is_found() {
    assert_fault("src/mem/ring.rs", "use crate::http::scan::Scan;\n", "http");
    assert_fault("src/http/body.rs", "use super::super::policy::retry;\n", "policy");
    assert_fault("src/http/mod.rs", "fn f() { super::proxy::drive() }\n", "proxy");
    assert_fault("src/sys/linux/socket.rs", "use crate::{mem::time, worker};\n", "worker");
    assert_fault(
        "src/proxy/mod.rs",
        "use crate::{\n    mem::{slab, ring},\n    master::x,\n};\n",
        "master",
    );
    assert_fault("src/config/mod.rs", "type A = crate::policy::balance::Member;\n", "policy");
    assert_fault("src/policy/mod.rs", "use crate::*;\n", "by name");
    assert_fault("src/policy/mod.rs", "use crate as all;\n", "by name");
}

#[test]
fn an_import_from_a_neighbour_is_found() {
    assert_fault("src/net/conn.rs", "use crate::shared::Segment;\n", "shared");
    assert_fault("src/cache/store.rs", "use crate::net::Conn;\n", "net");
    assert_fault("src/worker/mod.rs", "use crate::control::page;\n", "control");
}

#[test]
fn an_import_from_below_or_from_the_module_itself_is_fine() {
    assert_clean("src/http/body.rs", "use crate::{http::chunked::Chunks, mem::ring::Ring};\n");
    assert_clean("src/http/body.rs", "use super::{chunked::Chunks, method::Method};\n");
    assert_clean("src/worker/mod.rs", "use crate::{config::Config, net, proxy::Proxy, sys};\n");
    assert_clean("src/main.rs", "use httplb::master;\n");
}

#[test]
fn a_module_without_a_layer_is_found() {
    assert_fault("src/helpers/mod.rs", "fn f() {}\n", "no layer");
    assert_fault("src/mem/mod.rs", "use crate::helpers::f;\n", "no layer");
}

#[test]
fn the_kernel_is_named_in_sys_linux_alone() {
    for text in
        ["unsafe { f() }\n", "fn f() { libc::close(1); }\n", "use rustix::io;\n", "use libc;\n"]
    {
        assert_fault("src/net/conn.rs", text, "src/sys/linux");
        assert_fault("src/sys/error.rs", text, "src/sys/linux");
        assert_clean("src/sys/linux/socket.rs", text);
    }
    assert_clean("src/lib.rs", "#![deny(unsafe_code)]\n");
}

#[test]
fn who_writes_to_a_client_elsewhere_is_found() {
    let text = "fn f() { conn.prepare_output(rings); }\n";
    assert_fault("src/proxy/respond.rs", text, "prepare_output");
    assert_clean("src/proxy/downstream/write.rs", text);
    assert_clean("src/net/conn.rs", text);
}

#[test]
fn shared_ownership_locks_threads_and_unwraps_are_found() {
    for text in [
        "use std::rc::Rc;\n",
        "struct S(RefCell<u8>);\n",
        "struct S(std::sync::Arc<u8>);\n",
        "struct S(Mutex<u8>);\n",
        "fn f() { std::thread::spawn(g); }\n",
        "use std::{io, thread};\n",
        "fn f() { g().unwrap(); }\n",
        "fn f() { g()\n    .unwrap(); }\n",
    ] {
        assert_eq!(faults_of("src/policy/retry.rs", text).len(), 1, "{text}");
        assert_clean("src/sys/sim/world.rs", text);
        assert_clean("src/policy/retry_tests.rs", text);
        assert_clean("src/proxy/tests/worlds.rs", text);
    }
    assert_clean("src/policy/retry.rs", "fn f() { g().unwrap_or(1); Arch::new(); }\n");
}

#[test]
fn comments_strings_and_test_modules_are_not_code() {
    assert_clean(
        "src/mem/ring.rs",
        "// unsafe, crate::http, .unwrap()\n/* Rc /* RefCell */ Arc */\n",
    );
    assert_clean("src/mem/ring.rs", "const A: &str = \"unsafe crate::http \\\" Rc\";\n");
    assert_clean(
        "src/mem/ring.rs",
        "const A: &str = r#\"unsafe \" Rc\"#; const B: char = '\"'; \n",
    );
    assert_clean(
        "src/mem/ring.rs",
        "#[cfg(test)]\nmod tests {\n    fn f() { g(\"}\").unwrap(); }\n}\n",
    );
    assert_clean("src/mem/ring.rs", "#[cfg(test)]\nuse crate::proxy;\n");
}

#[test]
fn a_file_that_is_declared_as_a_test_is_one() {
    let file = |place: &str, text: &str| Source::new(place.into(), text.into());
    let faults = |parent: &str, module: &str| {
        let tree = [file("src/sys/mod.rs", parent), file(module, "fn f() { g().unwrap(); }\n")];
        check_source(&tree[1], &tree).len()
    };
    assert_eq!(faults("#[cfg(test)]\nmod worlds;\n", "src/sys/worlds.rs"), 0);
    assert_eq!(faults("#[cfg(test)]\npub(crate) mod worlds;\n", "src/sys/worlds/one.rs"), 0);
    assert_eq!(faults("mod worlds;\n", "src/sys/worlds.rs"), 1);
    assert_eq!(faults("#[cfg(test)]\nuse a;\nmod worlds;\n", "src/sys/worlds.rs"), 1);
    assert_eq!(faults("#[cfg(test)]\nmod worlds;\n", "src/sys/worlds_of.rs"), 1);
}

#[test]
fn code_behind_comments_strings_and_test_modules_is_still_code() {
    assert_fault("src/mem/ring.rs", "/* a */ use crate::http; // b\n", "http");
    assert_fault("src/mem/ring.rs", "const A: &str = \"//\"; use crate::http;\n", "http");
    assert_fault(
        "src/mem/ring.rs",
        "fn f<'a>(b: &'a u8) -> char { '\\'' } use crate::http;\n",
        "http",
    );
    assert_fault("src/mem/ring.rs", "#[cfg(test)]\nmod tests {}\nuse crate::http;\n", "http");
    assert_fault("src/mem/ring.rs", "#[cfg(test)]\nmod tests;\nuse crate::http;\n", "http");
    assert_fault("src/mem/ring.rs", "#[cfg(not(test))]\nuse crate::http;\n", "http");
}

#[test]
fn a_file_or_a_function_that_is_too_long_is_found() {
    let long_file = "\n".repeat(601);
    assert_fault("src/mem/ring.rs", &long_file, "601 lines");
    assert_fault("tests/limits.rs", &long_file, "601 lines");
    assert_clean("src/mem/ring.rs", &"\n".repeat(600));

    let function = |lines: usize| {
        format!("impl A {{\n    pub fn f() {{\n{}    }}\n}}\n", "        a();\n".repeat(lines - 2))
    };
    assert_fault("src/mem/ring.rs", &function(71), "71 lines");
    assert_clean("src/mem/ring.rs", &function(70));
}

#[test]
fn a_map_that_lacks_a_module_or_its_order_is_found() {
    let tree = |map: &str| {
        let file = |place: &str, text: &str| Source::new(place.into(), text.into());
        check_map(&[
            file("src/lib.rs", map),
            file("src/net/mod.rs", ""),
            file("src/mem/mod.rs", ""),
            file("src/mem/ring.rs", ""),
        ])
    };
    let map = "//! mem/   a folder\n//!   ring.rs   bytes in a circle\n";
    assert_eq!(tree(&format!("{map}pub mod net;\npub mod mem;\n")), Vec::<String>::new());
    assert_eq!(tree(&format!("//! net/ {map}pub mod net;\npub mod mem;\n")).len(), 1);
    assert_eq!(tree("//! mem/   string.rs\npub mod net;\npub mod mem;\n").len(), 1);
    assert_eq!(tree(&format!("{map}//! `mem/line.rs`\npub mod net;\npub mod mem;\n")).len(), 1);
    let tree = |modules: &str| tree(&format!("{map}{modules}"));
    assert_eq!(tree("pub mod mem;\n").len(), 1);
    assert_eq!(tree("pub mod mem;\npub mod net;\n").len(), 1);
    assert_eq!(tree("// pub mod net;\npub mod mem;\n").len(), 1);
}

#[test]
fn a_seventh_dependency_is_found() {
    assert!(
        check_dependencies(
            "[dependencies]\nlibc = \"0.2\"\n[dev-dependencies]\nsocket2 = \"0.5\"\n"
        )
        .is_empty()
    );
    assert_eq!(check_dependencies("[dependencies]\nlibc = \"0.2\"\ntokio = \"1\"\n").len(), 1);
    assert_eq!(check_dependencies("[dependencies.mio]\nversion = \"1\"\n").len(), 1);
    assert_eq!(check_dependencies("[target.'cfg(unix)'.dependencies]\nnix = \"1\"\n").len(), 1);
    assert_eq!(check_dependencies("[build-dependencies]\ncc = \"1\"\n").len(), 1);
}
