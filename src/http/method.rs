//! Request methods, as far as their meaning matters to an intermediary.

/// A request method (RFC 9110 §9, RFC 5789). Names are case-sensitive: `get` is [`Method::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the methods")]
pub enum Method {
    Get,
    Head,
    Options,
    Trace,
    Put,
    Delete,
    Post,
    Patch,
    Connect,
    /// Any other token. Nothing is known of it, so it is neither safe nor idempotent.
    Other,
}

impl Method {
    /// The method of that name.
    pub fn from_name(name: &[u8]) -> Method {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"POST" => Method::Post,
            b"PATCH" => Method::Patch,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }

    /// Whether the client asks for no change of state (RFC 9110 §9.2.1).
    pub fn is_safe(self) -> bool {
        match self {
            Method::Get | Method::Head | Method::Options | Method::Trace => true,
            Method::Put
            | Method::Delete
            | Method::Post
            | Method::Patch
            | Method::Connect
            | Method::Other => false,
        }
    }

    /// Whether doing it twice has the effect of doing it once, so that it may be sent again after
    /// a failure (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }
}

#[cfg(test)]
mod tests {
    use super::Method;

    #[test]
    fn method_names_are_case_sensitive() {
        assert_eq!(Method::from_name(b"GET"), Method::Get);
        assert_eq!(Method::from_name(b"get"), Method::Other);
        assert_eq!(Method::from_name(b"GETS"), Method::Other);
        assert_eq!(Method::from_name(b""), Method::Other);
    }

    #[test]
    fn only_methods_known_to_be_idempotent_may_be_repeated() {
        for name in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(Method::from_name(name.as_bytes()).is_idempotent(), "{name}");
        }
        for name in ["POST", "PATCH", "CONNECT", "QUERY", "get"] {
            assert!(!Method::from_name(name.as_bytes()).is_idempotent(), "{name}");
        }
        assert!(!Method::Put.is_safe());
        assert!(Method::Trace.is_safe());
    }
}
