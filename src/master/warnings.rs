//! What of a valid configuration is hardly meant: what the file tells, and what this machine does.

use std::path::Path;

use crate::config::text::quote;
use crate::config::{AccessLog, Config, ConfigFile, Endpoint, Listen, Warning, units};
use crate::mem::time::Millis;
use crate::net;
use crate::proxy::settings;
use crate::sys::log::{self, Level};
use crate::sys::process;

use super::memory_limit::{MemoryOwner, memory_limit};
use super::{cache_shm, cpus, unit};

/// Tells all of it, a line each, in the order of the file.
pub fn tell(file: &ConfigFile) {
    for warning in file.warnings(of_this_machine(&file.config)) {
        log::write(Level::Warning, format_args!("warning: {warning}"));
    }
}

fn of_this_machine(config: &Config) -> Vec<Warning> {
    let mut warnings = net::own::warnings(config);
    warnings.extend(net::unix::warnings(config));
    warnings.extend(cache_shm::warnings(config));
    warnings.extend(too_much_memory(config, memory_limit()));
    if let AccessLog::Path(path) = &config.access_log {
        warnings.extend(no_folder("access_log", path));
    }
    if let Some(path) = config.admin.socket.filter(|path| path.abstract_name().is_none()) {
        warnings.extend(no_folder("admin.socket", Path::new(path.as_str())));
    }
    if let Some(path) = &config.admin.token_file {
        let remedy = format!("make it: openssl rand -hex 32 > {}", path.display());
        warnings.extend(no_file("admin.token_file", path, &remedy));
    }
    let registry = config.registry.as_ref();
    if let Some(path) = registry.and_then(|registry| registry.password_file.as_ref()) {
        let remedy = "make it, with the password of the registry's user and mode 0600";
        warnings.extend(no_file("registry.password_file", path, remedy));
    }
    let listens = config.listen.iter().enumerate();
    warnings.extend(listens.flat_map(|(index, listen)| no_place(index, listen)));
    warnings.extend(too_short_a_stop(config, unit::stop_timeout()));
    warnings
}

/// Warns that the bound on memory is above what there is.
fn too_much_memory(config: &Config, limit: Option<(u64, MemoryOwner)>) -> Option<Warning> {
    let (limit, owner) = limit?;
    let settings = settings::without_key(config, cpus::workers(config.workers));
    let bound = settings.memory_bound() as u64;
    if bound <= limit {
        return None;
    }
    let owner = match owner {
        MemoryOwner::Machine => "this machine has",
        MemoryOwner::Group => "this control group may have",
    };
    let (bound, mebibytes) = (bound.div_ceil(1 << 20), limit >> 20);
    let fault =
        format!("the memory bound of {bound} MiB is above the {mebibytes} MiB that {owner}");
    let room = limit.saturating_sub(settings.base() as u64) / settings.bytes_per_client() as u64;
    let remedy = match room {
        0 => String::from("lower it, and buffer_size"),
        room => format!("{room} fit, or lower buffer_size"),
    };
    Some(Warning::of("max_connections", fault, remedy))
}

/// Warns that a file is to be made in a folder that is not there.
fn no_folder(key: &str, path: &Path) -> Option<Warning> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    let is_there = match std::fs::metadata(folder) {
        Ok(found) => found.is_dir(),
        // Who may not look has not seen that it is missing.
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    };
    if is_there {
        return None;
    }
    let folder = folder.display();
    let remedy =
        format!("make it: mkdir -p {folder}; the unit of the package makes its own at the start");
    Some(Warning::of(key, format!("there is no folder {folder}"), remedy))
}

/// Warns that a file is not there without which the service does not start.
fn no_file(key: &str, path: &Path, remedy: &str) -> Option<Warning> {
    let error = std::fs::metadata(path).err()?;
    let fault = format!("there is no file {}", path.display());
    let is_missing = error.kind() == std::io::ErrorKind::NotFound;
    is_missing.then(|| Warning::of(key, fault, format!("{remedy}; without it nothing starts")))
}

/// Warns that a Unix socket for clients cannot be made: its folder is not there, or the group it is to have.
fn no_place(index: usize, listen: &Listen) -> Vec<Warning> {
    let Endpoint::Unix(path) = listen.address else { return Vec::new() };
    let key = format!("listen[{index}]");
    let has_folder = path.abstract_name().is_none();
    let folder = has_folder.then(|| no_folder(&key, Path::new(path.as_str()))).flatten();
    let is_unknown = |name: &&String| process::group_named(name).is_none();
    let group = listen.access.group.as_ref().filter(is_unknown).map(|name| {
        let remedy = "name one of /etc/group; without it nothing starts";
        Warning::of(&key, format!("there is no group {}", quote(name)), remedy)
    });
    folder.into_iter().chain(group).collect()
}

/// Warns that systemd would kill the service before its graceful stop is over.
fn too_short_a_stop(config: &Config, timeout: Option<(String, u64)>) -> Option<Warning> {
    let (unit, timeout) = timeout?;
    let timeouts = &config.timeouts;
    let needed = timeouts.withdraw.0.saturating_add(timeouts.drain.0);
    if needed <= timeout {
        return None;
    }
    let (needed, timeout) =
        (units::write_duration(Millis(needed)), units::write_duration(Millis(timeout)));
    let fault =
        format!("withdraw and drain may take {needed}, and TimeoutStopSec= of {unit} is {timeout}");
    let remedy = format!("raise that (systemctl edit {unit}), or lower one of them");
    Some(Warning::of("timeouts.drain", fault, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn told(warning: Option<Warning>) -> String {
        warning.map_or_else(String::new, |warning| warning.wrong.to_string())
    }

    #[test]
    fn a_bound_above_the_memory_says_how_much_would_fit() {
        let config = Config { max_connections: 1000, ..Config::default() };
        let settings = settings::without_key(&config, cpus::workers(config.workers));
        let bound = settings.memory_bound() as u64;
        assert_eq!(too_much_memory(&config, Some((bound, MemoryOwner::Machine))), None);
        assert_eq!(too_much_memory(&config, None), None);
        let limit = settings.base() as u64 + 500 * settings.bytes_per_client() as u64;
        let group = told(too_much_memory(&config, Some((limit, MemoryOwner::Group))));
        assert!(
            group.ends_with("that this control group may have (500 fit, or lower buffer_size)"),
            "{group}"
        );
        let machine = told(too_much_memory(&config, Some((1, MemoryOwner::Machine))));
        assert!(
            machine.ends_with("that this machine has (lower it, and buffer_size)"),
            "{machine}"
        );
    }

    #[test]
    fn a_stop_takes_no_longer_than_its_unit_allows() {
        let mut config = Config::default();
        let unit = |millis| Some((String::from("httplb.service"), millis));
        assert_eq!(too_short_a_stop(&config, unit(30_000)), None);
        assert_eq!(too_short_a_stop(&config, None), None);
        config.timeouts.withdraw = Millis(500);
        assert_eq!(
            told(too_short_a_stop(&config, unit(30_000))),
            "withdraw and drain may take 30500ms, and TimeoutStopSec= of httplb.service is 30s (raise that \
             (systemctl edit httplb.service), or lower one of them)"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        assert_eq!(no_folder("access_log", Path::new("access.log")), None);
        assert_eq!(no_folder("access_log", Path::new("/proc/self/x")), None);
        let missing = told(no_folder("access_log", Path::new("/httplb-missing/a/b.log")));
        assert!(missing.starts_with("there is no folder /httplb-missing/a (make it"), "{missing}");
    }

    #[test]
    fn a_file_that_is_not_there_is_told() {
        let told = |path| told(no_file("admin.token_file", Path::new(path), "make it"));
        assert_eq!(told("/proc/self/stat"), "");
        let missing = "there is no file /httplb-missing/token (make it; without it nothing starts)";
        assert_eq!(told("/httplb-missing/token"), missing);
    }

    #[test]
    fn a_socket_for_clients_that_cannot_be_made_is_told() {
        let listen = |path: &str, group: Option<&str>| {
            let mut listen = Listen::on(SocketAddr::from(([127, 0, 0, 1], 80)));
            listen.address = format!("unix:{path}").parse().expect("a path");
            listen.access.group = group.map(String::from);
            no_place(1, &listen)
                .iter()
                .map(|one| one.wrong.to_string())
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(listen("/proc/a.sock", Some("root")), "");
        assert_eq!(listen("@abstract", None), "");
        let told = listen("/httplb-missing/a.sock", Some("httplb-no-such-group"));
        assert!(told.starts_with("there is no folder /httplb-missing (make it"), "{told}");
        assert!(told.contains("; there is no group \"httplb-no-such-group\" (name one"), "{told}");
    }
}
