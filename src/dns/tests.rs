use super::*;
use crate::mem::xorshift::Xorshift;

fn text_of(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// A record: its owner's name as bytes, kind, lifetime, data.
fn record(owner: &[u8], kind: u16, lifetime: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend([kind.to_be_bytes(), IN.to_be_bytes()].concat());
    bytes.extend(lifetime.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn service(priority: u16, weight: u16, port: u16, target: &[u8]) -> Vec<u8> {
    let numbers = [priority, weight, port].map(u16::to_be_bytes).concat();
    [&numbers, target].concat()
}

/// A message that asks for the records of `_http._tcp.a.test`, whose name begins at 12, and has these
/// answers.
fn message(answers: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0];
    bytes.extend(text_of("_http._tcp.a.test"));
    bytes.extend([0, SRV as u8, 0, 1]);
    bytes.extend(answers.concat());
    bytes
}

const OWNER: &[u8] = &[0xc0, 12];

fn example() -> Vec<u8> {
    let in_zone = [&[3][..], b"one", &[0xc0, 23]].concat(); // one.a.test, by the question's end
    message(&[
        record(OWNER, 5, 1, &text_of("alias.test")),
        record(OWNER, SRV, 60, &service(10, 5, 8080, &text_of("Two.A.test"))),
        record(OWNER, SRV, 30, &service(0, 0, 80, &in_zone)),
        record(OWNER, SRV, 90, &service(0, 0, 0, &[0])),
    ])
}

#[test]
fn servers_are_read_with_their_names_however_these_are_written() {
    let services = services(&example()).unwrap();
    assert_eq!(services.lifetime, Some(30));
    let shown: Vec<String> = services
        .records
        .iter()
        .map(|one| format!("{} {} {}:{}", one.priority, one.weight, one.target, one.port))
        .collect();
    assert_eq!(shown, ["10 5 two.a.test:8080", "0 0 one.a.test:80", "0 0 :0"]);
}

#[test]
fn an_answer_without_servers_has_none() {
    assert_eq!(services(&message(&[])), Some(Services::default()));
    let alias = record(OWNER, 5, 1, &text_of("alias.test"));
    assert_eq!(services(&message(&[alias])), Some(Services::default()));
}

#[test]
fn what_ends_too_early_is_refused_wherever_it_does() {
    let whole = example();
    for len in 0..whole.len() {
        assert_eq!(services(&whole[..len]), None, "{len} bytes");
    }
}

#[test]
fn names_that_lead_in_circles_or_are_none_are_refused() {
    let of =
        |target: &[u8]| services(&message(&[record(OWNER, SRV, 1, &service(0, 0, 1, target))]));
    assert!(of(&text_of("a")).is_some());
    let own = 12 + 19 + 4 + 12 + 6; // where the target begins
    let odd: [&[u8]; 8] = [
        &[0xc0, own],
        &[0xc0, 0xff],
        &[1, b'a', 0xc0, own],
        &[0x40, 0],
        &[0x80, 0],
        &[1, b' ', 0],
        &[1, 0, 0],
        &[1, b'a', 0, 0], // there is more data than a name
    ];
    for target in odd {
        assert_eq!(of(target), None, "{target:?}");
    }
    let long: Vec<&str> = vec!["abcdefg"; 32];
    assert_eq!(of(&text_of(&long.join("."))), None);
}

#[test]
fn a_lifetime_with_the_highest_bit_is_none() {
    let answer = record(OWNER, SRV, 0x8000_0001, &service(0, 0, 1, &text_of("a")));
    assert_eq!(services(&message(&[answer])).unwrap().lifetime, Some(0));
}

#[test]
fn no_bytes_make_it_panic_or_give_a_name_that_is_none() {
    let (mut read, mut refused) = (0, 0);
    for seed in 1..=100_000 {
        let mut random = Xorshift::new(seed);
        let mut bytes = example();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes.truncate(at.max(1)),
                _ => {
                    let from = random.below(bytes.len());
                    bytes[at] = bytes[from];
                }
            }
        }
        let Some(services) = services(&bytes) else {
            refused += 1;
            continue;
        };
        read += 1;
        for record in &services.records {
            let allowed = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)
            };
            assert!(record.target.bytes().all(allowed) && record.target.len() <= 253);
        }
        assert_eq!(services.records.is_empty(), services.lifetime.is_none());
    }
    assert!(read > 10_000 && refused > 10_000, "{read} were read, {refused} refused");
}
