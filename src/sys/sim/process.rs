//! What concerns the process as a whole. Other processes and users are not simulated: what has to
//! do with them is the real thing, and not for unit tests to call.
use super::kernel;

pub use crate::sys::linux::process::{
    Ended, Forked, Pid, User, affinity_count, close_inherited, die_with_parent, drop_privileges,
    execute, exists, fork, give_up_capabilities, group_named, hide_memory, host_name, is_child_of,
    is_root, keep_over_exec, kill, limit_capabilities, limit_life, may_become, no_new_privileges,
    own_user, reap, set_command_line, set_title, signal, take_inherited,
};

/// See `linux::process`. The limit is that of the faults.
pub fn raise_descriptor_limit(_wanted: u64) -> u64 {
    kernel::with(|kernel| kernel.faults.descriptors as u64)
}
