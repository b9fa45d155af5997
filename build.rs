//! Finds the version that the program shows: with the commit when built from a checkout, the bare
//! one otherwise, so that the same source always gives the same program.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = env!("CARGO_PKG_VERSION");
    match commit() {
        Some(commit) => println!("cargo::rustc-env=HTTPLB_VERSION={version} ({commit})"),
        None => println!("cargo::rustc-env=HTTPLB_VERSION={version}"),
    }
}

/// The first seven digits of the commit that is checked out here. None if this is not the root of a
/// checkout: an unpacked archive may lie within somebody else's.
fn commit() -> Option<String> {
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    // What changes when another commit is checked out or made.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let file = git(&["rev-parse", "--git-path", name])?;
        if std::fs::exists(&file).unwrap_or(false) {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    // Git's own abbreviation grows with the number of objects that happen to be there.
    commit.get(..7).map(str::to_owned)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
