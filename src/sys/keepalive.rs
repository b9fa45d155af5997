//! TCP keep-alive: how the kernel finds out that a silent peer is gone.

use crate::mem::time::Millis;

/// After how much silence the kernel looks for the peer of a connection: three probes, 10 seconds
/// apart. Where none is answered the connection fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Before the first probe: 1 to 32767, as TCP_KEEPIDLE has it (tcp(7)).
    pub idle_secs: u64,
}

impl KeepAlive {
    /// Unanswered probes after which the connection fails.
    pub const PROBES: u32 = 3;
    /// From one probe to the next.
    pub const BETWEEN_PROBES_SECS: u64 = 10;

    /// With the first probe after so long a silence, in whole seconds; none without end.
    pub fn after(silence: Millis) -> Option<KeepAlive> {
        let idle_secs = silence.0.div_ceil(1000).min(32767);
        (idle_secs > 0).then_some(KeepAlive { idle_secs })
    }
}
