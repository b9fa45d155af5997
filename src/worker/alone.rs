//! A worker without a service around it, for tests that count what it costs.

use crate::config::Config;
use crate::proxy::access_log::AccessLogWriter;
use crate::proxy::downstream::arrival::Arrival;
use crate::shared::diary::Diary;
use crate::shared::wakers::Wakers;
use crate::shared::{Layout, Segment};
use crate::sys::{Binding, Listener, Signals, StartError, Tried, memory};

use super::{ListenSocket, WorkerInit, sticky_key};

impl WorkerInit {
    /// That of the only worker of a service without other processes.
    pub fn alone(config: &Config) -> Result<WorkerInit, StartError> {
        let layout = Layout::new(config, 1);
        let memory = memory::share(layout.cells())
            .map_err(StartError::at("shared memory", Tried::Memory))?;
        let mut segment = Segment::create(memory.cells(), layout);
        segment.load_config(config);
        let diary =
            memory::share(Diary::CELLS).map_err(StartError::at("shared memory", Tried::Memory))?;
        let mut listeners = Vec::with_capacity(config.listen.len());
        for listen in &config.listen {
            let address = listen.address;
            let tried = address.port().map_or(Tried::ListenUnix, Tried::Listen);
            let failed = StartError::at(format!("listen {address}"), tried);
            let binding = Binding { freebind: listen.freebind, ..Binding::from(address) };
            let listener = Listener::bind(binding, 4096).map_err(failed)?;
            let arrival = Arrival::at(listen, listener.address().port());
            listeners.push(ListenSocket { listener, arrival });
        }
        Ok(WorkerInit {
            index: 0,
            segment,
            wakers: Wakers::new(1).map_err(StartError::at("wakers", Tried::Descriptor))?,
            listeners,
            sticky_key: sticky_key::load(config, None),
            log: AccessLogWriter::open(config, None)
                .map_err(StartError::at("access_log", Tried::File))?,
            diary: Diary::over(diary.cells()),
            signals: Signals::block_and_open()
                .map_err(StartError::at("signals", Tried::Descriptor))?,
            channel: None,
            master: None,
            store: None,
        })
    }
}
