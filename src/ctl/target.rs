//! Which service is meant: where its admin API is.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{self, Overrides, UnixPath};
use crate::sys::IoError;

use super::client::{self, Server};
use super::options::ServerOption;

/// Where the package has the admin socket.
const USUAL_SOCKET: &str = "/run/httplb/admin.sock";
/// Bytes of the largest configuration that is read.
const LARGEST_FILE: u64 = 16 << 20;

/// Why a service is not found.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfound {
    /// The command line names none that could be.
    Misnamed(String),
    /// It cannot be known, or not be asked.
    Unknown(String),
}

/// Finds the service that the command line names.
pub fn find(option: &ServerOption) -> Result<Server, Unfound> {
    match option {
        ServerOption::Socket(path) => {
            socket(path).map_err(|fault| Unfound::Misnamed(format!("--socket: {fault}")))
        }
        ServerOption::Url(url, token_file) => {
            let address = client::address_of(url).map_err(Unfound::Misnamed)?;
            Server::at_address(address, token_file).map_err(Unfound::Unknown)
        }
        ServerOption::Config(file) => by_config(file.as_deref()).map_err(Unfound::Unknown),
    }
}

fn socket(path: &str) -> Result<Server, String> {
    let path = path.strip_prefix("unix:").unwrap_or(path);
    // A path from here is as good as one from the root.
    let absolute = match path.starts_with(['/', '@']) {
        true => path.to_owned(),
        false => {
            std::path::absolute(path).map_or(path.to_owned(), |path| path.display().to_string())
        }
    };
    UnixPath::parse(&absolute).map(Server::at_socket).map_err(|fault| fault.to_string())
}

/// What a configuration says of the admin API.
#[derive(Debug, Default, PartialEq, Eq)]
struct AdminPlace {
    socket: Option<String>,
    listen: Option<(SocketAddr, PathBuf)>,
}

/// The service of a configuration. The file may have errors: that is when it matters to reach the
/// service, which runs with the one before.
fn by_config(file: Option<&Path>) -> Result<Server, String> {
    let path = file.unwrap_or(Path::new(config::DEFAULT_FILE));
    let shown = path.display();
    let name = "name the socket with --socket";
    let text = match read(path) {
        Ok(text) => text,
        // A file that was named may be another service's: then nothing is guessed.
        Err(_) if file.is_none() => return socket(USUAL_SOCKET),
        Err(error) => return Err(format!("cannot read {shown}: {error} ({name})")),
    };
    match admin_place(&text) {
        Some(AdminPlace { socket: Some(path), .. }) => socket(&path),
        Some(AdminPlace { listen: Some((address, file)), .. }) => {
            Server::at_address(address, &file)
        }
        Some(AdminPlace { socket: None, listen: None }) => {
            let add = format!("add \"admin\": {{\"socket\": \"{USUAL_SOCKET}\"}}");
            Err(format!("{shown} has no \"admin\" ({add}, or {name})"))
        }
        None if file.is_none() => socket(USUAL_SOCKET),
        None => Err(format!("{shown} is no JSON, so its admin socket is not known ({name})")),
    }
}

fn read(path: &Path) -> Result<String, IoError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where the admin API is by that text; `None` if it is not even JSON.
fn admin_place(text: &str) -> Option<AdminPlace> {
    if let Ok(config) = config::load(text, &Overrides::default()) {
        let socket = config.admin.socket.map(|path| path.to_string());
        return Some(AdminPlace {
            socket,
            listen: config.admin.listen.zip(config.admin.token_file),
        });
    }
    let tree: Value = serde_json::from_str(text).ok()?;
    let admin = &tree["admin"];
    let text = |key: &str| admin[key].as_str().map(str::to_owned);
    let address = text("listen").and_then(|listen| config::address::listen_tcp(&listen).ok());
    Some(AdminPlace {
        socket: text("socket"),
        listen: address.zip(text("token_file").map(PathBuf::from)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_socket_is_found_in_a_file_with_errors_too() {
        let place = |text: &str| admin_place(text).map(|place| place.socket);
        let server = r#""backend_servers": [{"ip": "127.0.0.1", "port": 1}]"#;
        let found = Some(Some(String::from("/a/b")));
        assert_eq!(place(&format!(r#"{{"admin": {{"socket": "/a/b"}}, {server}}}"#)), found);
        assert_eq!(place(r#"{"admin": {"socket": "/a/b"}, "helth": 1}"#), found);
        assert_eq!(place(&format!("{{{server}}}")), Some(None));
        assert_eq!(place("{"), None);
    }

    #[test]
    fn an_address_with_a_token_will_do() {
        let text = r#"{"admin": {"listen": "127.0.0.1:9002", "token_file": "/a"}, "x": 1}"#;
        let listen = admin_place(text).unwrap().listen;
        assert_eq!(listen, Some((SocketAddr::from(([127, 0, 0, 1], 9002)), "/a".into())));
    }
}
