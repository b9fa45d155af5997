//! What of a valid configuration is hardly meant: what the file tells, and what this machine does.

use std::path::Path;

use crate::config::{AccessLog, Config, ConfigFile, Warning, units};
use crate::mem::time::Millis;
use crate::net;
use crate::proxy::settings;
use crate::sys::log::{self, Level};

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
        warnings.extend(no_token(path));
    }
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

/// Warns that the token file is missing without which the service does not start.
fn no_token(path: &Path) -> Option<Warning> {
    let error = std::fs::metadata(path).err()?;
    let path = path.display();
    let remedy = format!("make it: openssl rand -hex 32 > {path}; without it nothing starts");
    let is_missing = error.kind() == std::io::ErrorKind::NotFound;
    is_missing.then(|| Warning::of("admin.token_file", format!("there is no file {path}"), remedy))
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
    fn a_token_that_is_not_there_is_told() {
        assert_eq!(no_token(Path::new("/proc/self/stat")), None);
        let missing = told(no_token(Path::new("/httplb-missing/token")));
        assert!(
            missing.starts_with("there is no file /httplb-missing/token (make it"),
            "{missing}"
        );
    }
}
