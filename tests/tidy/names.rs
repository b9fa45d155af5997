//! Rules about the whole: that a type's name stands for one type.

use crate::rules::Source;
use std::collections::BTreeMap;

/// Of a hundred types, so many may have a name that another one has too. `State` and `Pool` are such names.
const MOST_SHARED: usize = 10;

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
