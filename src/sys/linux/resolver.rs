//! Names looked up by the C library, as all programs of the host do: the hosts file, name servers, search
//! domains, whatever nsswitch.conf(5) says. It blocks, for as long as resolv.conf(5) allows and longer.
use std::ffi::{CStr, CString, c_char, c_int};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

unsafe extern "C" {
    /// See resolver(3). In libc itself since glibc 2.34, and in musl.
    fn res_search(
        name: *const c_char,
        class: c_int,
        kind: c_int,
        answer: *mut u8,
        room: c_int,
    ) -> c_int;
    fn __h_errno_location() -> *mut c_int;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no such name, or nothing of what was asked for.
    Nothing(String),
    /// Nobody knows: no name server answers, or it fails.
    Unknown(String),
}

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// Those of IPv4.
    Ipv4,
    /// Those of IPv6.
    Ipv6,
}

/// Types of records: addresses, and services (RFC 2782).
const A: c_int = 1;
const AAAA: c_int = 28;
const SRV: c_int = 33;
const IN: c_int = 1;
// netdb.h; the libc crate has not all of them.
const EAI_NODATA: c_int = -5;
const EAI_ADDRFAMILY: c_int = -9;
const HOST_NOT_FOUND: c_int = 1;
const NO_DATA: c_int = 4;

/// The addresses of `name` of one family: asked for both at once, the library does not tell a family that
/// failed from one that has none.
pub fn addresses(name: &str, family: AddressFamily) -> Result<Vec<IpAddr>, NoAnswer> {
    let name = CString::new(name).map_err(|_| nothing("it has a zero within"))?;
    let family = match family {
        AddressFamily::Ipv4 => libc::AF_INET,
        AddressFamily::Ipv6 => libc::AF_INET6,
    };
    let hints = libc::addrinfo {
        ai_flags: 0,
        ai_family: family,
        ai_socktype: libc::SOCK_STREAM, // One entry an address.
        ai_protocol: 0,
        ai_addrlen: 0,
        ai_addr: ptr::null_mut(),
        ai_canonname: ptr::null_mut(),
        ai_next: ptr::null_mut(),
    };
    let mut list = ptr::null_mut();
    // SAFETY: the name ends with a zero, null is no service, the hints live until the call is over, and
    // there is room for the result.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &hints, &mut list) };
    if code != 0 {
        // SAFETY: it has no conditions, and gives a text that ends with a zero and is never freed.
        let text = unsafe { CStr::from_ptr(libc::gai_strerror(code)) };
        let text = text.to_string_lossy().into_owned();
        return Err(match code {
            libc::EAI_NONAME | EAI_NODATA | EAI_ADDRFAMILY => NoAnswer::Nothing(text),
            _ => NoAnswer::Unknown(text),
        });
    }
    let mut found = Vec::new();
    let mut at = list;
    while !at.is_null() {
        // SAFETY: it is no null, so an entry of the list, which is freed only below.
        let entry = unsafe { &*at };
        found.extend(address(entry));
        at = entry.ai_next;
    }
    // SAFETY: it was given by getaddrinfo, and nothing of it is used any more.
    unsafe { libc::freeaddrinfo(list) };
    Ok(found)
}

fn address(entry: &libc::addrinfo) -> Option<IpAddr> {
    match entry.ai_family {
        libc::AF_INET => {
            // SAFETY: an entry of this family has an address of this kind, and it is not written.
            let address = unsafe { &*entry.ai_addr.cast::<libc::sockaddr_in>() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { &*entry.ai_addr.cast::<libc::sockaddr_in6>() };
            Some(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

/// Asks for the records of a service, and puts the name server's answer into `answer`: how many bytes of
/// it there are.
pub fn service_records(name: &str, answer: &mut [u8]) -> Result<usize, NoAnswer> {
    search(name, SRV, answer)
}

/// The same for the addresses of a host, of which name servers alone are asked.
pub fn address_records(
    name: &str,
    family: AddressFamily,
    answer: &mut [u8],
) -> Result<usize, NoAnswer> {
    let kind = match family {
        AddressFamily::Ipv4 => A,
        AddressFamily::Ipv6 => AAAA,
    };
    search(name, kind, answer)
}

fn search(name: &str, kind: c_int, answer: &mut [u8]) -> Result<usize, NoAnswer> {
    let name = CString::new(name).map_err(|_| nothing("it has a zero within"))?;
    let room = c_int::try_from(answer.len()).unwrap_or(c_int::MAX);
    // SAFETY: the name ends with a zero, and there is as much room for the answer as is told.
    let len = unsafe { res_search(name.as_ptr(), IN, kind, answer.as_mut_ptr(), room) };
    if let Ok(len) = usize::try_from(len) {
        // One that is longer was cut.
        return Ok(len.min(answer.len()));
    }
    // SAFETY: it gives the address of a number of this thread.
    Err(match unsafe { *__h_errno_location() } {
        HOST_NOT_FOUND => nothing("Name or service not known"),
        NO_DATA => nothing("No record of this type"),
        _ => NoAnswer::Unknown(String::from("Temporary failure in name resolution")),
    })
}

fn nothing(why: &str) -> NoAnswer {
    NoAnswer::Nothing(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_is_read_and_families_are_told_apart() {
        assert_eq!(addresses("127.0.0.1", AddressFamily::Ipv4), Ok(vec![[127, 0, 0, 1].into()]));
        assert_eq!(addresses("::1", AddressFamily::Ipv6), Ok(vec![Ipv6Addr::LOCALHOST.into()]));
        let four_as_six = addresses("127.0.0.1", AddressFamily::Ipv6);
        assert!(matches!(four_as_six, Err(NoAnswer::Nothing(_))), "{four_as_six:?}");
        let local = addresses("localhost", AddressFamily::Ipv4);
        assert_eq!(local, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
    }

    #[test]
    fn what_is_no_name_has_no_address() {
        for name in ["a\0b", "a b"] {
            let answer = addresses(name, AddressFamily::Ipv4);
            assert!(matches!(answer, Err(NoAnswer::Nothing(_))), "{answer:?}");
        }
    }
}
