//! Which request of a client connection may go to a backend before those ahead of it are answered.

use crate::http::message::Framing;
use crate::http::method::Method;
use crate::http::request::RequestHead;

/// Whether a request may be dispatched while earlier ones of its client are still at work: GET, HEAD
/// and OPTIONS that bring no body.
///
/// A request to switch protocols is a GET, but what follows it may not be HTTP: that is for the
/// caller to see.
pub fn pipelinable(method: Method, framing: Framing) -> bool {
    let changes_nothing = match method {
        Method::Get | Method::Head | Method::Options => true,
        Method::Trace
        | Method::Put
        | Method::Delete
        | Method::Post
        | Method::Patch
        | Method::Connect
        | Method::Other => false,
    };
    changes_nothing && matches!(framing, Framing::None | Framing::Length(0))
}

/// Whether a request may run beside others of its client, by its whole head: as [`pipelinable`], but it neither
/// switches protocols nor logs in a connection.
pub fn runs_beside_others(head: &RequestHead, may_switch: bool) -> bool {
    pipelinable(head.method, head.framing) && !may_switch && !head.authorizes_connection
}

/// Whether a request may stand behind another on one connection, or have one behind it. Not HEAD: a
/// server that sends a body with it all the same would be heard as answering the next.
pub fn may_share(method: Method, own_pipelinable: bool) -> bool {
    own_pipelinable && method != Method::Head
}

/// Whether a request may be dispatched now.
///
/// The first that is not answered always may. Another may if it and `ahead_all_pipelinable`, all
/// those ahead of it that are not answered, are [`pipelinable`], and it is not `in_order`: one whose
/// turn was revoked waits until it is first.
pub fn may_start(
    ahead_all_pipelinable: bool,
    own_pipelinable: bool,
    is_first: bool,
    in_order: bool,
) -> bool {
    is_first || (ahead_all_pipelinable && own_pipelinable && !in_order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_nothing_and_brings_no_body_is_pipelined() {
        for (method, wanted) in [
            (Method::Get, true),
            (Method::Head, true),
            (Method::Options, true),
            (Method::Trace, false),
            (Method::Put, false),
            (Method::Delete, false),
            (Method::Post, false),
            (Method::Patch, false),
            (Method::Connect, false),
            (Method::Other, false),
        ] {
            assert_eq!(pipelinable(method, Framing::None), wanted, "{method:?}");
            assert_eq!(pipelinable(method, Framing::Length(0)), wanted, "{method:?}");
            assert!(!pipelinable(method, Framing::Length(1)), "{method:?}");
            assert!(!pipelinable(method, Framing::Chunked), "{method:?}");
        }
    }

    #[test]
    fn head_shares_no_connection() {
        for (method, wanted) in
            [(Method::Get, true), (Method::Options, true), (Method::Head, false)]
        {
            assert_eq!(may_share(method, true), wanted, "{method:?}");
            assert!(!may_share(method, false), "{method:?}");
        }
    }

    #[test]
    fn all_others_wait_for_all_earlier_answers_and_hold_back_all_later_ones() {
        for ahead in [false, true] {
            for own in [false, true] {
                for in_order in [false, true] {
                    assert!(may_start(ahead, own, true, in_order));
                    let wanted = ahead && own && !in_order;
                    assert_eq!(may_start(ahead, own, false, in_order), wanted);
                }
            }
        }
    }
}
