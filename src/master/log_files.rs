//! Files that belong to the children although the master makes them: where children are not root,
//! they could not make them, or could not open them anew.

use std::path::Path;

use crate::config::{self, Config};
use crate::proxy::access_log::AccessLogWriter;
use crate::shared::ipc::ControlMessage;
use crate::sys::log::{self, Level};
use crate::sys::process::{self, User};
use crate::sys::{IoError, LogFile, Signal, StartError, Tried};

use super::state::Master;

/// Whom children become, if this is root: the service's own user, or the one who has no rights.
/// None leaves them what they are.
pub fn user_of_children() -> Option<User> {
    if !process::is_root() {
        return None;
    }
    let user = User::named("httplb").or_else(|| User::named("nobody"));
    match &user {
        None => log::write(
            Level::Warning,
            format_args!(
                "there is no user httplb or nobody, so all processes stay root, without \
                 capabilities (add one: useradd --system httplb)"
            ),
        ),
        Some(user) if !process::may_become(user) => {
            log::write(
                Level::Warning,
                format_args!(
                    "this is root, and may not become the user {}, so all processes stay root, \
                     without capabilities ({})",
                    user.name, "give it CAP_SETUID and CAP_SETGID, or start it as another user"
                ),
            );
            return None;
        }
        Some(_) => (),
    }
    user
}

/// The access log, as messages call it.
fn name(log: &config::AccessLog) -> String {
    match log {
        config::AccessLog::Path(path) => format!("access_log {}", path.display()),
        config::AccessLog::Off | config::AccessLog::Stdout => String::from("access_log"),
    }
}

/// Opens the log for a process that will soon not be allowed to.
pub fn open(config: &Config, user: Option<&User>) -> Result<AccessLogWriter, StartError> {
    let log = &config.access_log;
    let opened = match (log, user) {
        (config::AccessLog::Path(path), Some(user)) => Some(LogFile::open_for(path, user)),
        (config::AccessLog::Path(_) | config::AccessLog::Off | config::AccessLog::Stdout, _) => {
            None
        }
    };
    let opened = opened.transpose().and_then(|opened| AccessLogWriter::open(config, opened));
    opened.map_err(StartError::at(name(log), Tried::File))
}

/// Makes what `config` names, and gives it to the children.
pub fn prepare(config: &Config, user: Option<&User>) -> Result<(), StartError> {
    if let config::AccessLog::Path(path) = &config.access_log {
        open_log(path, user).map_err(StartError::at(name(&config.access_log), Tried::File))?;
    }
    Ok(())
}

fn open_log(path: &Path, user: Option<&User>) -> Result<LogFile, IoError> {
    match user {
        Some(user) => LogFile::open_for(path, user),
        None => LogFile::open(path),
    }
}

impl Master {
    /// Opens the access log anew, and has the workers go on with it. They could not open it
    /// themselves where only root may enter its folder.
    pub(super) fn reopen_log(&mut self) {
        for generation in &self.generations {
            let config =
                generation.resources.as_ref().map(|resources| &resources.config.access_log);
            let log = match config {
                Some(config::AccessLog::Path(path)) => match open_log(path, self.user.as_ref()) {
                    Ok(log) => Some(log),
                    Err(error) => {
                        log::write(
                            Level::Error,
                            format_args!(
                                "access log {}: {}; the old file goes on",
                                path.display(),
                                error.when(Tried::File)
                            ),
                        );
                        continue;
                    }
                },
                Some(config::AccessLog::Off | config::AccessLog::Stdout) | None => None,
            };
            for child in &generation.children {
                use std::os::fd::AsFd;
                if let Some(log) = &log {
                    // One that does not take it opens the file itself, if it may.
                    let _ = child.channel.send(ControlMessage::Log.text(), Some(log.as_fd()));
                }
                // It fails only if the process has just ended.
                let _ = process::signal(child.pid, Signal::Usr1);
            }
        }
    }
}
