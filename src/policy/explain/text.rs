//! An explanation for a terminal.

use std::fmt::{self, Display, Formatter};

use crate::policy::reason::Reason;

use super::pool::RepeatPlan;
use super::pool::UNKNOWN;
use super::{Explanation, PoolPlan, RoutePlan};
use crate::config::ShownCap;

/// Where what is said begins, behind the word that says of what.
const INDENT: usize = 13;

/// Writes a line, with its word if it is the first of its kind.
fn line(out: &mut Formatter<'_>, word: &str, text: &str) -> fmt::Result {
    let word = if word.is_empty() { String::new() } else { format!("{word}:") };
    writeln!(out, "{}", format!("{word:INDENT$}{text}").trim_end())
}

/// Writes a line for each of `texts`, the word before the first.
fn lines<T: AsRef<str>>(
    out: &mut Formatter<'_>,
    word: &str,
    texts: impl IntoIterator<Item = T>,
) -> fmt::Result {
    let mut word = word;
    for text in texts {
        line(out, word, text.as_ref())?;
        word = "";
    }
    Ok(())
}

impl Display for Explanation {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        line(out, "request", &format!("{} from {}", self.request, self.client))?;
        if let Some(route) = &self.route {
            route.write(out)?;
        }
        if let Some(answer) = &self.answer {
            let text = format!("{} at once: {} ({})", answer.status, answer.because, answer.reason);
            line(out, "answered", &text)?;
        }
        if let Some(pool) = &self.pool {
            pool.write(out)?;
        }
        line(out, "cache", &self.cache)?;
        if let Some(key) = &self.cache_key {
            line(out, "", &format!("by the key {key}"))?;
        }
        lines(out, "added", &self.added_to_request)?;
        lines(out, "removed", &self.removed_from_request)?;
        lines(out, "response", &self.added_to_response)?;
        lines(out, "limits", self.limits.iter().map(|limit| format!("{}: {}", limit.of, limit.is)))
    }
}

impl RoutePlan {
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        line(out, "route", &self.by)?;
        let passed = |route: &super::PassedOver| format!("not {}: {}", route.route, route.because);
        lines(out, "", self.passed_over.iter().map(passed))
    }
}

impl PoolPlan {
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let beside = if self.is_pipelined {
            "runs beside other requests of its connection"
        } else {
            "waits for all requests before it on its connection"
        };
        line(out, "pool", &format!("{}, {}; it {beside}", self.name, self.balance))?;
        if let Some(sticky) = &self.sticky {
            let of = sticky.backend.as_ref().map_or(String::new(), |of| format!(" of {of}"));
            let sets = if sticky.is_set { ", and it is set" } else { "" };
            let cookie = &sticky.cookie;
            let text = format!("{}: cookie {cookie}{of}: {}{sets}", sticky.verdict, sticky.because);
            line(out, "sticky", &text)?;
        }
        if let Some(shares) = &self.shares {
            line(
                out,
                "shares",
                &format!("{shares} (its connection, with requests of other clients)"),
            )?;
        }
        lines(
            out,
            "backends",
            self.backends.iter().map(|backend| {
                let tenths = match backend.tenths {
                    10.. => String::new(),
                    tenths => format!(" ({tenths} tenths of it)"),
                };
                let backup = if backend.backup { ", backup" } else { "" };
                let cap = match (backend.max_connections, backend.cap) {
                    (ShownCap::Number(_), None) => String::new(),
                    (ShownCap::Number(_), Some(cap)) => format!(" of {cap}"),
                    (ShownCap::Word(word), None) => format!(" of {word}"),
                    (ShownCap::Word(word), Some(cap)) => format!(" of {cap} ({word})"),
                };
                let because = match backend.because {
                    "" => String::new(),
                    because => format!(": {because}"),
                };
                let (state, requests) = match backend.state {
                    UNKNOWN => (String::from("state unknown"), String::new()),
                    state => (
                        stated(state, backend.why.as_deref()),
                        format!(", {}{cap} requests", backend.connections),
                    ),
                };
                let shares = backend
                    .shares
                    .as_ref()
                    .map_or(String::new(), |shares| format!("; shares: {shares}"));
                format!(
                    "{} {state}, weight {}{tenths}{backup}{requests}: {}{because}{shares}",
                    backend.backend, backend.weight, backend.verdict
                )
            }),
        )?;
        lines(out, "names", &self.names)?;
        if self.outcome == "waits" {
            line(out, "", "all are at their limit: it waits")?;
        }
        self.repeats.write(out)
    }
}

/// A state, and why it is so where that is known.
fn stated(state: &str, why: Option<&str>) -> String {
    why.map_or(String::from(state), |why| format!("{state} ({why})"))
}

impl RepeatPlan {
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let kind = if self.is_idempotent { "idempotent" } else { "not idempotent" };
        let more = match self.retries {
            0 => String::from("on no other backend"),
            1 => String::from("on 1 other backend"),
            most => format!("on up to {most} other backends"),
        };
        line(out, "retried", &format!("{more}; it is {kind}"))?;
        if !self.repeated_after.is_empty() {
            let after = self.repeated_after.iter().map(|reason| match *reason {
                late if late == Reason::ResponseTimeout.as_str() => format!("{late} (once)"),
                reason => String::from(reason),
            });
            let after: Vec<String> = after.collect();
            line(out, "", &format!("after {}", after.join(", ")))?;
        }
        line(out, "", &format!("not after {}", self.answered_after.join(", ")))?;
        let waits = match self.is_evacuated {
            true => {
                "if its backend goes down before a byte of the response came, it leaves for another"
            }
            false => "if its backend goes down, it waits there for its response",
        };
        line(out, "", waits)
    }
}
