use super::*;

/// All contexts there can be, with none, one and two tries left.
fn all_contexts() -> impl Iterator<Item = RetryContext> {
    (0..1 << 9).flat_map(|bits: u32| {
        (0..3).map(move |tries_left| RetryContext {
            committed: bits & 1 != 0,
            sent: bits & 2 != 0,
            idempotent: bits & 4 != 0,
            replayable: bits & 8 != 0,
            reused_and_silent: bits & 16 != 0,
            budget_left: bits & 32 != 0,
            method: if bits & 64 != 0 { Method::Head } else { Method::Put },
            timed_out_before: bits & 128 != 0,
            other_is_up: bits & 256 != 0,
            tries_left,
        })
    })
}

fn all() -> impl Iterator<Item = (Failure, RetryContext, Verdict)> {
    Failure::ALL.into_iter().flat_map(|failure| {
        all_contexts().map(move |context| (failure, context, verdict(failure, context)))
    })
}

fn retried(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Retry { .. })
}

#[test]
fn nothing_is_retried_or_answered_once_the_client_has_seen_a_byte() {
    for (failure, context, verdict) in all() {
        let place = format!("{failure:?} {context:?}");
        assert_eq!(verdict == Verdict::Truncate, context.committed, "{place}");
    }
}

#[test]
fn what_is_not_retried_is_answered_with_its_own_failure() {
    for (failure, context, verdict) in all() {
        if !context.committed && !retried(verdict) {
            assert_eq!(verdict, Verdict::Answer(failure), "{context:?}");
        }
    }
}

#[test]
fn what_may_have_been_acted_on_is_retried_only_if_that_does_no_harm() {
    for (failure, context, verdict) in all() {
        let connected = !matches!(failure, Failure::Refused | Failure::ConnectTimeout);
        if connected && context.sent && !context.idempotent {
            assert!(!retried(verdict), "{failure:?} {context:?}");
        }
    }
}

#[test]
fn what_is_no_longer_held_is_not_retried() {
    for (failure, context, verdict) in all() {
        assert!(context.replayable || !retried(verdict), "{failure:?} {context:?}");
    }
}

#[test]
fn only_failed_connects_ended_connections_mismatches_and_silence_are_retried() {
    for (failure, context, verdict) in all() {
        let retriable = match failure {
            Failure::Refused
            | Failure::ConnectTimeout
            | Failure::Terminated
            | Failure::IdentityMismatch => true,
            Failure::ResponseTimeout => {
                context.method == Method::Head && !context.timed_out_before && context.other_is_up
            }
            Failure::NoBackend
            | Failure::QueueTimeout
            | Failure::Protocol
            | Failure::HeadTooLarge
            | Failure::Incomplete => false,
        };
        assert!(retriable || !retried(verdict), "{failure:?} {context:?}");
    }
}

#[test]
fn a_failure_on_a_reused_connection_before_any_response_byte_does_not_count() {
    for (failure, context, verdict) in all() {
        let stale = failure == Failure::Terminated && context.reused_and_silent;
        if let Verdict::Retry { counts } = verdict {
            assert_eq!(counts, !stale, "{failure:?} {context:?}");
        }
        let may_be_sent = context.replayable && (context.idempotent || !context.sent);
        if stale && may_be_sent && !context.committed {
            assert_eq!(verdict, Verdict::Retry { counts: false }, "whatever is left: {context:?}");
        }
    }
}

#[test]
fn a_retry_that_counts_needs_a_try_and_the_budget() {
    for (failure, context, verdict) in all() {
        if verdict == (Verdict::Retry { counts: true }) {
            assert!(context.tries_left > 0 && context.budget_left, "{failure:?} {context:?}");
        }
    }
}

#[test]
fn all_that_3_4_allows_is_retried() {
    for (failure, context, verdict) in all() {
        let at_connect = matches!(failure, Failure::Refused | Failure::ConnectTimeout);
        let ended = matches!(failure, Failure::Terminated | Failure::IdentityMismatch);
        let not_acted_on = at_connect || (ended && !context.sent);
        let is_late = failure == Failure::ResponseTimeout
            && context.method == Method::Head
            && !context.timed_out_before
            && context.other_is_up;
        let allowed = not_acted_on || (context.idempotent && (ended || is_late));
        let possible = context.replayable && context.tries_left > 0 && context.budget_left;
        if !context.committed && allowed && possible {
            assert!(retried(verdict), "{failure:?} {context:?}");
        }
    }
}

#[test]
fn requests_that_ask_for_nothing_but_a_response_are_asked_twice_when_it_does_not_come() {
    for method in [Method::Get, Method::Head, Method::Options] {
        assert!(is_asked_twice(method));
    }
    use Method::*;
    for method in [Trace, Put, Delete, Post, Patch, Connect, Other] {
        assert!(!is_asked_twice(method), "{method:?}");
    }
}

#[test]
fn who_leaves_a_backend_that_is_down_needs_a_try_and_no_budget() {
    for context in all_contexts() {
        let harmless = context.idempotent || !context.sent;
        let may = harmless && context.replayable && context.tries_left > 0 && !context.committed;
        assert_eq!(evacuates(&context), may, "{context:?}");
    }
}

#[test]
fn each_failure_is_reported_as_section_4_says() {
    for (failure, status, error, reason) in [
        (Failure::Refused, 502, "connection_refused", "connection_refused"),
        (Failure::Terminated, 502, "connection_terminated", "connection_terminated"),
        (Failure::Protocol, 502, "http_protocol_error", "http_protocol_error"),
        (
            Failure::HeadTooLarge,
            502,
            "http_response_header_section_size",
            "http_response_header_section_size",
        ),
        (Failure::IdentityMismatch, 502, "http_protocol_error", "identity_mismatch"),
        (Failure::NoBackend, 503, "destination_unavailable", "destination_unavailable"),
        (Failure::QueueTimeout, 503, "connection_limit_reached", "connection_limit_reached"),
        (Failure::ConnectTimeout, 504, "connection_timeout", "connection_timeout"),
        (Failure::ResponseTimeout, 504, "http_response_timeout", "http_response_timeout"),
        (Failure::Incomplete, 502, "http_response_incomplete", "http_response_incomplete"),
    ] {
        assert_eq!((failure.status(), failure.error()), (status, error));
        assert_eq!(failure.reason().as_str(), reason);
    }
}

fn retries_allowed(budget: &mut Budget, now: u64) -> u32 {
    (0..).find(|_| !budget.try_retry(Millis(now))).unwrap()
}

#[test]
fn without_requests_a_hundred_retries_in_ten_seconds_are_free() {
    let mut budget = Budget::share(0, 1);
    assert_eq!(retries_allowed(&mut budget, 0), 100);
    assert!(!budget.allows(Millis(9999)));
    assert_eq!(retries_allowed(&mut budget, 10_000), 100);
}

#[test]
fn a_fifth_of_the_requests_may_be_retried_beyond_that() {
    let mut budget = Budget::share(0, 1);
    for _ in 0..1004 {
        budget.request(Millis(5000));
    }
    assert_eq!(retries_allowed(&mut budget, 14_999), 300);
    assert!(!budget.allows(Millis(15_000)), "the requests are too old now, the retries are not");
    assert_eq!(retries_allowed(&mut budget, 24_000), 100);
}

#[test]
fn a_second_is_forgotten_when_ten_have_passed() {
    let mut budget = Budget::share(0, 1);
    for second in 0..30 {
        let allowed = retries_allowed(&mut budget, second * 1000);
        assert_eq!(allowed, if second % 10 == 0 { 100 } else { 0 }, "second {second}");
    }
    assert_eq!(retries_allowed(&mut budget, u64::MAX), 100);
}

#[test]
fn after_a_long_silence_all_is_forgotten() {
    for silence in [10_000, 11_000, 30_000, u64::MAX - 5000] {
        let mut budget = Budget::share(0, 1);
        assert_eq!(retries_allowed(&mut budget, 5000), 100);
        assert_eq!(retries_allowed(&mut budget, 5000 + silence), 100, "{silence} ms");
    }
}

#[test]
fn a_clock_that_steps_back_frees_nothing() {
    let mut budget = Budget::share(0, 1);
    assert_eq!(retries_allowed(&mut budget, 50_000), 100);
    assert_eq!(retries_allowed(&mut budget, 0), 0);
    assert_eq!(retries_allowed(&mut budget, 59_999), 0);
}

#[test]
fn the_free_retries_of_all_workers_are_as_many_as_those_of_one() {
    for workers in [1, 2, 3, 64, 100, 101, 256] {
        let retries: usize = (0..workers)
            .map(|worker| {
                let mut budget = Budget::share(worker, workers);
                (0..200).filter(|_| budget.try_retry(Millis(5))).count()
            })
            .sum();
        assert_eq!(retries, 100, "{workers}");
    }
}
