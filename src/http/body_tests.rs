use super::super::{request, response};
use super::*;

fn answer(method: Method, head: &str) -> String {
    let head = response::parse(head.as_bytes()).expect("the head is valid");
    format!("{:?}", of_response(method, &head))
}

#[test]
fn head_and_204_and_304_have_no_body_whatever_they_say() {
    for lines in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        for status in [100, 101, 103, 204, 304] {
            let head = format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
            assert_eq!(answer(Method::Get, &head), "Empty", "{head}");
        }
        assert_eq!(answer(Method::Head, &format!("HTTP/1.1 200 OK\r\n{lines}\r\n")), "Empty");
    }
}

#[test]
fn other_answers_are_framed_by_their_fields_or_the_end() {
    assert_eq!(answer(Method::Get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), "Length(5)");
    assert_eq!(answer(Method::Get, "HTTP/1.1 200 OK\r\n\r\n"), "UntilClose");
    assert_eq!(answer(Method::Get, "HTTP/1.0 404\r\n\r\n"), "UntilClose");
    let chunked = "HTTP/1.1 205 X\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(answer(Method::Get, chunked).starts_with("Chunked"));
}

#[test]
fn a_body_on_get_is_a_body() {
    let body = |head: &str| {
        let head = request::parse(head.as_bytes()).expect("the head is valid");
        of_request(&head)
    };
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "ODD"] {
        let start = format!("{method} / HTTP/1.1\r\nHost: a\r\n");
        let with_length = body(&format!("{start}Content-Length: 5\r\n\r\n"));
        assert!(matches!(with_length, Body::Length(5)), "{method}");
        let chunked = body(&format!("{start}Transfer-Encoding: chunked\r\n\r\n"));
        assert!(matches!(chunked, Body::Chunked(_)) && !chunked.is_done(), "{method}");
        assert!(matches!(body(&format!("{start}\r\n")), Body::Empty), "{method}");
    }
}

#[test]
fn a_body_is_done_when_nothing_is_left() {
    assert!(Body::Empty.is_done());
    assert!(Body::Length(0).is_done());
    assert!(!Body::Length(1).is_done());
    assert!(!Body::UntilClose.is_done());
}
