//! Why a request did not get a backend's answer, or not a whole one: as the log and the metrics
//! name it.

use crate::http::request::Refusal;

/// The reasons, as httplb(8) lists them under the responses that httplb makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request is malformed, or asks for what is not offered.
    RequestError,
    /// The client was too slow.
    ClientTimeout,
    /// The client went away.
    ClientAbort,
    /// The request's body is above `max_body`.
    BodyTooLarge,
    /// The request line is above the limit.
    TargetTooLong,
    /// The head is above the limit, or has too many fields.
    HeaderTooLarge,
    /// No backend may be asked.
    DestinationUnavailable,
    /// All backends are at their cap.
    ConnectionLimit,
    /// A backend refused the connection.
    ConnectionRefused,
    /// The connection to a backend did not open in time.
    ConnectionTimeout,
    /// A backend closed or reset the connection before a whole response head.
    ConnectionTerminated,
    /// What a backend sent is not HTTP.
    ProtocolError,
    /// The response head is above the limit.
    ResponseHeaderTooLarge,
    /// The response is another request's.
    IdentityMismatch,
    /// A backend did not answer in time.
    ResponseTimeout,
    /// The response was cut short.
    ResponseIncomplete,
    /// The request has been here before.
    LoopDetected,
}

impl Reason {
    /// All there are, in the order of their numbers.
    pub const ALL: [Reason; 17] = [
        Reason::RequestError,
        Reason::ClientTimeout,
        Reason::ClientAbort,
        Reason::BodyTooLarge,
        Reason::TargetTooLong,
        Reason::HeaderTooLarge,
        Reason::DestinationUnavailable,
        Reason::ConnectionLimit,
        Reason::ConnectionRefused,
        Reason::ConnectionTimeout,
        Reason::ConnectionTerminated,
        Reason::ProtocolError,
        Reason::ResponseHeaderTooLarge,
        Reason::IdentityMismatch,
        Reason::ResponseTimeout,
        Reason::ResponseIncomplete,
        Reason::LoopDetected,
    ];

    /// Its place in `ALL`.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether a request failed so at a backend; the others concern the client, or no backend was asked.
    pub const fn concerns_backends(self) -> bool {
        match self {
            Reason::ConnectionRefused
            | Reason::ConnectionTimeout
            | Reason::ConnectionTerminated
            | Reason::ProtocolError
            | Reason::ResponseHeaderTooLarge
            | Reason::IdentityMismatch
            | Reason::ResponseTimeout
            | Reason::ResponseIncomplete => true,
            Reason::RequestError
            | Reason::ClientTimeout
            | Reason::ClientAbort
            | Reason::BodyTooLarge
            | Reason::TargetTooLong
            | Reason::HeaderTooLarge
            | Reason::DestinationUnavailable
            | Reason::ConnectionLimit
            | Reason::LoopDetected => false,
        }
    }

    /// As the log and the metrics write it: mostly the error types of RFC 9209 §2.3.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::RequestError => "http_request_error",
            Reason::ClientTimeout => "client_timeout",
            Reason::ClientAbort => "client_abort",
            Reason::BodyTooLarge => "body_too_large",
            Reason::TargetTooLong => "target_too_long",
            Reason::HeaderTooLarge => "header_too_large",
            Reason::DestinationUnavailable => "destination_unavailable",
            Reason::ConnectionLimit => "connection_limit_reached",
            Reason::ConnectionRefused => "connection_refused",
            Reason::ConnectionTimeout => "connection_timeout",
            Reason::ConnectionTerminated => "connection_terminated",
            Reason::ProtocolError => "http_protocol_error",
            Reason::ResponseHeaderTooLarge => "http_response_header_section_size",
            Reason::IdentityMismatch => "identity_mismatch",
            Reason::ResponseTimeout => "http_response_timeout",
            Reason::ResponseIncomplete => "http_response_incomplete",
            Reason::LoopDetected => "proxy_loop_detected",
        }
    }
}

impl Reason {
    /// As a sentence for the operator ends with it.
    pub const fn in_words(self) -> &'static str {
        match self {
            Reason::RequestError => "requests that are malformed, or ask for what is not offered",
            Reason::ClientTimeout => "clients that were too slow",
            Reason::ClientAbort => "clients that went away",
            Reason::BodyTooLarge => "bodies above max_body",
            Reason::TargetTooLong => "request lines above the limit",
            Reason::HeaderTooLarge => "request heads above the limit",
            Reason::DestinationUnavailable => "no backend was up",
            Reason::ConnectionLimit => "all backends have as many requests as they may",
            Reason::ConnectionRefused => "connections refused",
            Reason::ConnectionTimeout => "connections not opened in time",
            Reason::ConnectionTerminated => "connections closed or reset before the response",
            Reason::ProtocolError => "malformed responses",
            Reason::ResponseHeaderTooLarge => "response heads above the limit",
            Reason::IdentityMismatch => "responses to other requests",
            Reason::ResponseTimeout => "no response in time",
            Reason::ResponseIncomplete => "responses cut short",
            Reason::LoopDetected => "requests that had been here before",
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Reason {
        match refusal {
            Refusal::TimedOut => Reason::ClientTimeout,
            Refusal::Loop => Reason::LoopDetected,
            Refusal::BodyTooLarge => Reason::BodyTooLarge,
            Refusal::TargetTooLong => Reason::TargetTooLong,
            Refusal::TooManyFields | Refusal::HeadTooLong => Reason::HeaderTooLarge,
            Refusal::Malformed
            | Refusal::RawTarget
            | Refusal::Host
            | Refusal::Framing
            | Refusal::Coding
            | Refusal::Connect
            | Refusal::Version
            | Refusal::Expectation => Reason::RequestError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_number_and_word() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            let same = Reason::ALL.iter().filter(|other| other.as_str() == reason.as_str());
            assert_eq!(same.count(), 1, "{}", reason.as_str());
        }
    }

    #[test]
    fn refusals_are_reported_as_documented() {
        for (refusal, word) in [
            (Refusal::Malformed, "http_request_error"),
            (Refusal::Host, "http_request_error"),
            (Refusal::Framing, "http_request_error"),
            (Refusal::TimedOut, "client_timeout"),
            (Refusal::BodyTooLarge, "body_too_large"),
            (Refusal::TargetTooLong, "target_too_long"),
            (Refusal::Expectation, "http_request_error"),
            (Refusal::HeadTooLong, "header_too_large"),
            (Refusal::TooManyFields, "header_too_large"),
            (Refusal::Coding, "http_request_error"),
            (Refusal::Connect, "http_request_error"),
            (Refusal::Version, "http_request_error"),
        ] {
            assert_eq!(Reason::from(refusal).as_str(), word, "{refusal:?}");
        }
    }
}
