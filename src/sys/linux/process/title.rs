//! The command line of a process, as ps(1) shows it.
use std::ptr;

/// What `PR_SET_MM_MAP` takes: linux/prctl.h. The libc crate leaves it out.
#[repr(C)]
struct MemoryMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: *mut u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// The same file is executed as before.
const SAME_FILE: u32 = u32::MAX;

/// Shows `text` as the command line of this process. The arguments that the program knows stay as they
/// are. To be called once: the text stays in memory. Where the kernel does not do it, or a filter refuses
/// it, what was shown before is shown.
pub fn set_command_line(text: &str) {
    let mut bytes: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
    bytes.push(0);
    let shown: &'static [u8] = bytes.leak();
    let _ = show(shown);
}

fn show(text: &'static [u8]) -> Option<()> {
    let start = text.as_ptr() as u64;
    let known = places(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
    let map = MemoryMap { arg_start: start, arg_end: start + text.len() as u64, ..known };
    // SAFETY: the kernel copies the structure, whose size is told, and checks each address. It only
    // shows what is between them, and the text is there for the life of the process.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_MM,
            libc::PR_SET_MM_MAP,
            &raw const map,
            size_of::<MemoryMap>(),
            0_usize,
        )
    };
    (done == 0).then_some(())
}

/// Where all is now, by proc_pid_stat(5).
fn places(stat: &str) -> Option<MemoryMap> {
    // The name of the program may have blanks; behind it are the fields from the third on.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse().ok().filter(|place| *place != 0);
    // SAFETY: nothing is moved by zero bytes.
    let end = unsafe { libc::sbrk(0) };
    Some(MemoryMap {
        start_code: field(26)?,
        end_code: field(27)?,
        start_stack: field(28)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk: end as u64,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
        auxv: ptr::null_mut(),
        auxv_size: 0,
        exe_fd: SAME_FILE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::linux::testing::alone;

    #[test]
    fn the_command_line_is_what_was_set() {
        // It is that of the tests beside it too.
        if !alone(the_command_line_is_what_was_set) {
            return;
        }
        let before: Vec<_> = std::env::args_os().collect();
        set_command_line("httplb: worker 0\0 -c a");
        let shown = std::fs::read("/proc/self/cmdline").unwrap();
        assert_eq!(shown, b"httplb: worker 0 -c a\0");
        assert_eq!(std::env::args_os().collect::<Vec<_>>(), before);
    }
}
