//! What the unit of the service says to systemd of how long a stop may take: `TimeoutStopSec=`.

use std::path::{Path, PathBuf};

/// Where units are, the first before the others: systemd.unit(5).
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The unit of the package.
const USUAL: &str = "httplb.service";
/// `DefaultTimeoutStopSec=`: systemd-system.conf(5).
const USUAL_TIMEOUT: u64 = 90_000;

/// The unit that starts this program, and the milliseconds that its stop may take; `None` if no unit
/// does, or without end.
pub fn stop_timeout() -> Option<(String, u64)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().filter_map(|line| line.rsplit('/').next());
    let own = own.filter(|name| name.ends_with(".service"));
    let folders = FOLDERS.map(PathBuf::from);
    own.chain([USUAL]).find_map(|name| {
        let text = unit_text(&folders, name)?;
        let is_ours =
            text.lines().any(|line| line.starts_with("ExecStart=") && line.contains("httplb"));
        is_ours.then(|| timeout_in(&text)).flatten().map(|timeout| (name.to_owned(), timeout))
    })
}

/// The unit's file and what is dropped in, one behind the other. A template's, where it has none of its
/// own.
fn unit_text(folders: &[PathBuf], name: &str) -> Option<String> {
    let template = name.split_once('@').map(|(template, _)| format!("{template}@.service"));
    let names = || [Some(name), template.as_deref()].into_iter().flatten();
    let read =
        |name| folders.iter().find_map(|folder| std::fs::read_to_string(folder.join(name)).ok());
    let mut text = names().find_map(read)?;
    let mut drop_ins: Vec<PathBuf> = Vec::new();
    for folder in
        names().flat_map(|name| folders.iter().map(move |at| at.join(format!("{name}.d"))))
    {
        for path in
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
        {
            let is_hidden = drop_ins.iter().any(|one| one.file_name() == path.file_name());
            if path.extension().is_some_and(|extension| extension == "conf") && !is_hidden {
                drop_ins.push(path);
            }
        }
    }
    drop_ins.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    for path in drop_ins {
        text.push('\n');
        text.push_str(&std::fs::read_to_string::<&Path>(&path).unwrap_or_default());
    }
    Some(text)
}

/// What the last line about it says, in milliseconds; `None` if that is `infinity`.
fn timeout_in(text: &str) -> Option<u64> {
    let value = |line: &str| {
        let (key, value) = line.split_once('=')?;
        ["TimeoutStopSec", "TimeoutSec"].contains(&key.trim()).then(|| value.trim().to_owned())
    };
    match text.lines().filter_map(value).next_back().as_deref() {
        None | Some("") => Some(USUAL_TIMEOUT),
        Some(value) => span(value).filter(|timeout| *timeout > 0),
    }
}

/// `45`, `45s` or `1min 30s` in milliseconds: systemd.time(7).
fn span(text: &str) -> Option<u64> {
    let mut millis: u64 = 0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let factor = match &rest[..letters] {
            "" | "s" | "sec" | "second" | "seconds" => 1000,
            "ms" | "msec" => 1,
            "m" | "min" | "minute" | "minutes" => 60_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            _ => return None,
        };
        millis = millis.checked_add(number.checked_mul(factor)?)?;
        rest = rest[letters..].trim_start();
    }
    Some(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read_as_systemd_does() {
        for (text, millis) in [
            ("45", Some(45_000)),
            ("45s", Some(45_000)),
            ("1min 30s", Some(90_000)),
            ("2m500ms", Some(120_500)),
            ("1h", Some(3_600_000)),
            ("infinity", None),
            ("5 parsecs", None),
        ] {
            assert_eq!(span(text), millis, "{text}");
        }
    }

    #[test]
    fn the_last_word_is_that_of_the_drop_ins() {
        let place = std::env::temp_dir().join(format!("httplb-units-{}", std::process::id()));
        let (etc, usr) = (place.join("etc"), place.join("usr"));
        let write = |path: PathBuf, text: &str| {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        write(usr.join("a.service"), "[Service]\nTimeoutStopSec=45s\n");
        let folders = [etc.clone(), usr.clone()];
        let timeout = |name| unit_text(&folders, name).map(|text| timeout_in(&text));
        assert_eq!(timeout("a.service"), Some(Some(45_000)));
        write(usr.join("a.service.d/50.conf"), "[Service]\nTimeoutStopSec=10\n");
        write(usr.join("a.service.d/60.conf"), "[Service]\nTimeoutStopSec=20\n");
        write(etc.join("a.service.d/60.conf"), "[Service]\nTimeoutSec=15\n");
        assert_eq!(timeout("a.service"), Some(Some(15_000)));
        write(etc.join("a.service.d/70.conf"), "[Service]\nTimeoutStopSec=infinity\n");
        assert_eq!(timeout("a.service"), Some(None));
        write(usr.join("a@.service"), "[Service]\nType=notify\n");
        assert_eq!(timeout("a@b.service"), Some(Some(USUAL_TIMEOUT)));
        assert_eq!(timeout("b.service"), None);
        std::fs::remove_dir_all(place).expect("removed");
    }
}
