//! A network namespace of the jail's own: that it is empty, and the one door in it.
//!
//! Invariant: nobody in the jail holds the door. The agent does, who accepts what knocks and dials out itself.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};

use crate::{
    failure::{Attempt as _, Failure},
    protocol::DOOR,
};

/// Addresses for documentation (RFC 5737, RFC 3849): nobody has them, and every network has a way to them.
const ELSEWHERE: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9),
];
/// Connections that wait for the agent to accept them.
const WAITING: i32 = 128;

/// Demands that there is no way out. Nothing is sent: a datagram socket that is connected only looks for one.
pub(crate) fn demand_empty() -> Result<(), Failure> {
    for address in ELSEWHERE {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = match socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None) {
            // A machine without this family has no way out by it.
            Err(Errno::AFNOSUPPORT) => continue,
            other => other.attempt("look for a way out of the jail's network")?,
        };
        match rustix::net::connect(&socket, &address) {
            Err(Errno::NETUNREACH | Errno::ADDRNOTAVAIL) => {}
            Ok(()) => {
                return Err(Failure::rule(format!(
                    "the jail's network is not empty: there is a way to {}",
                    address.ip()
                )));
            }
            other => other.attempt("see that the jail's network is empty")?,
        }
    }
    Ok(())
}

/// Brings up the loopback and listens on it, where the runs of a brokered jail look for their broker.
pub(crate) fn door() -> Result<OwnedFd, Failure> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .attempt("make the socket of the broker")?;
    bring_up_loopback(&socket).attempt("bring up the loopback of the jail's network")?;
    rustix::net::bind(&socket, &DOOR).attempt(format!("bind the broker's address {DOOR}"))?;
    rustix::net::listen(&socket, WAITING).attempt(format!("listen at the broker's address {DOOR}"))?;
    Ok(socket)
}

fn bring_up_loopback(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, letter) in request.ifr_name.iter_mut().zip(*b"lo") {
        *place = libc::c_char::from_ne_bytes([letter]);
    }
    // SAFETY: the kernel reads and fills the local, which names an interface and ends it with zero.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let up = libc::c_short::try_from(libc::IFF_UP).map_err(io::Error::other)?;
    // SAFETY: the kernel has just filled in the flags.
    unsafe { request.ifr_ifru.ifru_flags |= up };
    // SAFETY: as above; the kernel only reads.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
