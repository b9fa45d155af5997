//! What an image of the program reads from the one before: whatever is understood comes back when it
//! is told again, and an older image's record and a newer one's are understood alike.

use crate::Dice;
use httplb::master::record::{FORMAT, ServiceRecord};
use serde_json::Value;

/// What every version has written.
const NEEDED: [&str; 5] = ["format", "started", "waker", "listeners", "generations"];

pub fn check(bytes: &[u8]) {
    let place = bytes.escape_ascii().to_string();
    let state = match ServiceRecord::parse(bytes) {
        Ok(state) => state,
        Err(reason) => return assert!(!reason.is_empty(), "{place}"),
    };
    assert!(state.format <= FORMAT, "a newer format: {place}");
    let told = serde_json::to_value(&state).expect("a state");
    assert_eq!(read(&told), Ok(state.clone()), "another when told again: {place}");

    let mut dice = Dice::of(bytes);
    let mut newer = told.clone();
    add_key(&mut newer, &mut dice);
    assert_eq!(read(&newer), Ok(state), "what a newer version adds misleads: {place}");

    newer["format"] = (FORMAT + 1).into();
    assert!(read(&newer).is_err(), "a newer format is read: {place}");

    let keys: Vec<String> = told.as_object().expect("an object").keys().cloned().collect();
    let mut older = told;
    let key = &keys[dice.up_to(keys.len() - 1)];
    older.as_object_mut().expect("an object").remove(key);
    let is_needed = NEEDED.contains(&&key[..]);
    assert_eq!(read(&older).is_err(), is_needed, "without {key}: {place}");
}

fn read(value: &Value) -> Result<ServiceRecord, String> {
    ServiceRecord::parse(value.to_string().as_bytes())
}

/// Adds to any of the objects what this version does not know.
fn add_key(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| add_key(value, dice)),
        Value::Object(values) => {
            values.values_mut().for_each(|value| add_key(value, dice));
            // What is one word of several must stay one.
            let is_word = values.len() == 1;
            if !is_word && dice.up_to(1) == 0 {
                values.insert("added".to_owned(), serde_json::json!({"by": ["a", "newer", 1]}));
            }
        }
        _ => (),
    }
}
