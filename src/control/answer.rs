//! Answers to operators, as bytes.

use crate::http::reply::reason_phrase;
use crate::http::{Refusal, date};
use crate::mem::time::Micros;

use super::json;
use super::request_parser::After;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiResponse {
    /// The status code.
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// What it says.
    pub body: String,
    /// Further field lines, each with its CRLF.
    pub fields: &'static str,
}

/// The media type of JSON.
const JSON: &str = "application/json";

impl ApiResponse {
    /// JSON.
    pub fn json(status: u16, body: String) -> ApiResponse {
        ApiResponse { status, content_type: JSON, body, fields: "" }
    }

    /// A mistake: `{"error": MESSAGE}`.
    pub fn error(status: u16, message: &str) -> ApiResponse {
        ApiResponse::json(status, json::error(message, &[]))
    }

    /// What a browser does nothing about.
    pub fn nothing() -> ApiResponse {
        ApiResponse { status: 204, content_type: "", body: String::new(), fields: "" }
    }

    /// A line of text.
    pub fn line(status: u16, line: &str) -> ApiResponse {
        let content_type = "text/plain; charset=utf-8";
        ApiResponse { status, content_type, body: format!("{line}\n"), fields: "" }
    }

    /// With field lines, each with its CRLF.
    pub fn with(mut self, fields: &'static str) -> ApiResponse {
        self.fields = fields;
        self
    }

    /// What is said to a request that cannot be read or is too large.
    pub fn refusal(refusal: Refusal) -> ApiResponse {
        ApiResponse::error(
            refusal.status(),
            match refusal {
                Refusal::Malformed | Refusal::RawTarget => "the request is not valid HTTP/1.1",
                Refusal::Host => "Host is missing, doubled or not a host",
                Refusal::Framing => "it is doubtful where the body ends",
                Refusal::Coding => "this transfer coding is not served (send it chunked, or plain)",
                Refusal::Connect => "CONNECT is not served",
                Refusal::Version => "only HTTP/1.0 and HTTP/1.1 are served",
                Refusal::TooManyFields => "the request has too many fields (send fewer than 100)",
                Refusal::Expectation => "no other expectation than 100-continue can be met",
                Refusal::TargetTooLong | Refusal::HeadTooLong | Refusal::BodyTooLarge => {
                    "the request is larger than 64 KiB"
                }
                Refusal::Loop => "the request has passed here too often",
                Refusal::TimedOut => "the request did not come within 10 seconds",
            },
        )
    }

    /// All but the body, as it is sent.
    pub fn head(&self, after: After, wall: Micros) -> String {
        let date = date::imf_fixdate(wall.0 / 1_000_000);
        let connection = match after {
            After::Keep => "",
            After::KeepAndSay => "Connection: keep-alive\r\n",
            After::Close => "Connection: close\r\n",
        };
        let (content_type, len) = (self.content_type, self.body.len());
        let content = match self.status {
            204 => String::new(), // RFC 9110 §8.6
            _ => format!("Content-Type: {content_type}\r\nContent-Length: {len}\r\n"),
        };
        format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\n{content}Cache-Control: no-store\r\n{}{connection}\r\n",
            self.status,
            reason_phrase(self.status),
            String::from_utf8_lossy(&date),
            self.fields,
        )
    }
}

/// Whether both are the same, in a time that tells nothing of where they differ.
pub fn is_same_secret(given: &[u8], secret: &[u8]) -> bool {
    let mut difference = given.len() ^ secret.len();
    for (index, byte) in given.iter().enumerate() {
        // An empty secret is nobody's: its length differs, or the loop is empty.
        let wanted = secret.get(index % secret.len().max(1)).copied().unwrap_or_default();
        difference |= usize::from(std::hint::black_box(byte ^ wanted));
    }
    !secret.is_empty() && std::hint::black_box(difference) == 0
}

/// The answer that has the mistakes of the configuration, if they are the reason: they come first, and
/// one of the lines behind them counts them.
pub fn refused(why: &str) -> ApiResponse {
    let lines: Vec<&str> = why.lines().map(str::trim).collect();
    let counted = lines.iter().find(|line| line.contains("nothing was changed"));
    let message = match (counted, &lines[..]) {
        (Some(summary), _) => String::from(*summary),
        (None, []) => String::from("the reload was refused"),
        (None, lines) => lines.join(" "),
    };
    let count = counted.and_then(|summary| {
        let (_, behind) = summary.rsplit_once(" has ")?;
        behind.split(' ').next()?.parse().ok()
    });
    let mistakes = lines.iter().take(count.unwrap_or(0)).map(|line| String::from(*line)).collect();
    // There is always a list for programs.
    let errors: Vec<String> = if count.is_none() { vec![message.clone()] } else { mistakes };
    ApiResponse::json(422, json::error(&message, &errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_whole_response() {
        let answer = ApiResponse::error(404, "no such \"thing\"").with("Allow: GET\r\n");
        let head = answer.head(After::Close, Micros::from_secs(784_111_777));
        assert_eq!(
            head + &answer.body,
            "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: application/json\r\nContent-Length: 30\r\nCache-Control: no-store\r\n\
             Allow: GET\r\nConnection: close\r\n\r\n{\"error\":\"no such \\\"thing\\\"\"}\n"
        );
    }

    #[test]
    fn a_client_of_http_1_0_is_told_that_the_connection_stays() {
        let text = |after| ApiResponse::line(200, "ok").head(after, Micros(0));
        assert!(text(After::KeepAndSay).contains("\r\nConnection: keep-alive\r\n"));
        assert!(!text(After::Keep).contains("Connection"));
        assert!(text(After::Keep).ends_with("\r\n\r\n"));
    }

    #[test]
    fn secrets_are_the_same_or_not() {
        assert!(is_same_secret(b"abc", b"abc"));
        for other in [&b"abd"[..], b"ab", b"abcabc", b"", b"abc\0"] {
            assert!(!is_same_secret(other, b"abc"), "{other:?}");
        }
        assert!(!is_same_secret(b"", b""));
        assert!(!is_same_secret(b"a", b""));
    }
}
