//! Mistakes in files of several lines, each judged by where, what and remedy.

use super::tests::messages;
use crate::config::{ConfigFile, Overrides, load_with};

/// The only message about a file must be about this line, and have both texts.
fn judge(text: &str, line: usize, what: &str, remedy: &str) {
    let found = messages(text);
    let [message] = &found[..] else { panic!("{text}: {found:?}") };
    let place = [format!("line {line}: "), format!("line {line}, column ")];
    assert!(place.iter().any(|place| message.starts_with(place)), "{text}: {message}");
    let Some((fault, told)) = message.split_once(" (") else { panic!("{message}") };
    assert!(fault.contains(what), "{what}: {message}");
    assert!(told.contains(remedy), "{remedy}: {message}");
}

/// A line of the top level, what is wrong with it, and what would be right.
#[rustfmt::skip]
const TOP_LEVEL: &[(&str, &str, &str)] = &[
    // nginx.
    (r#""proxy_pass": "http://a""#, "proxy_pass: unknown key, as nginx has it", "\"backend_servers\""),
    (r#""upstream": {}"#, "upstream: unknown key, as nginx has it", "\"pools\""),
    (r#""server": {}"#, "server: unknown key, as nginx has it", "\"backend_servers\""),
    (r#""server_name": "a""#, "server_name: unknown key", "\"routes\""),
    (r#""location": {}"#, "location: unknown key", "\"routes\""),
    (r#""worker_processes": 4"#, "worker_processes: unknown key", "\"workers\": \"auto\""),
    (r#""worker_connections": 1024"#, "worker_connections: unknown key", "\"max_connections\": 8192"),
    (r#""keepalive": 32"#, "keepalive: unknown key", "\"backend_idle\""),
    (r#""keepalive_timeout": "65s""#, "keepalive_timeout: unknown key", "\"idle\""),
    (r#""keepalive_requests": 1"#, "keepalive_requests: unknown key", "\"client_requests\""),
    (r#""client_max_body_size": "8m""#, "client_max_body_size: unknown key", "\"max_body\""),
    (r#""proxy_read_timeout": "60s""#, "proxy_read_timeout: unknown key", "\"response\": \"60s\""),
    (r#""proxy_connect_timeout": "60s""#, "proxy_connect_timeout: unknown key", "\"connect\""),
    (r#""proxy_next_upstream": "error""#, "proxy_next_upstream: unknown key", "\"retries\": 2"),
    (r#""ip_hash": true"#, "ip_hash: unknown key", "\"sticky\": true"),
    (r#""least_conn": true"#, "least_conn: unknown key", "\"least_connections\""),
    (r#""error_page": {}"#, "error_page: unknown key", "\"error_pages\""),
    (r#""ssl": true"#, "ssl: unknown key", "TLS ends before httplb"),
    (r#""ssl_certificate": "a.pem""#, "ssl_certificate: unknown key", "hitch, stunnel"),
    (r#""set_real_ip_from": "10.0.0.0/8""#, "set_real_ip_from: unknown key", "\"trusted_proxies\""),
    (r#""proxy_cache_path": "/c""#, "proxy_cache_path: unknown key", "\"cache\""),
    (r#""gzip": true"#, "gzip: unknown key", "does not compress"),
    (r#""root": "/var/www""#, "root: unknown key", "serves no files"),
    (r#""include": "a.conf""#, "include: unknown key", "without includes"),
    (r#""proxy_set_header": {}"#, "proxy_set_header: unknown key", "\"forward\""),
    (r#""Proxy-Pass": "x""#, "Proxy-Pass: unknown key, as nginx has it", "\"backend_servers\""),
    // haproxy.
    (r#""frontend": {}"#, "frontend: unknown key, as haproxy has it", "\"listen\""),
    (r#""backend": {}"#, "backend: unknown key, as haproxy has it", "\"pools\""),
    (r#""bind": ":80""#, "bind: unknown key", "\"listen\": [\":80\"]"),
    (r#""maxconn": 100"#, "maxconn: unknown key, as haproxy has it", "\"max_connections\""),
    (r#""inter": "5s""#, "inter: unknown key", "\"interval\""),
    (r#""rise": 2"#, "rise: unknown key", "\"health_check\": {\"rise\": 2}"),
    (r#""fall": 3"#, "fall: unknown key", "\"health_check\": {\"fall\": 3}"),
    (r#""timeout connect": "5s""#, "\"timeout connect\": unknown key", "\"connect\": \"2s\""),
    (r#""timeout server": "5s""#, "\"timeout server\": unknown key", "\"response\": \"60s\""),
    (r#""timeout client": "5s""#, "\"timeout client\": unknown key", "\"client\": \"30s\""),
    (r#""timeout_queue": "5s""#, "timeout_queue: unknown key", "\"queue\""),
    (r#""timeout http-request": "5s""#, "unknown key, as haproxy has it", "\"header\""),
    (r#""timeout": "5s""#, "timeout: unknown key", "\"timeouts\""),
    (r#""option httpchk": "GET /""#, "\"option httpchk\": unknown key", "\"health_check\""),
    (r#""option": ["forwardfor"]"#, "option: unknown key", "\"forward\""),
    (r#""cookie": "SRV""#, "cookie: unknown key", "\"sticky\": {\"cookie\""),
    (r#""errorfile": "/a""#, "errorfile: unknown key", "\"error_pages\""),
    (r#""redirect scheme https": true"#, "unknown key, as haproxy has it", "\"redirect\": \"https\""),
    (r#""default_backend": "a""#, "default_backend: unknown key", "the pool \"default\""),
    (r#""nbthread": 4"#, "nbthread: unknown key", "\"workers\""),
    (r#""slowstart": "30s""#, "slowstart: unknown key", "\"slow_start\""),
    (r#""stats socket": "/a""#, "unknown key", "\"admin\""),
    // Others.
    (r#""reverse_proxy": "a""#, "reverse_proxy: unknown key, as others have it", "\"backend_servers\""),
    (r#""entryPoints": {}"#, "entryPoints: unknown key", "\"listen\""),
    (r#""loadBalancer": {}"#, "loadBalancer: unknown key", "\"backend_servers\""),
    (r#""ProxyPass": "/""#, "ProxyPass: unknown key", "\"backend_servers\""),
    (r#""tls": {}"#, "tls: unknown key", "proxy_protocol"),
    // Keys that belong elsewhere.
    (r#""connect": "5s""#, "connect: unknown key", "\"timeouts.connect\""),
    (r#""interval": "5s""#, "interval: unknown key", "its place is \"health_check\""),
    (r#""weight": 2"#, "weight: unknown key", "its place is an entry of \"backend_servers\""),
    (r#""max_age": "1h""#, "max_age: unknown key", "its place is \"sticky\""),
    (r#""pools": {"a": {"timeouts": {}}}"#, "pools.a.timeouts: not a key of a pool", "top level"),
    (r#""pools": {"a": {"connect": "1s"}}"#, "pools.a.connect: unknown key", "\"timeouts.connect\""),
    (r#""timeouts": {"retries": 2}"#, "timeouts.retries: unknown key", "a pool, or the top level"),
    (r#""health_check": {"max_fails": 2}"#, "health_check.max_fails: unknown key", "a pool, or the top level"),
    (r#""cache": {"dir": "/c", "path": "/d"}"#, "cache.path: unknown key", "write \"dir\""),
    // Words by place.
    (r#""timeouts": {"server": "5s"}"#, "timeouts.server: unknown key", "\"response\": \"60s\""),
    (r#""timeouts": {"read": "5s"}"#, "timeouts.read: unknown key", "\"response\": \"60s\""),
    (r#""timeouts": {"shutdown": "5s"}"#, "timeouts.shutdown: unknown key", "\"drain\""),
    (r#""health_check": {"uri": "/"}"#, "health_check.uri: unknown key", "\"path\": \"/health\""),
    (r#""health_check": {"inter": "5s"}"#, "health_check.inter: unknown key", "\"interval\""),
    (r#""health_check": {"expect": 200}"#, "health_check.expect: unknown key", "\"status\""),
    (r#""health_check": {"port": 80}"#, "health_check.port: unknown key", "goes where requests go"),
    (r#""routes": [{"pool": "default", "upstream": "a"}]"#, "routes[0].upstream: unknown key", "\"pool\": \"api\""),
    (r#""routes": [{"pool": "default", "domain": "a"}]"#, "routes[0].domain: unknown key", "\"host\""),
    // Values.
    (r#""balance": "leastconn""#, "balance: \"leastconn\" is not", "write \"least_connections\""),
    (r#""balance": "source""#, "balance: \"source\" is not", "\"sticky\": true"),
    (r#""balance": "static-rr""#, "balance: \"static-rr\" is not", "write \"round_robin\""),
    (r#""workers": "4""#, "workers: \"4\" is not a number", "write 4, without quotes"),
    (r#""max_connections": "10000""#, "is not a whole number", "write 10000, without quotes"),
    (r#""max_connections": "10k""#, "is not a whole number", "write 1 to 1000000"),
    (r#""fail_status": "500""#, "\"500\" is not a status", "write 500, without quotes"),
    (r#""health_check": "/health""#, "\"/health\" is not a health check", "write {\"path\": \"/health\"}"),
    (r#""cache": "/var/cache/lb""#, "is not an object", "write {\"dir\": \"/var/cache/lb\"}"),
    (r#""admin": "/run/lb.sock""#, "is not an object", "write {\"socket\": \"/run/lb.sock\"}"),
    (r#""pools": [{"name": "api"}]"#, "pools: a list is not an object", "write {\"api\": {\"backend_servers\""),
    (r#""pools": {"api": ["10.0.0.1"]}"#, "pools.api: a list is not an object", "write {\"backend_servers\""),
    (r#""routes": {"/api": "api"}"#, "routes: an object is not a list", "write [{...}]"),
    (r#""routes": ["/api"]"#, "routes[0]: \"/api\" is not an object", "write {\"path\": \"/api\", \"pool\": \"api\"}"),
    (r#""access_log_headers": "Referer""#, "is not a list", "write [\"Referer\"]"),
    (r#""forward": ["x-forwarded-for"]"#, "\"x-forwarded-for\" is not one of the words", "write \"x-forwarded\""),
    (r#""names": {"servers": ["8.8.8.8"]}"#, "names.servers: unknown key", "/etc/resolv.conf"),
    (r#""listen": ["[::1:80"]"#, "\"[::1:80\" has no port", "write \"[::1]:80\""),
    (r#""listen": ["::1:8080"]"#, "\"::1:8080\" has no port", "write \"[::1]:8080\""),
    (r#""timeouts": {"idle": "1m30s"}"#, "\"1m30s\" is not a duration", "write \"90s\""),
    (r#""timeouts": {"idle": "0.5 sec"}"#, "is not a duration", "write \"500ms\""),
    (r#""timeouts": {"idle": "2 days"}"#, "is not a duration", "write \"48h\""),
    (r#""max_body": "10M""#, "\"10M\" has an unknown unit", "write \"10MiB\""),
    (r#""max_body": "1.5 GB""#, "\"1.5 GB\" is not a size", "write \"1536MiB\""),
    (r#""workers": 0"#, "workers: 0 is out of range", "write 1 to 256"),
    (r#""max_connections": -1"#, "max_connections: -1 is not a whole number", "write 1 to 1000000"),
    (r#""max_connections": 1.5"#, "max_connections: 1.5 is not a whole number", "write 1 to"),
    (r#""max_connections": 1e99999"#, "max_connections: 1e99999 is not a whole number", "write 1 to"),
    (r#""max_connections": 99999999999999999999999"#, "is not a whole number", "write 1 to"),
    (r#""buffer_size": "32KB""#, "buffer_size: \"32KB\" has an unknown unit", "KiB"),
    (r#""timeouts": {"idle": "1d"}"#, "timeouts.idle: \"1d\" has an unknown unit", "h"),
    (r#""timeouts": {"idle": "5 s"}"#, "timeouts.idle: \"5 s\" is not a duration", "write \"5s\""),
    (r#""listen": ":80""#, "listen: \":80\" is not a list", "write [\":80\"]"),
    (r#""listen": ["80"]"#, "listen[0]: \"80\" has no address", "write \":80\""),
    (r#""listen": [":80", "0.0.0.0:80"]"#, "listen[1]: \"0.0.0.0:80\" overlaps", "remove one"),
    (r#""trusted_proxies": ["10.0.0.0/33"]"#, "trusted_proxies[0]", "write"),
    (r#""error_pages": {"404": "/a"}"#, "error_pages.404: not the status", "\"502\""),
    (r#""routes": [{"pool": "shop"}]"#, "there is no pool \"shop\"", "there is \"default\""),
    (r#""sticky": "on""#, "sticky: \"on\" is not true or false", "write true"),
    (r#""upgrades": ["h2c"]"#, "upgrades[0]: \"h2c\" would let requests past", "remove it"),
    (r#""retries": 1, "retries": 2"#, "retries: duplicate key: line 3 has it already", "only once"),
    (r#""backend_servers": []"#, "backend_servers: duplicate key: line 2 has it already", "only once"),
    (r#""helth_check": {}"#, "helth_check: unknown key", "did you mean \"health_check\"?"),
    // Writing.
    ("# a comment\n\"retries\": 1", "start with #", "write it as a key that starts with #"),
    ("// a comment\n\"retries\": 1", "start with //", "write it as a key that starts with #"),
    ("\"retries\": 1 /* why */", "start with /*", "write it as a key that starts with #"),
    ("'retries': 1", "text in single quotes", "write double quotes: \"retries\""),
    ("\"via\": 'lb'", "text in single quotes", "write double quotes: \"lb\""),
    ("retries: 1", "the key \"retries\" has no quotes", "write \"retries\""),
    ("\"retries\": 1,", "trailing comma", "remove the comma"),
    ("\"retries\": 1,,\n\"via\": \"a\"", "a comma too many", "remove it"),
    ("\"retries\": 1\n\"via\": \"a\"", "a comma is missing here", "add it"),
    ("\"retries\": 1;\n\"via\": \"a\"", "a semicolon", "write a comma"),
    ("\"retries\" 1", "there is no colon", "write \"key\": value"),
    ("\"retries\": ,\n\"via\": \"a\"", "there is no value here", "write text in double quotes"),
    ("\"retries\": 01", "\"01\" is not how JSON writes it", "write 1"),
    ("\"sticky\": True", "\"True\" is not how JSON writes it", "write true"),
    ("\"sticky\": yes", "\"yes\" has no quotes", "write true"),
    ("\"via\": None", "\"None\" is not how JSON writes it", "write null"),
    ("\"timeouts\": {\"idle\": 5s}", "the text \"5s\" has no quotes", "write \"5s\""),
    ("\"listen\": [:80]", "the text \":80\" has no quotes", "write \":80\""),
    ("\"via\": “lb”", "typographic quotation marks", "write straight ones"),
    ("\"via\": \"\\ud83d\"", "\\ud83d is half of a character", "write the character itself"),
    ("\"via\": \"\\u12\"", "has not four hexadecimal digits", "write \\\\"),
    ("\"via\": \"lb", "a quotation mark has no partner in its line", "add the missing one"),
    ("\"listen\": [\":80\"}", "\"}\" stands where \"[\" of line 3 is open", "write \"]\""),
    ("\"access_log\": \"C:\\logs\"", "\\l is no escape of JSON", "write \\\\"),
];

/// An entry of `backend_servers`.
#[rustfmt::skip]
const ENTRIES: &[(&str, &str, &str)] = &[
    (r#"{"ip": "10.0.0.1", "port": 80, "maxconn": 5}"#, "backend_servers[1].maxconn: unknown key", "\"max_connections\": 100"),
    (r#"{"ip": "10.0.0.1", "port": 80, "inter": "5s"}"#, "backend_servers[1].inter: unknown key", "\"interval\""),
    (r#"{"ip": "10.0.0.1", "port": 80, "max_fails": 5}"#, "backend_servers[1].max_fails: unknown key", "it is the pool's"),
    (r#"{"ip": "10.0.0.1", "port": 80, "health_check": {}}"#, "health_check: unknown key", "a pool, or the top level"),
    (r#"{"ip": "10.0.0.1", "port": 80, "down": true}"#, "backend_servers[1].down: unknown key", "remove the entry"),
    (r#"{"ip": "10.0.0.1", "port": 80, "wieght": 2}"#, "backend_servers[1].wieght: unknown key", "did you mean \"weight\"?"),
    (r#"{"ip": "10.0.0.1", "port": "80"}"#, "backend_servers[1].port: \"80\" is not a whole number", "write 80, without quotes"),
    (r#"{"ip": "app.internal", "port": 80}"#, "\"app.internal\" is not an IP address", "\"name\": \"app.internal\""),
    (r#"{"ip": "10.0.0.1"}"#, "there is no \"port\"", "add \"port\": 8001"),
    (r#"{"ip": "10.0.0.9", "port": 80}"#, "backend_servers[1]: \"10.0.0.9:80\" is backend_servers[0] again", "remove one"),
    (r#""10.0.0.1:80""#, "backend_servers[1]: \"10.0.0.1:80\" is not an object", "write {\"ip\": \"10.0.0.1\", \"port\": 80}"),
    (r#""http://app.internal:8080/""#, "is not an object", "write {\"name\": \"app.internal\", \"port\": 8080}"),
    (r#""[fd00::7]:80""#, "is not an object", "write {\"ip\": \"fd00::7\", \"port\": 80}"),
    (r#""unix:/run/app.sock""#, "is not an object", "write {\"unix\": \"/run/app.sock\"}"),
    (r#""10.0.0.1""#, "is not an object", "write {\"ip\": \"10.0.0.1\", \"port\": 8001}"),
    (r#"{"ip": "10.0.0.1", "port": 80, "backup": "no"}"#, "\"no\" is not true or false", "write false, without quotes"),
    (r#"{"ip": "10.0.0.1", "port": 80,}"#, "trailing comma", "remove the comma"),
    (r#"{"ip": 10.0.0.1, "port": 80}"#, "the text \"10.0.0.1\" has no quotes", "write \"10.0.0.1\""),
];

#[test]
fn each_mistake_is_told_by_line_what_and_remedy() {
    let mut judged = 0;
    for (written, what, remedy) in TOP_LEVEL {
        let backends = r#""backend_servers": [{"ip": "10.0.0.9", "port": 80}]"#;
        judge(&format!("{{\n{backends},\n{written}\n}}\n"), 3, what, remedy);
        judged += 1;
    }
    for (written, what, remedy) in ENTRIES {
        let first = r#"{"ip": "10.0.0.9", "port": 80}"#;
        judge(&format!("{{\"backend_servers\": [\n{first},\n{written}\n]}}"), 3, what, remedy);
        judged += 1;
    }
    for (text, line, what, remedy) in [
        ("", 1, "there is nothing in it", "the least is"),
        ("worker_processes 4;\nhttp {\n", 1, "this is a configuration of nginx", "JSON"),
        ("# mine\nglobal\n  maxconn 4\n", 2, "this is a configuration of haproxy", "JSON"),
        ("backend_servers:\n  - ip: 10.0.0.1\n", 1, "this is YAML", "JSON"),
        ("\"listen\": [\":80\"]", 1, "there are no braces around it", "write { before"),
        ("{\n\"listen\": [\":80\"]\n", 3, "\"{\" of line 1 is open", "close it with \"}\""),
        ("[]", 1, "the file: a list is not an object", "write {...}"),
    ] {
        judge(text, line, what, remedy);
        judged += 1;
    }
    assert!(judged >= 148, "{judged}");
}

#[test]
fn mistakes_of_writing_and_of_meaning_are_told_in_one_run_in_the_order_of_their_lines() {
    let text = r#"{
  // clients
  "listen": ["80"],
  "workers": 0,
  'retries': 11,
  "pools": {
    "api": {"helth_check": {}, "backend_servers": [
      {"ip": "10.0.0.1"},
    ]}
  }
  "timeouts": {"connect": 5},
  "workers": 2,
  "proxy_pass": yes
}"#;
    let found = messages(text);
    let lines: Vec<&str> = found.iter().map(|one| one.split([':', ',']).next().unwrap()).collect();
    let expected = [2, 3, 4, 5, 5, 7, 8, 8, 10, 11, 12, 13, 13].map(|line| format!("line {line}"));
    assert_eq!(lines, expected, "{found:#?}");
}

fn read(text: &str, overrides: &Overrides) -> ConfigFile {
    load_with(text, overrides, &|_, _| Ok(String::new())).expect("a valid file")
}

#[test]
fn what_the_command_line_says_has_no_line() {
    let overrides =
        Overrides { backends: vec!["10.0.0.1:1".parse().unwrap()], ..Overrides::default() };
    let file = read("{\n\"backend_servers\": [],\n\"retries\": 1}", &overrides);
    assert_eq!(file.lines.position("backend_servers[0]"), None);
    assert_eq!(file.lines.position("retries").map(|at| at.line), Some(3));
}

#[test]
fn a_backend_has_the_line_of_its_entry_though_names_stand_between() {
    let text = r#"{"backend_servers": [
{"ip": "10.0.0.1", "port": 1},
{"name": "a", "port": 1},
{"ip": "10.0.0.2", "port": 1}]}"#;
    let file = read(text, &Overrides::default());
    let place = file.lines.place_of_backend("backend_servers", 1);
    assert_eq!(place, "backend_servers[2]");
    assert_eq!(file.lines.position(&place).map(|at| at.line), Some(4));
}
