//! What a request makes of the stored answers: RFC 9111 §4.4.

use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::mem::Append;

use super::cache_key::Url;

/// Whether stored answers for a request's URL may be wrong once it was answered so: its method is
/// not known to be safe, and it was not in vain.
pub fn invalidates(method: Method, status: u16) -> bool {
    !method.is_safe() && (200..=399).contains(&status)
}

/// Fields that name further URLs which the request may have changed.
const NAMING: [&str; 2] = ["location", "content-location"];

/// Hands over the key of each further URL of the same origin that the answer to such a request names,
/// written to what `start` gives. Of another origin it may say nothing.
pub fn also_invalidated<Key: Append>(
    url: &Url,
    response: &Fields,
    start: impl Fn() -> Key,
    mut each: impl FnMut(Key),
) {
    for name in NAMING {
        for reference in response.values(name) {
            let mut key = start();
            if url.write_reference(reference, &mut key).is_some() {
                each(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response;

    /// docs/CACHE.md, rule 10.
    #[test]
    fn unsafe_methods_invalidate_unless_they_failed() {
        for name in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "PURGE", "get"] {
            let method = Method::from_name(name.as_bytes());
            for status in 100..=599 {
                let expected = (200..400).contains(&status);
                assert_eq!(invalidates(method, status), expected, "{name} {status}");
            }
        }
        for name in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            let method = Method::from_name(name.as_bytes());
            assert!((100..=599).all(|status| !invalidates(method, status)), "{name}");
        }
    }

    #[test]
    fn location_and_content_location_of_the_same_host_are_invalidated() {
        let head = b"HTTP/1.1 201 Created\r\nLocation: /new?x#y\r\nContent-Location: ../b\r\n\
            location: http://A:80/abs\r\nContent-Location: http://other/\r\n\
            Link: /not\r\nLocation: https://a/tls\r\n\r\n";
        let head = response::parse(head).expect("valid");
        let url = Url { https: false, host: b"a", target: b"/x/y/z" };
        let mut keys = Vec::new();
        let text = |key: Vec<u8>| String::from_utf8_lossy(&key).into_owned();
        also_invalidated(&url, &head.fields, Vec::new, |key| keys.push(text(key)));
        assert_eq!(keys, ["http://a/new?x", "http://a/abs", "http://a/x/b"]);
    }
}
