//! Answers of name servers: whatever is read has names that are some, numbers of its own record, and
//! stays the same when the records behind it are cut off.

use httplb::dns::{Services, services};

pub fn check(bytes: &[u8]) {
    let Some(Services { records, lifetime }) = services(bytes) else { return };
    let place = bytes.escape_ascii().to_string();
    let count = usize::from(u16::from_be_bytes([bytes[6], bytes[7]]));
    assert!(records.len() <= count, "{place}");
    assert_eq!(records.is_empty(), lifetime.is_none(), "{place}");
    for record in &records {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        assert!(record.target.len() <= 253 && record.target.bytes().all(allowed), "{place}");
        assert!(
            !record.target.split('.').any(str::is_empty) || record.target.is_empty(),
            "{place}"
        );
        // Its numbers stand next to each other, before its name.
        let numbers = [record.priority, record.weight, record.port].map(u16::to_be_bytes).concat();
        assert!(bytes.windows(6).any(|window| window == numbers), "{place}");
    }
    // With fewer answers it has the first ones.
    for fewer in 0..count.min(8) {
        let mut cut = bytes.to_vec();
        cut[6..8].copy_from_slice(&(fewer as u16).to_be_bytes());
        let first = services(&cut).expect("a part of what is read");
        assert_eq!(first.records[..], records[..first.records.len()], "{place}");
    }
}
