//! The program under a filter of system calls, as containers and service managers have them: some
//! calls fail with an error of the test's choice.

use super::program::{binary, plain};
use std::{ops::Range, process::Command};

/// Installs the filter that its arguments tell, `CALL:ERRNO` or `CALL:ERRNO:ARGUMENT:FROM:TO`, and
/// executes the rest of them behind `--`. With a range, those calls alone are refused of which the
/// argument of that number, from 0, is in it.
const FILTERED: &str = r#"
import ctypes, errno, os, platform, struct, sys
X86 = platform.machine() == "x86_64"
CALLS = {"splice": (275, 76), "pipe2": (293, 59), "fcntl": (72, 25), "sendfile": (40, 71),
         "prctl": (157, 167), "getrandom": (318, 278), "capset": (126, 91), "setgroups": (116, 159),
         "setresuid": (117, 147), "setresgid": (119, 149), "seccomp": (317, 277),
         "memfd_create": (319, 279), "bind": (49, 200), "close_range": (436, 436),
         "eventfd2": (290, 19), "signalfd4": (289, 74), "copy_file_range": (326, 285)}
ends = sys.argv.index("--")
lines = []
for rule in sys.argv[1:ends]:
    name, error, *rest = rule.split(":")
    test = []
    if rest:
        argument, first, last = map(int, rest)
        test = [(0x20, 0, 0, 16 + 8 * argument), (0x35, 0, 2, first), (0x35, 1, 0, last)]
    number = CALLS[name][0 if X86 else 1]
    lines += [(0x20, 0, 0, 0), (0x15, 0, len(test) + 1, number), *test,
              (0x06, 0, 0, 0x50000 | getattr(errno, error))]
lines.append((0x06, 0, 0, 0x7fff0000))
code = b"".join(struct.pack("HBBI", *line) for line in lines)
code = ctypes.create_string_buffer(code)
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
program = Program(len(lines), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[ends + 1], sys.argv[ends + 1:])
"#;

/// A command that executes the program where these calls fail, each with its error.
pub fn refusing(rules: &[(&str, &str)]) -> Command {
    let mut command = plain("python3");
    command.args(["-c", FILTERED]);
    command.args(rules.iter().map(|(call, error)| format!("{call}:{error}")));
    command.arg("--").arg(binary());
    command
}

/// The same for one call, if one of its arguments, numbered from 0, is in a range.
pub fn refusing_some(call: &str, error: &str, argument: u32, range: Range<u32>) -> Command {
    refusing(&[(call, &format!("{error}:{argument}:{}:{}", range.start, range.end))])
}
