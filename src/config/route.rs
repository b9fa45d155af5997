//! Routes: which request goes to which pool, or to https.

use super::error::Wrong;
use super::model::{Route, RouteTarget};
use super::read::{Mistakes, Node, is_token};
use super::{keys, text};

/// Routes in a file; more are refused.
const MOST_ROUTES: usize = 1024;
/// Pools named in a message.
const SHOWN_POOLS: usize = 8;

/// Reads the list of routes to the pools of these names.
pub fn routes(node: &Node, pools: &[&str], mistakes: &mut Mistakes) -> Vec<Route> {
    let items = node.items(0..=MOST_ROUTES, mistakes);
    items.iter().map(|node| route(node, pools, mistakes)).collect()
}

fn route(node: &Node, pools: &[&str], mistakes: &mut Mistakes) -> Route {
    let target = RouteTarget::Pool(0);
    let mut route = Route { host: None, path: None, headers: Vec::new(), target };
    let (mut pool_node, mut redirect_node, mut status_node) = (None, None, None);
    let mut status = 308;
    for (key, node) in node.entries(mistakes) {
        match key {
            "host" => mistakes.set(&mut route.host, &node, host(&node).map(Some)),
            "path" => mistakes.set(&mut route.path, &node, prefix(&node).map(Some)),
            "header" => route.headers = headers(&node, mistakes),
            "pool" => {
                mistakes.set(&mut route.target, &node, pool(&node, pools).map(RouteTarget::Pool));
                pool_node = Some(node);
            }
            "redirect" => {
                mistakes.keep(&node, node.word(&[("https", ())]));
                redirect_node = Some(node);
            }
            "status" => {
                mistakes.set(&mut status, &node, redirect_status(&node));
                status_node = Some(node);
            }
            _ => mistakes.add_unknown(&node, key, &keys::ROUTE),
        }
    }
    match (&pool_node, &redirect_node) {
        (None, None) if node.is_object() => {
            let remedy = "add \"pool\": NAME, or \"redirect\": \"https\"";
            mistakes.add(node, Wrong::new("there is no \"pool\"", remedy));
        }
        (Some(_), Some(redirect)) => {
            let fault = "stands beside \"pool\"";
            mistakes.add(redirect, Wrong::new(fault, "remove one of them"));
        }
        (None | Some(_), None) | (None, Some(_)) => (),
    }
    if redirect_node.is_some() {
        route.target = RouteTarget::Https { status };
    } else if let Some(node) = status_node {
        let remedy = "remove it, or add \"redirect\": \"https\"";
        mistakes.add(&node, Wrong::new("is for a redirect alone", remedy));
    }
    route
}

fn redirect_status(node: &Node) -> Result<u16, Wrong> {
    match node.whole(300, 399) {
        Ok(status @ (301 | 302 | 307 | 308)) => Ok(status),
        Ok(_) | Err(_) => {
            let remedy = "write 308 or 301 for good, 307 or 302 for the time being";
            Err(node.wrong("is no status of such a redirect", remedy))
        }
    }
}

fn pool(node: &Node, pools: &[&str]) -> Result<usize, Wrong> {
    let name = node.text("the name of a pool", "write a name in double quotes")?;
    if let Some(index) = pools.iter().position(|pool| *pool == name) {
        return Ok(index);
    }
    let shown = text::list(&pools[..pools.len().min(SHOWN_POOLS)], ", ");
    let more = if pools.len() > SHOWN_POOLS { ", ..." } else { "" };
    let verb = if pools.len() == 1 { "is" } else { "are" };
    let fault = format!("there is no pool {}", text::quote(name));
    Err(Wrong::new(fault, format!("there {verb} {shown}{more}")))
}

/// A name in lower case, an address, or `*.` and a name.
fn host(node: &Node) -> Result<String, Wrong> {
    let remedy = "write \"shop.example\" or \"*.example\", without a port";
    let text = node.text("a host", remedy)?.to_ascii_lowercase();
    // A dot at the end is the root of all names, which says nothing.
    let text = text.strip_suffix('.').unwrap_or(&text);
    let name = text.strip_prefix("*.").unwrap_or(text);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let label = |label: &str| !label.is_empty() && label.bytes().all(allowed);
    let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = address.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    if address || name.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err(node.wrong("is not a host", remedy))
    }
}

fn prefix(node: &Node) -> Result<String, Wrong> {
    let remedy = "write \"/api\"";
    let text = node.text("a path", remedy)?;
    // A question mark is warned of: no path has one.
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if text.starts_with('/') && text.bytes().all(visible) {
        Ok(text.to_owned())
    } else {
        Err(node.wrong("is not a path", remedy))
    }
}

fn headers(node: &Node, mistakes: &mut Mistakes) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, node) in node.entries(mistakes) {
        if !is_token(name) {
            mistakes.add(&node, Wrong::new("not a header name", "write \"X-Policy\""));
        } else if headers.iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
            let fault = "the same header in another case";
            mistakes.add(&node, Wrong::new(fault, "set it only once"));
        }
        let value = node.text("a header value", "write text in double quotes").and_then(|value| {
            let trimmed = value.trim_matches([' ', '\t']) == value;
            if trimmed && !value.chars().any(char::is_control) {
                Ok(value.to_owned())
            } else {
                let remedy = "write it without control characters and outer spaces";
                Err(node.wrong("is not a header value", remedy))
            }
        });
        headers.extend(mistakes.keep(&node, value).map(|value| (name.to_owned(), value)));
    }
    headers
}
