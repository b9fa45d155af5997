//! A reload, which is an upgrade as well: the program on disk is tried out (`trial`), and then
//! executed in place of this one. It has the same number, the same children and the same sockets; it
//! is told the rest (`handover`). It starts a new generation, and when all of its processes serve, the
//! one before is told to end. Whatever fails on the way, the service goes on as it was.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

use crate::shared::diary::Diary;
use crate::shared::ipc::ControlMessage;
use crate::shared::{RegistryProgress, ReloadReport, Withdrawal};
use crate::sys::log::{self, Level};
use crate::sys::process::{self, Ended, Pid};
use crate::sys::{Channel, IoError, Tried, clock};

use super::backend_state;
use super::environment::{self, HANDOVER};
use super::generation::Phase;
use super::handover::ExportedFds;
use super::preflight::{ITSELF, Trial};
use super::record::{FORMAT, LastReload, ServiceRecord};
use super::state::{Master, ReloadRequest, ShutdownState};

impl Master {
    /// Begins a reload, or remembers that there is to be another one after the one under way.
    pub(super) fn reload(&mut self, request: ReloadRequest) {
        if self.shutdown != ShutdownState::Running {
            self.asked_by = request.by;
            return self.refuse("the service is stopping");
        }
        if self.is_reloading() {
            let by = request.by.or(self.next_reload.and_then(|earlier| earlier.by));
            self.next_reload = Some(ReloadRequest { by });
            return;
        }
        self.asked_by = request.by;
        self.notifier.reloading();
        self.report_reloads(true);
        if self.identity.is_standard_input {
            return self.refuse("a configuration from standard input cannot be read again");
        }
        if self.identity.binary.as_os_str().is_empty() {
            return self.refuse("the program's own file is not known without /proc (mount it)");
        }
        let held = self.listeners.held().chain(self.admin_sockets.addresses());
        let arguments = self.identity.arguments.get(1..).unwrap_or_default();
        match Trial::start(&self.identity.binary, arguments, held, self.now) {
            Ok(trial) => self.trial = Some(trial),
            Err(error) => {
                let error = error.when(Tried::Execute);
                let why = format!("{}: {error}", self.identity.binary.display());
                self.refuse(&why);
            }
        }
    }

    fn is_reloading(&self) -> bool {
        self.trial.is_some() || self.is_starting() || self.takeover_until.is_some()
    }

    /// A reload that was asked for during another one, once that is over.
    pub(super) fn begin_remembered_reload(&mut self) {
        if !self.is_reloading() {
            if let Some(request) = self.next_reload.take() {
                self.reload(request);
            }
        }
    }

    /// The program on disk was tried out.
    pub(super) fn on_trial_end(&mut self, trial: Trial, ended: Ended) {
        let verdict = trial.verdict(ended);
        if self.shutdown != ShutdownState::Running {
            return;
        }
        let binary = self.identity.binary.display().to_string();
        let why = verdict.map_or_else(
            |why| why.replace(ITSELF, &binary),
            |()| format!("{binary}: {}", self.execute()),
        );
        self.refuse(&why);
    }

    /// Becomes the program on disk. Returns, with the reason, only if that fails.
    fn execute(&self) -> String {
        self.count_dropped_messages();
        let mut exported = ExportedFds::default();
        let record = self.export(&mut exported).and_then(|record| record.to_bytes());
        let number = record
            .and_then(|bytes| exported.keep_record(&bytes).map_err(|error| error.to_string()));
        let number = match number {
            Ok(number) => number,
            Err(error) => return error,
        };
        let variable = (OsString::from(HANDOVER), OsString::from(number.to_string()));
        let environment = environment::for_others().chain([variable]).map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        // What came from the kernel as a text that ends with a zero has none within.
        let text = |text: OsString| CString::new(text.into_vec()).unwrap_or_default();
        let environment: Vec<CString> = environment.map(text).collect();
        let arguments: Vec<CString> = self.identity.arguments.iter().cloned().map(text).collect();
        let path = text(self.identity.binary.clone().into_os_string());
        process::execute(&path, &arguments, &environment).when(Tried::Execute).to_string()
    }

    /// All that the next image must know.
    fn export(&self, exported: &mut ExportedFds) -> Result<ServiceRecord, String> {
        let error = |error: crate::sys::IoError| error.to_string();
        let mut generations = Vec::new();
        for generation in &self.generations {
            generations.push(generation.export(exported).map_err(error)?);
        }
        let serving = self.generations.iter().find(|one| one.phase == Phase::Serving);
        let resources = serving.and_then(|generation| generation.resources.as_ref());
        Ok(ServiceRecord {
            format: FORMAT,
            started: self.started,
            binary: self.identity.binary.to_str().map(str::to_owned),
            reloads: self.reloads,
            restarts: self.restarts,
            withdrawn: resources
                .is_some_and(|resources| resources.segment.is_withdrawn_by(Withdrawal::ByOperator)),
            asked_by: self.asked_by.map(Pid::number),
            reload_again: self.next_reload.is_some(),
            again_by: self.next_reload.and_then(|request| request.by).map(Pid::number),
            rotations: Some(exported.keep(&self.rotations).map_err(error)?),
            history: Some(exported.keep(&self.history).map_err(error)?),
            diary: Some(exported.keep(&self.diary).map_err(error)?),
            waker: exported.keep(&self.waker).map_err(error)?,
            listeners: self.listeners.export(exported).map_err(error)?,
            admin_sockets: self.admin_sockets.export(exported).map_err(error)?,
            generations,
            backends: resources.map_or(Vec::new(), |resources| {
                backend_state::collect(resources.segment, &resources.config)
            }),
            left: resources.map_or(Vec::new(), |resources| {
                resources.segment.all_left(self.now.millis()).collect()
            }),
            names: resources
                .map_or(Vec::new(), |resources| resources.segment.collect_names(&resources.config)),
            registry: resources.map_or_else(RegistryProgress::default, |resources| {
                resources.segment.registry_progress()
            }),
            pending: self.notifier.export(exported).map_err(error)?,
        })
    }

    /// Ends a reload that changes nothing, and tells all who want to know.
    pub(super) fn refuse(&mut self, why: &str) {
        log::reply(Level::Error, format_args!("not reloaded: {why}"));
        self.reloads.refused += 1;
        self.reloads.last = LastReload { at: clock::wall().0, failed: true };
        Diary::over(self.diary.cells()).set_refusal(why);
        self.publish();
        self.report_outcome(ControlMessage::Refused, why);
        self.refused = Some(why.to_owned());
        if self.shutdown == ShutdownState::Running {
            self.notifier.ready();
        }
        self.report_reloads(false);
    }

    /// Tells those who asked by a signal how it stands.
    pub(super) fn report_reloads(&self, under_way: bool) {
        let place = std::env::var("RUNTIME_DIRECTORY").ok();
        let Some(place) = place.as_deref().and_then(ReloadReport::place) else { return };
        let report = ReloadReport {
            ended: self.reloads.done + self.reloads.refused,
            under_way: under_way || self.next_reload.is_some(),
            refused: self.refused.clone(),
        };
        if let Err(error) = report.write(&place) {
            let error = IoError::from(error);
            log::write(Level::Warning, format_args!("{}: {error}", place.display()));
        }
    }

    /// Gives a new generation up: the one that serves goes on.
    pub(super) fn give_up(&mut self, place: usize, why: &str) {
        self.generations[place].kill(self.now);
        self.rollback();
        self.refuse(why);
    }

    /// Closes what was opened for a new generation alone: nobody would take those who come there.
    pub(super) fn rollback(&mut self) {
        let serving = self.generations.iter().find(|one| one.phase == Phase::Serving);
        if let Some(resources) = serving.and_then(|generation| generation.resources.as_ref()) {
            drop(self.listeners.remove_unwanted(&resources.config.listen));
            self.admin_sockets.rollback(&resources.config);
        }
    }

    /// Tells the control process that has asked for the reload how that went.
    pub(super) fn report_outcome(&mut self, word: ControlMessage, why: &str) {
        let Some(asked_by) = self.asked_by.take() else { return };
        for generation in &self.generations {
            let Some(resources) = &generation.resources else { continue };
            for child in generation.children.iter().filter(|child| child.pid == asked_by) {
                let text = format!("{} {why}", word.text());
                // One that cannot be told has ended.
                let _ = child.channel.send(within(text.trim_end(), Channel::LONGEST), None);
                resources.wakers.control.wake();
            }
        }
    }
}

/// As much of a text as that many bytes have room for.
fn within(text: &str, bytes: usize) -> &str {
    let ends = (0..=bytes.min(text.len())).rev();
    let end = ends.into_iter().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(within("äöü", 6), "äöü");
        assert_eq!(within("äöü", 100), "äöü");
        assert_eq!(within("äöü", 5), "äö");
        assert_eq!(within("äöü", 1), "");
    }
}
