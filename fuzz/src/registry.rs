//! Responses of a registry: in pieces they say what they say at once, and whatever a key or a value is
//! read as is read again from what would be written of it.

use httplb::policy::health::AdminState;
use httplb::registry::etcd::{self, KeyChange, WatchLine};
use httplb::registry::keys::{self, Keys};
use httplb::registry::reader::{Reader, Unreadable};

use super::Dice;

/// A response as far as it came: its status, its lines, what is behind them, whether that is all.
type Told = (Option<u16>, Vec<Vec<u8>>, Vec<u8>, bool);

pub fn check(bytes: &[u8]) {
    let whole = read(&[bytes]);
    let mut dice = Dice::of(bytes);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(1 + dice.up_to(rest.len().min(40) - 1));
        pieces.push(piece);
        rest = more;
    }
    assert_eq!(read(&pieces), whole, "{}", bytes.escape_ascii());
    if let Ok((_, lines, rest, _)) = whole {
        lines.iter().chain([&rest]).for_each(|line| check_text(line));
    }
    check_text(bytes);
}

fn read(pieces: &[&[u8]]) -> Result<Told, Unreadable> {
    let (mut reader, mut lines) = (Reader::default(), Vec::new());
    for piece in pieces {
        reader.add(piece)?;
        lines.extend(std::iter::from_fn(|| reader.next_line()));
    }
    Ok((reader.status(), lines, reader.text().to_vec(), reader.is_done()))
}

fn check_text(text: &[u8]) {
    let _ = etcd::judge(200, text); // only that it ends
    let range = etcd::read_range(200, text).ok();
    let mut found: Vec<_> = range.into_iter().flat_map(|range| range.keys).collect();
    if let Ok(WatchLine::Changes(_, changes)) = etcd::read_watch(text) {
        found.extend(changes.into_iter().filter_map(|change| match change {
            KeyChange::Put(pair) => Some(pair),
            KeyChange::Delete(_) => None,
        }));
    }
    for pair in &found {
        check_pair(&pair.key, &pair.value);
    }
    check_pair(text, text);
}

fn check_pair(key: &[u8], value: &[u8]) {
    let keys = Keys::new("/httplb/");
    if let Some(read) = keys.read(key) {
        assert_eq!(keys.read(&keys.write(&read)), Some(read), "{}", key.escape_ascii());
    }
    if let Ok(read) = keys::read_backend(value) {
        assert!((1..=256).contains(&read.weight) && read.state != AdminState::Leaving);
        assert_eq!(keys::read_backend(keys::write_backend(&read).as_bytes()), Ok(read));
    }
    if let Ok(wish) = keys::read_set(value) {
        assert!(wish.weight.is_none_or(|weight| (1..=256).contains(&weight)));
        assert_eq!(keys::read_set(keys::write_set(wish).as_bytes()), Ok(wish));
    }
}
