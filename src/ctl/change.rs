//! The commands that change something, and which backend they mean.

use serde_json::{Value, json};

use crate::config::text::{self as words, quote};
use crate::config::{address, is_pool_name};
use crate::mem::time::Millis;

use super::client::{Call, encoded};
use super::{NotDone, PATIENCE, Session, answer, show, text};

/// A reload starts workers and waits for them; within this time it has taken effect or has not.
const RELOAD_PATIENCE: Millis = Millis(180_000);
/// A purge looks at every stored response.
const PURGE_PATIENCE: Millis = Millis(120_000);

/// A backend as the command line names it: `POOL/BACKEND`, or without its pool.
fn split(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((pool, backend)) if is_pool_name(pool) => (Some(pool), backend),
        // The path of a Unix socket has slashes of its own.
        _ => (None, text),
    }
}

/// Whether both mean the same server, however it is written.
fn is_same(one: &str, other: &str) -> bool {
    let endpoint = |text: &str| address::backend(text).ok().map(|endpoint| endpoint.canonical());
    one == other || endpoint(one).is_some_and(|one| Some(one) == endpoint(other))
}

/// Which pool a backend is of that is named without one. The error is for people.
fn pool_of(answer: &Value, backend: &str) -> Result<String, String> {
    let name = |pool: &Value| pool["name"].as_str().unwrap_or_default().to_owned();
    let pools = answer["pools"].as_array().map_or(&[][..], Vec::as_slice);
    let all = || pools.iter().flat_map(|pool| pool["backends"].as_array().into_iter().flatten());
    let names: Vec<&str> = all().filter_map(|backend| backend["backend"].as_str()).collect();
    let has_it = |pool: &&Value| {
        let backends = pool["backends"].as_array().into_iter().flatten();
        backends.filter_map(|one| one["backend"].as_str()).any(|one| is_same(one, backend))
    };
    let found: Vec<String> = pools.iter().filter(has_it).map(name).collect();
    match found.as_slice() {
        [pool] => Ok(pool.clone()),
        [] => {
            let shown = quote(backend);
            Err(match words::meant(backend, &names) {
                Some(near) => {
                    format!("no pool has a backend {shown} (did you mean {}?)", quote(near))
                }
                None => format!("no pool has a backend {shown} (\"httplb ctl pools\" lists them)"),
            })
        }
        several => {
            let names: Vec<&str> = several.iter().map(String::as_str).collect();
            let pools = words::list(&names, " and ");
            Err(format!(
                "{} is in the pools {pools} (write {}/{backend})",
                quote(backend),
                names[0]
            ))
        }
    }
}

impl Session {
    /// Pool, backend, and the path of the admin API for it.
    fn place(&self, text: &str) -> Result<(String, String), NotDone> {
        let (pool, backend) = split(text);
        let pool = match pool {
            Some(pool) => pool.to_owned(),
            None => {
                let call =
                    Call { method: "GET", target: "/v1/pools", body: "", patience: PATIENCE };
                pool_of(&answer(&self.ask(&call)?)?, backend)?
            }
        };
        let path = format!("/v1/pools/{}/backends/{}", encoded(&pool), encoded(backend));
        Ok((pool, path))
    }

    fn adjust(&self, backend: &str, change: &Value) -> Result<(), NotDone> {
        let (pool, path) = self.place(backend)?;
        let body = change.to_string();
        let call = Call { method: "PATCH", target: &path, body: &body, patience: PATIENCE };
        self.print_answer(&self.ask(&call)?, |answer| show::backend(&pool, answer))
    }

    pub(super) fn set_state(&self, backend: &str, state: &str) -> Result<(), NotDone> {
        self.adjust(backend, &json!({ "state": state }))
    }

    pub(super) fn set_weight(&self, backend: &str, weight: u32) -> Result<(), NotDone> {
        self.adjust(backend, &json!({ "weight": weight }))
    }

    pub(super) fn remove(&self, backend: &str) -> Result<(), NotDone> {
        let (pool, path) = self.place(backend)?;
        let call = Call { method: "DELETE", target: &path, body: "", patience: PATIENCE };
        let (_, backend) = split(backend);
        self.print_answer(&self.ask(&call)?, |_| {
            let name = format!("{pool}/{backend}");
            format!("{}: goes as soon as its requests have ended\n", text::clean(&name))
        })
    }

    pub(super) fn purge(&self, key: &str, url: &str) -> Result<(), NotDone> {
        let body = json!({ key: url }).to_string();
        let target = "/v1/cache/purge";
        let call = Call { method: "POST", target, body: &body, patience: PURGE_PATIENCE };
        self.print_answer(&self.ask(&call)?, |answer| {
            let count = answer["purged"].as_u64().unwrap_or_default();
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} stored response{plural} purged\n")
        })
    }

    pub(super) fn withdraw(&self, withdrawn: bool) -> Result<(), NotDone> {
        let body = json!({ "withdrawn": withdrawn }).to_string();
        let call = Call { method: "PUT", target: "/v1/withdrawn", body: &body, patience: PATIENCE };
        self.print_answer(&self.ask(&call)?, |_| {
            let text = match withdrawn {
                true => "withdrawn: /healthz says so, each response closes its connection\n",
                false => "restored: /healthz is ok again\n",
            };
            text.to_owned()
        })
    }

    /// Over the admin socket; see [`ManagedService`](super::by_signal::ManagedService) for a unit.
    pub(super) fn reload(&self) -> Result<(), NotDone> {
        let call =
            Call { method: "POST", target: "/v1/reload", body: "", patience: RELOAD_PATIENCE };
        let reply = self.ask(&call).map_err(|not_done| match not_done {
            NotDone::Because(why) => NotDone::Because(format!("not reloaded: {why}")),
            NotDone::Told | NotDone::Unread => not_done,
        })?;
        self.print_answer(&reply, |_| String::from("reloaded\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_stands_before_the_first_slash() {
        for (text, expected) in [
            ("api/10.0.0.1:80", (Some("api"), "10.0.0.1:80")),
            ("10.0.0.1:80", (None, "10.0.0.1:80")),
            ("[::1]:80", (None, "[::1]:80")),
            ("a/[::1]:80", (Some("a"), "[::1]:80")),
            ("unix:/run/app.sock", (None, "unix:/run/app.sock")),
            ("unix:@a/b", (None, "unix:@a/b")),
            ("api/unix:/run/app.sock", (Some("api"), "unix:/run/app.sock")),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn a_backend_that_one_pool_has_needs_no_pool() {
        let backend = |name: &str| json!({ "backend": name });
        let pools = json!({"pools": [
            {"name": "a", "backends": [backend("10.0.0.1:80"), backend("10.0.0.2:80")]},
            {"name": "b", "backends": [backend("10.0.0.2:80"), backend("[2001:db8::1]:80")]},
        ]});
        assert_eq!(pool_of(&pools, "10.0.0.1:80"), Ok("a".into()));
        assert_eq!(pool_of(&pools, "[2001:DB8:0::1]:80"), Ok("b".into()));
        let several = pool_of(&pools, "10.0.0.2:80").unwrap_err();
        assert_eq!(several, r#""10.0.0.2:80" is in the pools "a" and "b" (write a/10.0.0.2:80)"#);
        let near = pool_of(&pools, "10.0.0.1:8").unwrap_err();
        assert!(near.ends_with("(did you mean \"10.0.0.1:80\"?)"), "{near}");
        let none = pool_of(&pools, "\u{1b}").unwrap_err();
        assert!(none.contains("\\u001b") && none.contains("ctl pools"), "{none}");
        assert!(pool_of(&json!(null), "x").is_err());
    }
}
