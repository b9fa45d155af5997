//! Where clients connect: the key `listen`.

use super::endpoint::Endpoint;
use super::error::Wrong;
use super::model::{Listen, SocketAccess};
use super::read::{Mistakes, Node};
use super::text::quote;
use super::{address, keys};

/// Reads all entries.
pub fn entries(node: &Node, mistakes: &mut Mistakes) -> Option<Vec<Listen>> {
    let mut all: Vec<Listen> = Vec::new();
    for node in node.items(1..=64, mistakes) {
        let Some(entry) = entry(&node, mistakes) else { continue };
        let earlier = all.iter().find(|earlier| overlap(earlier, &entry));
        if let Some(earlier) = earlier {
            mistakes.add(&node, overlapping(earlier, &entry));
        }
        all.push(entry);
    }
    if all.is_empty() { None } else { Some(all) }
}

fn entry(node: &Node, mistakes: &mut Mistakes) -> Option<Listen> {
    if !node.is_object() {
        return mistakes.keep(node, endpoint(node)).map(Listen::on);
    }
    let (mut address, mut found) = (None, false);
    let (mut proxy_protocol, mut https, mut freebind) = (false, false, false);
    let mut access = SocketAccess::default();
    let (mut of_tcp, mut of_files) = (None, None);
    for (key, node) in node.entries(mistakes) {
        match key {
            "addr" => {
                found = true;
                address = mistakes.keep(&node, endpoint(&node));
            }
            "proxy_protocol" => mistakes.set(&mut proxy_protocol, &node, node.boolean()),
            "https" => mistakes.set(&mut https, &node, node.boolean()),
            "freebind" => {
                mistakes.set(&mut freebind, &node, node.boolean());
                of_tcp = Some(node).filter(|_| freebind);
            }
            "mode" => {
                mistakes.set(&mut access.mode, &node, mode(&node));
                of_files = Some(node);
            }
            "group" => {
                access.group = mistakes.keep(&node, group(&node));
                of_files = Some(node);
            }
            _ => mistakes.add_unknown(&node, key, &keys::LISTEN),
        }
    }
    if !found {
        mistakes.add(node, Wrong::new("there is no \"addr\"", "add \"addr\": \":80\""));
    }
    let address = address?;
    let (stray, fault) = match address {
        Endpoint::Tcp(_) => (of_files, "is for Unix sockets alone"),
        Endpoint::Unix(path) if path.abstract_name().is_some() => {
            (of_tcp.or(of_files), "is not for abstract names, which have no file")
        }
        Endpoint::Unix(_) => (of_tcp, "is for addresses of TCP alone"),
    };
    if let Some(node) = stray {
        mistakes.add(&node, node.wrong(fault, "remove it"));
    }
    Some(Listen { address, proxy_protocol, https, freebind, access })
}

fn endpoint(node: &Node) -> Result<Endpoint, Wrong> {
    address::listen(node.text("an address", "write \":80\" or \"10.0.0.7:80\"")?)
}

/// Permissions as chmod(1) takes them.
fn mode(node: &Node) -> Result<u32, Wrong> {
    let remedy = "write \"0660\" for the owner and the group, \"0666\" for all";
    let text = node.text("the mode of a file", remedy)?;
    let digits = text.strip_prefix('0').unwrap_or(text);
    let is_octal = digits.len() == 3 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if is_octal => Ok(mode),
        Ok(_) | Err(_) => Err(node.wrong("is not the mode of a file", remedy)),
    }
}

/// The name of a group, as groupadd(8) takes it. Whether there is one is found out where the socket is made.
fn group(node: &Node) -> Result<String, Wrong> {
    let remedy = "write \"www-data\"";
    let text = node.text("the name of a group", remedy)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-$@\\".contains(&byte);
    match (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err(node.wrong("is not the name of a group", remedy)),
    }
}

/// Whether two addresses cannot both be listened on: they are equal, or one is `[::]`, which
/// takes IPv4 as well, and the other `0.0.0.0`. Of port 0 each is another.
pub fn overlap(one: &Listen, other: &Listen) -> bool {
    let (Endpoint::Tcp(one), Endpoint::Tcp(other)) = (one.address, other.address) else {
        return one.address == other.address;
    };
    let both_take_all = one.ip().is_unspecified() && other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (one == other || both_take_all)
}

/// What is wrong with a pair that overlaps.
pub fn overlapping(earlier: &Listen, later: &Listen) -> Wrong {
    let later_text = quote(&later.address.to_string());
    if earlier.address == later.address {
        return Wrong::new(format!("{later_text} stands twice in the list"), "remove one");
    }
    let fault = format!("{later_text} overlaps \"{}\"", earlier.address);
    Wrong::new(fault, "remove one: \"[::]\" takes IPv4 as well")
}
