//! The connection to a launcher: one JSON message a packet, descriptors beside it, without blocking.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use muster_sandbox::protocol::{FromLauncher, ToLauncher};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg,
    socket_with, socketpair,
};
use tokio::{io::Interest, net::UnixDatagram};

/// The longest packet that a launcher sends, in bytes.
const LONGEST: usize = 128 * 1024;

/// The agent's end. The runtime knows no packet sockets; a datagram socket is waited for in the same way, and
/// nothing but waiting is asked of it.
pub(crate) struct Connection(UnixDatagram);

impl Connection {
    /// A new connection and the launcher's end of it.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok((Self(UnixDatagram::from_std(ours.into())?), theirs))
    }

    /// A connection to a launcher that another process starts for it, as systemd does behind a socket unit.
    pub(crate) fn to(socket: &Path) -> io::Result<Self> {
        let ours = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // On this machine and without a handshake: there is nothing to wait for.
        connect(&ours, &SocketAddrUnix::new(socket)?)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok(Self(UnixDatagram::from_std(ours.into())?))
    }

    /// Sends a message and copies of descriptors.
    pub(crate) async fn send(&self, message: &ToLauncher, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        self.0
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
                let mut beside = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
                    return Err(io::Error::other("too many descriptors"));
                }
                sendmsg(
                    self.0.as_fd(),
                    &[IoSlice::new(&body)],
                    &mut beside,
                    SendFlags::NOSIGNAL,
                )?;
                Ok(())
            })
            .await
    }

    /// Says that nothing is asked for any more. What the other end still has to say is received.
    pub(crate) fn hang_up(&self) {
        // An end that is closed already needs no hang-up.
        let _ = rustix::net::shutdown(self.0.as_fd(), rustix::net::Shutdown::Write);
    }

    /// The next message and the descriptor beside it; `None` when the launcher is gone.
    pub(crate) async fn receive(&self) -> io::Result<Option<(FromLauncher, Option<OwnedFd>)>> {
        let mut body = vec![0; LONGEST];
        let mut door = None;
        let received = self
            .0
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut beside = RecvAncillaryBuffer::new(&mut space);
                let received = recvmsg(
                    self.0.as_fd(),
                    &mut [IoSliceMut::new(&mut body)],
                    &mut beside,
                    RecvFlags::CMSG_CLOEXEC,
                )?;
                for message in beside.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        door = door.take().or_else(|| rights.into_iter().next());
                    }
                }
                Ok(received)
            })
            .await;
        let received = match received {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            other => other?,
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message is longer than a packet",
            ));
        }
        Ok(Some((serde_json::from_slice(&body[..received.bytes])?, door)))
    }
}
