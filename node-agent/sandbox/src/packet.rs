//! Messages on `SOCK_SEQPACKET` sockets: one JSON message a packet, descriptors beside it.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
        recvmsg, sendmsg, socket_with, socketpair,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::failure::{Attempt, Failure};

/// The longest packet, in bytes; below the kernel's default socket buffer.
const MAX_PACKET: usize = 128 * 1024;
/// The most descriptors beside one packet.
const MAX_DESCRIPTORS: usize = 8;

/// A connected pair of packet sockets, closed on exec.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Failure> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .attempt("make a pair of sockets")
}

/// A packet socket that is connected to one with a name, closed on exec.
pub(crate) fn connect(to: &Path) -> Result<OwnedFd, Failure> {
    let attempt = || format!("connect to the launcher's socket {}", to.display());
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).attempt(attempt())?;
    let address = SocketAddrUnix::new(to).attempt(attempt())?;
    rustix::net::connect(&socket, &address).attempt(attempt())?;
    Ok(socket)
}

/// Sends a message and descriptors. A peer that is gone is an error, never a signal.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Failure> {
    let body = serde_json::to_vec(message).map_err(|error| Failure::rule(error.to_string()))?;
    if body.len() > MAX_PACKET {
        return Err(Failure::rule(format!(
            "a message of {} bytes is longer than a packet",
            body.len()
        )));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Failure::rule("too many descriptors for one packet"));
    }
    retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(&body)], &mut beside, SendFlags::NOSIGNAL))
        .attempt("send a message")?;
    Ok(())
}

/// Receives a message and its descriptors (closed on exec); `None` when the peer is gone.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<Option<(T, Vec<OwnedFd>)>, Failure> {
    // As long as the packet is, which waits meanwhile: a process that was just forked would copy a larger buffer page by page.
    let mut body = vec![0; length(&socket)?];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut body)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        )
    });
    let received = match received {
        Err(Errno::CONNRESET) => return Ok(None),
        other => other.attempt("receive a message")?,
    };
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(Failure::rule("a message was longer than a packet"));
    }
    Ok(Some((parse(&body[..received.bytes])?, descriptors)))
}

/// The message of a packet.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::rule(format!("a message is not understood: {error}")))
}

/// The length of the packet that comes next; waits for it. 0 when the peer is gone.
fn length(socket: &impl AsFd) -> Result<usize, Failure> {
    let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
    match retry_on_intr(|| rustix::net::recv(socket, &mut [0_u8; 1][..], flags)) {
        Err(Errno::CONNRESET) => Ok(0),
        // With TRUNC the kernel tells the whole length.
        other => other
            .attempt("receive a message")
            .map(|(_, length)| length.clamp(1, MAX_PACKET)),
    }
}
