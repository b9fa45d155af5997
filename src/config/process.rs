//! The keys of the process: section by section, as `servers.conf(5)` lists them.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::mem::time::Millis;

use super::address::{self, TrustedProxy};
use super::error::Wrong;
use super::model::{
    AccessLog, Admin, Cache, Config, ErrorPageFile, ForwardFields, RequestId, Timeouts, Workers,
};
use super::named::NameTimes;
use super::read::{INSTANT, Mistakes, Node, WEEK};
use super::{keys, listen, registry, text};

/// Names are looked up again after this time at the earliest, and after that at the latest.
const LEAST_INTERVAL: Millis = Millis(100);
const HOUR: Millis = Millis::from_secs(3600);

/// Header names that are logged at most.
const MOST_LOGGED: usize = 16;
/// The statuses of errors that httplb makes.
const OWN_ERRORS: [u16; 11] = [400, 408, 413, 414, 417, 431, 501, 502, 503, 504, 505];

/// The kernel takes no longer time before a keep-alive probe (TCP_KEEPIDLE, tcp(7)).
const LONGEST_KEEPALIVE: Millis = Millis::from_secs(9 * 3600);

/// Reads one key of the top level. False if it is none of those here.
pub fn set(config: &mut Config, key: &str, node: &Node, mistakes: &mut Mistakes) -> bool {
    match key {
        "listen" => {
            if let Some(addresses) = listen::entries(node, mistakes) {
                config.listen = addresses;
            }
        }
        "workers" => mistakes.set(&mut config.workers, node, workers(node)),
        "max_connections" => {
            mistakes.set(&mut config.max_connections, node, node.whole(1, 1_000_000));
        }
        "max_fields" => mistakes.set(&mut config.max_fields, node, node.whole(10, 1000)),
        "buffer_size" => mistakes.set(&mut config.buffer_size, node, buffer_size(node)),
        "pipeline" => mistakes.set(&mut config.pipeline, node, node.whole(1, 32)),
        "client_requests" => {
            mistakes.set(&mut config.client_requests, node, node.whole(0, 1_000_000));
        }
        "trusted_proxies" => config.trusted_proxies = trusted_proxies(node, mistakes),
        "forward" => config.forward = forward_fields(node, mistakes),
        "request_id" => mistakes.set(
            &mut config.request_id,
            node,
            node.word(&[
                ("auto", RequestId::Auto),
                ("require", RequestId::Require),
                ("off", RequestId::Off),
            ]),
        ),
        "via" => {
            let via = node.or_null(|node| node.token("a token or null", "httplb"));
            mistakes.set(&mut config.via, node, via);
        }
        "access_log" => mistakes.set(&mut config.access_log, node, access_log(node)),
        "access_log_headers" => config.access_log_headers = logged_headers(node, mistakes),
        "error_pages" => config.error_pages = error_pages(node, mistakes),
        "status_listen" => {
            mistakes.set(&mut config.status_listen, node, node.or_null(socket_address));
        }
        "admin" => config.admin = admin(node, mistakes),
        "cache" => config.cache = cache(node, mistakes),
        "names" => names(&mut config.names, node, mistakes),
        "registry" => config.registry = registry::registry(node, mistakes),
        "pool_header" => {
            let name = node.or_null(|node| node.token("a header name or null", "X-Pool"));
            mistakes.set(&mut config.pool_header, node, name);
        }
        _ => return false,
    }
    true
}

fn socket_address(node: &Node) -> Result<SocketAddr, Wrong> {
    address::listen_tcp(node.text("an address", "write \"127.0.0.1:9001\"")?)
}

fn workers(node: &Node) -> Result<Workers, Wrong> {
    let remedy = "write 1 to 256 or \"auto\"";
    match node.text("a number", remedy) {
        Ok("auto") => Ok(Workers::Auto),
        Ok(_) => {
            // A number in quotation marks is answered as such.
            let meant = node.whole::<u32>(1, 256).err().map(|wrong| wrong.remedy);
            let meant = meant.filter(|meant| meant.contains("quotes"));
            let remedy = meant.unwrap_or_else(|| String::from(remedy));
            Err(node.wrong("is not a number of workers", remedy))
        }
        Err(_) => match node.whole(1, 256) {
            Ok(count) => Ok(Workers::Count(count)),
            Err(wrong) => Err(Wrong::new(wrong.fault, remedy)),
        },
    }
}

/// Rounded up to a power of two, as a ring must be.
fn buffer_size(node: &Node) -> Result<usize, Wrong> {
    let bytes = node.size(4 << 10, 1 << 20)?;
    let bytes = usize::try_from(bytes).map_err(|_| node.wrong("is out of range", "write less"))?;
    Ok(bytes.next_power_of_two())
}

fn trusted_proxies(node: &Node, mistakes: &mut Mistakes) -> Vec<TrustedProxy> {
    let mut networks = Vec::new();
    for node in node.items(0..=1024, mistakes) {
        let text = node.text("a network", "write \"10.0.0.0/8\"");
        networks.extend(mistakes.keep(&node, text.and_then(TrustedProxy::parse)));
    }
    networks
}

fn forward_fields(node: &Node, mistakes: &mut Mistakes) -> ForwardFields {
    let mut fields = ForwardFields { x_forwarded: false, ..ForwardFields::USUAL };
    for node in node.items(0..=4, mistakes) {
        let words: Vec<(&str, usize)> =
            fields.named().iter().enumerate().map(|(index, (name, _))| (*name, index)).collect();
        let field = node.word(&words).map_err(|wrong| match node.as_text() {
            Some("x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host") => {
                let remedy = "write \"x-forwarded\": it means X-Forwarded-For, -Proto and -Host";
                Wrong::new(wrong.fault, remedy)
            }
            Some(_) | None => wrong,
        });
        let Some(index) = mistakes.keep(&node, field) else { continue };
        let [(_, field)] = &mut fields.named()[index..=index] else { continue };
        if std::mem::replace(*field, true) {
            mistakes.add(&node, node.wrong("stands twice in the list", "remove one"));
        }
    }
    fields
}

/// A name without a slash or a dot is taken for a misspelt word rather than for a file.
fn access_log(node: &Node) -> Result<AccessLog, Wrong> {
    let remedy = "write \"off\", \"stdout\" or a path such as \"/var/log/httplb/access.log\"";
    match node.text("a path", remedy)? {
        "off" => Ok(AccessLog::Off),
        "stdout" => Ok(AccessLog::Stdout),
        text if text.contains(['/', '.']) && !text.contains('\0') => {
            Ok(AccessLog::Path(PathBuf::from(text)))
        }
        text => Err(match text::meant(text, &["off", "stdout"]) {
            Some(meant) => node.wrong("is not a path", format!("did you mean \"{meant}\"?")),
            None => node.wrong("is not a path", remedy),
        }),
    }
}

/// Names of fields, in the order in which they are logged.
fn logged_headers(node: &Node, mistakes: &mut Mistakes) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for node in node.items(0..=MOST_LOGGED, mistakes) {
        let name = mistakes.keep(&node, node.token("a header name", "Referer"));
        let Some(name) = name.map(|name| name.to_ascii_lowercase()) else { continue };
        if names.contains(&name) {
            mistakes.add(&node, node.wrong("stands twice in the list", "remove one"));
        }
        names.push(name);
    }
    names
}

/// The files of the pages by their statuses. What is in them is read later.
fn error_pages(node: &Node, mistakes: &mut Mistakes) -> Vec<ErrorPageFile> {
    let mut pages = Vec::new();
    for (key, node) in node.entries(mistakes) {
        let status = key.parse().ok().filter(|status| OWN_ERRORS.contains(status));
        let path = mistakes.keep(&node, node.absolute_path());
        match (status, path) {
            (Some(status), Some(path)) => {
                pages.push(ErrorPageFile { status, path, html: String::new() });
            }
            (Some(_), None) => (),
            (None, _) => {
                let own = OWN_ERRORS.map(|status| status.to_string());
                let own: Vec<&str> = own.iter().map(String::as_str).collect();
                let remedy = format!("there are {}", text::list(&own, " and "));
                mistakes
                    .add(&node, Wrong::new("not the status of an error that httplb makes", remedy));
            }
        }
    }
    pages
}

/// Reads the object `timeouts`.
pub fn timeouts(timeouts: &mut Timeouts, node: &Node, mistakes: &mut Mistakes) {
    for (key, node) in node.entries(mistakes) {
        let (least, most) = (INSTANT, WEEK);
        let (timeout, least, most) = match key {
            "withdraw" => (&mut timeouts.withdraw, Millis(0), most),
            "header" => (&mut timeouts.header, least, most),
            "client" => (&mut timeouts.client, least, most),
            "idle" => (&mut timeouts.idle, least, most),
            "fin" => (&mut timeouts.fin, least, most),
            "client_age" => (&mut timeouts.client_age, Millis(0), most),
            "keepalive" => (&mut timeouts.keepalive, Millis(0), LONGEST_KEEPALIVE),
            "connect" => (&mut timeouts.connect, least, most),
            "response" => (&mut timeouts.response, least, most),
            "backend_idle" => (&mut timeouts.backend_idle, Millis(0), most),
            "tunnel" => (&mut timeouts.tunnel, least, most),
            "queue" => (&mut timeouts.queue, least, most),
            "drain" => (&mut timeouts.drain, least, most),
            "retire" => (&mut timeouts.retire, least, most),
            _ => {
                mistakes.add_unknown(&node, key, &keys::TIMEOUTS);
                continue;
            }
        };
        mistakes.set(timeout, &node, node.duration(least, most));
    }
}

fn names(times: &mut NameTimes, node: &Node, mistakes: &mut Mistakes) {
    for (key, node) in node.entries(mistakes) {
        match key {
            "interval" => {
                mistakes.set(&mut times.interval, &node, node.duration(LEAST_INTERVAL, HOUR));
            }
            "hold" => mistakes.set(&mut times.hold, &node, node.duration(Millis(0), WEEK)),
            _ => mistakes.add_unknown(&node, key, &keys::NAMES),
        }
    }
}

fn admin(node: &Node, mistakes: &mut Mistakes) -> Admin {
    let mut admin = Admin::default();
    let mut listen_node = None;
    let token_place = format!("{}.token_file", node.place());
    for (key, node) in node.entries(mistakes) {
        match key {
            "socket" => {
                mistakes.set(&mut admin.socket, &node, node.or_null(Node::socket_path));
            }
            "listen" => {
                mistakes.set(&mut admin.listen, &node, node.or_null(socket_address));
                listen_node = Some(node);
            }
            "token_file" => {
                mistakes.set(&mut admin.token_file, &node, node.or_null(Node::absolute_path));
            }
            _ => mistakes.add_unknown(&node, key, &keys::ADMIN),
        }
    }
    let token = admin.token_file.is_some() || mistakes.lie_within(&token_place);
    match listen_node {
        Some(listen) if admin.listen.is_some() && !token => {
            let remedy = "add \"token_file\": \"/etc/httplb/token\"";
            mistakes.add(&listen, listen.wrong("needs a token", remedy));
        }
        Some(_) | None => (),
    }
    admin
}

fn cache(node: &Node, mistakes: &mut Mistakes) -> Option<Cache> {
    if let Ok(None) = node.or_null(|_| Ok(())) {
        return None;
    }
    let (mut dir, mut max_size, mut default_ttl) = (PathBuf::new(), 256 << 20, Millis(0));
    let (mut max_object, mut found) = (None, false);
    for (key, node) in node.entries(mistakes) {
        match key {
            "dir" => {
                found = true;
                mistakes.set(&mut dir, &node, node.absolute_path());
            }
            "max_size" => mistakes.set(&mut max_size, &node, node.size(1, u64::MAX)),
            "max_object" => {
                mistakes.set(&mut max_object, &node, node.size(1, u64::MAX).map(Some));
            }
            "default_ttl" => {
                mistakes.set(&mut default_ttl, &node, node.duration(Millis(0), WEEK));
            }
            _ => mistakes.add_unknown(&node, key, &keys::CACHE),
        }
    }
    if !found && node.is_object() {
        let remedy = "add \"dir\": \"/var/cache/httplb\"";
        mistakes.add(node, Wrong::new("there is no \"dir\"", remedy));
    }
    if max_object.is_some_and(|most| most > max_size) {
        let fault = "\"max_object\" is larger than \"max_size\"";
        mistakes.add(node, Wrong::new(fault, "make it at most as large"));
    }
    // Who makes the whole small need not think of the parts.
    let max_object = max_object.unwrap_or(max_size.min(16 << 20));
    Some(Cache { dir, max_size, max_object, default_ttl })
}
