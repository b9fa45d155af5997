//! A server that has its connections logged in by NTLM, as IIS does: it answers with the user's name.

use super::{Answer, Backend, Connection, Request};

/// The challenge: a message of type 2 for names in ASCII.
const CHALLENGE: &str = "NTLM TlRMTVNTUAACAAAAAAAAADAAAAACAgAAASNFZ4mrze8AAAAAAAAAAA==";
/// What messages of type 1 and type 3 begin with.
const NEGOTIATE: &str = "NTLM TlRMTVNTUAABAAAA";
const AUTHENTICATE: &str = "NTLM TlRMTVNTUAADAAAA";

/// Whoever sends a message of type 3 is the user of all that comes over its connection. At `/open` nobody
/// has to log in. It ends a connection with its every `lasts`th answer, and says so.
pub fn server(lasts: usize) -> Backend {
    Backend::talking(move |connection| {
        let mut user = None;
        for count in 1.. {
            let Some(request) = connection.request() else { return };
            let answer = answer(&request, &mut user);
            if count % lasts == 0 {
                let answer = answer.with("Connection", "close").then_close();
                connection.give(&answer, &request);
                return;
            }
            if !connection.give(&answer, &request) {
                return;
            }
        }
    })
}

fn answer(request: &Request, user: &mut Option<String>) -> Answer {
    let said = request.field("Authorization").unwrap_or_default();
    if said.starts_with(NEGOTIATE) {
        return Answer::status("401 Unauthorized", "").with("WWW-Authenticate", CHALLENGE);
    }
    if said.starts_with(AUTHENTICATE) {
        *user = Some(user_of(&base64(&said["NTLM ".len()..])));
    }
    match user {
        Some(user) => Answer::text(format!("{user}\n")),
        None if request.target.starts_with("/open") => Answer::text("nobody\n"),
        None => Answer::status("401 Unauthorized", "").with("WWW-Authenticate", "NTLM"),
    }
}

/// How many times somebody has logged in.
pub fn logins(server: &Backend) -> usize {
    let requests = server.requests();
    let said = requests.iter().filter_map(|request| request.field("Authorization"));
    said.filter(|said| said.starts_with(AUTHENTICATE)).count()
}

/// The name in a message of type 3: its length and place are at 36 and 40.
fn user_of(message: &[u8]) -> String {
    let number = |at: usize| usize::from(message[at]) | usize::from(message[at + 1]) << 8;
    let (len, at) = (number(36), number(40));
    String::from_utf8(message[at..at + len].to_vec()).unwrap()
}

fn base64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let values = text.bytes().filter_map(|byte| digits.iter().position(|digit| *digit == byte));
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0, 0);
    for value in values {
        (bits, held) = (bits << 6 | value as u32, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
