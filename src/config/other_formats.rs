//! Files of other programs and other languages, given in place of JSON.

use super::error::Wrong;

/// The smallest file there is.
const LEAST: &str = r#"the least is {"backend_servers": [{"ip": "127.0.0.1", "port": 8001}]}"#;

/// Lines that are looked at.
const LOOKED_AT: usize = 200;

/// Directives that stand outside of all blocks in nginx.conf, or in what is included there.
const NGINX: [&str; 14] = [
    "events",
    "http",
    "upstream",
    "server",
    "user",
    "worker_processes",
    "pid",
    "error_log",
    "include",
    "load_module",
    "stream",
    "map",
    "worker_rlimit_nofile",
    "location",
];
/// Sections of haproxy.cfg.
const HAPROXY: [&str; 10] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "resolvers",
    "peers",
    "userlist",
    "cache",
    "program",
];
/// What a site has in a Caddyfile.
const CADDY: [&str; 5] = ["reverse_proxy", "handle", "encode", "tls", "file_server"];

/// What a text is that is not the beginning of JSON, and in which line that is seen.
pub fn recognise(text: &str) -> Option<(usize, Wrong)> {
    let is_comment = |line: &str| line.starts_with('#') || line.starts_with("//");
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !is_comment(line)).take(LOOKED_AT);
    let Some((number, first)) = lines.next() else {
        return Some((1, Wrong::new("there is nothing in it", LEAST)));
    };
    let all = || lines.clone().map(|(_, line)| line);
    let language = match first.chars().next() {
        Some('{' | '/') => return None,
        Some('[') if !is_section(first) || !all().any(|line| line.contains('=')) => return None,
        Some('[') => "TOML, or an INI file",
        Some('<') if is_apache(first) => "a configuration of Apache",
        Some('<') => "XML or HTML",
        Some('"') => {
            let is_key =
                first[1..].split_once('"').is_some_and(|(_, rest)| rest.trim().starts_with(':'));
            let wrong =
                Wrong::new("there are no braces around it", "write { before and } behind it");
            return is_key.then_some((number, wrong));
        }
        _ if is_nginx(first) => "a configuration of nginx",
        _ if is_haproxy(first) => "a configuration of haproxy",
        _ if is_apache(first) => "a configuration of Apache",
        _ if first.ends_with('{') && all().any(|line| CADDY.contains(&word(line))) => "a Caddyfile",
        _ if CADDY.contains(&word(first)) => "a Caddyfile",
        _ if is_yaml(first) => "YAML",
        _ if first.split_once('=').is_some_and(|(key, _)| is_word(key.trim())) => {
            "TOML, or an INI file"
        }
        _ => return None,
    };
    let remedy = format!("httplb reads JSON: {LEAST}, and servers.conf(5) has all keys");
    Some((number, Wrong::new(format!("this is {language}"), remedy)))
}

fn word(line: &str) -> &str {
    line.split([' ', '\t', '{', ';']).next().unwrap_or_default()
}

fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

fn is_nginx(line: &str) -> bool {
    NGINX.contains(&word(line)) && line.ends_with(['{', ';', '}'])
}

fn is_haproxy(line: &str) -> bool {
    HAPROXY.contains(&word(line)) && !line.ends_with(['{', ';', ':']) && !line.contains('=')
}

fn is_apache(line: &str) -> bool {
    let first = word(line);
    let blocks = ["<VirtualHost", "<Proxy", "<Location", "<IfModule", "<Directory"];
    let directives = ["ProxyPass", "ProxyPassReverse", "BalancerMember", "Listen", "LoadModule"];
    blocks.iter().any(|block| first.starts_with(block)) || directives.contains(&first)
}

/// `listen:`, `listen: 80`, `- ":80"` or `---`.
fn is_yaml(line: &str) -> bool {
    let is_key = |(key, rest): (&str, &str)| {
        is_word(key.trim()) && (rest.is_empty() || rest.starts_with([' ', '\t']))
    };
    line == "---" || line.starts_with("- ") || line.split_once(':').is_some_and(is_key)
}

/// `[http.routers]`, which as JSON would be a list of nothing that there is.
fn is_section(line: &str) -> bool {
    line.ends_with(']') && is_word(line.trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_known_by_their_first_lines() {
        for (text, line, expected) in [
            ("", 1, "there is nothing in it"),
            (" \n# nothing\n", 1, "there is nothing in it"),
            ("# a\nworker_processes auto;\nhttp {\n", 2, "nginx"),
            ("upstream app {\n  server 10.0.0.1:80;\n}\n", 1, "nginx"),
            ("server { listen 80; }", 1, "nginx"),
            ("\nglobal\n    maxconn 100\n", 2, "haproxy"),
            ("frontend web\n  bind :80\n", 1, "haproxy"),
            ("backend app\n  server a 10.0.0.1:80\n", 1, "haproxy"),
            ("<VirtualHost *:80>\n", 1, "Apache"),
            ("ProxyPass / http://10.0.0.1/\n", 1, "Apache"),
            (":80 {\n  reverse_proxy 10.0.0.1:80\n}\n", 1, "Caddyfile"),
            ("reverse_proxy 10.0.0.1:80\n", 1, "Caddyfile"),
            ("---\nlisten: 80\n", 1, "YAML"),
            ("listen: [\":80\"]\n", 1, "YAML"),
            ("backend_servers:\n  - ip: 10.0.0.1\n", 1, "YAML"),
            ("- a\n", 1, "YAML"),
            ("[http.routers]\na = 1\n", 1, "TOML"),
            ("listen = \":80\"\n", 1, "TOML"),
            ("<?xml version=\"1.0\"?>\n", 1, "XML"),
            ("\"listen\": [\":80\"]\n", 1, "no braces"),
        ] {
            let (found, wrong) = recognise(text).expect(text);
            assert!(found == line && wrong.fault.contains(expected), "{text}: {found} {wrong}");
        }
    }

    #[test]
    fn what_may_be_json_is_read() {
        for text in
            ["{}", "# a\n{}", "// a\n{", "[]", "[1]", "[a]\n", "[\n", "7", "\"a\"", "/* */ {}", "x"]
        {
            assert_eq!(recognise(text), None, "{text}");
        }
    }
}
