//! Unix sockets that keep message boundaries and carry descriptors.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

/// Descriptors that one message may carry.
pub(crate) const FDS_MAX: usize = 4;

/// One end of a connected pair; each message arrives whole or not at all.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

/// What a [`Socket::receive`] brought.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message of this many bytes, and the descriptors that came with it.
    Message(usize, Vec<OwnedFd>),
    /// Nothing is there now.
    Nothing,
    /// The other end is gone, and all it sent has been read.
    Closed,
}

impl Socket {
    /// A connected pair, closed on exec.
    pub(crate) fn pair() -> io::Result<(Socket, Socket)> {
        let (a, b) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Socket(a), Socket(b)))
    }

    /// Sends one message with descriptors. `Ok(false)`: there is no room now.
    pub(crate) fn try_send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
        self.send_with(bytes, fds, MsgFlags::MSG_DONTWAIT)
    }

    /// Sends one message with descriptors, waiting for room.
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(bytes, fds, MsgFlags::empty()).map(drop)
    }

    fn send_with(&self, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: MsgFlags) -> io::Result<bool> {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        let flags = flags | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None) {
                Ok(_) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Receives one message into `buffer`, without waiting.
    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.receive_with(buffer, MsgFlags::MSG_DONTWAIT)
    }

    /// Receives one message into `buffer`, waiting for it.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.receive_with(buffer, MsgFlags::empty())
    }

    /// Ends the connection: the other end reads what was sent, then end of file.
    pub(crate) fn shut_down(&self) {
        // The only failure is a peer that is gone already.
        let _ = nix::sys::socket::shutdown(self.0.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    fn receive_with(&self, buffer: &mut [u8], flags: MsgFlags) -> io::Result<Received> {
        let mut control = cmsg_space!([RawFd; FDS_MAX]);
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = loop {
            match recvmsg::<()>(self.0.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                // The peer ended with our messages unread: for us that is an end like any other.
                Err(Errno::ECONNRESET) => return Ok(Received::Closed),
                other => break other?,
            }
        };
        let mut fds = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                for fd in raw {
                    // SAFETY: the kernel has just made this descriptor for us, with the message.
                    fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        if message.bytes == 0 && fds.is_empty() {
            return Ok(Received::Closed);
        }
        Ok(Received::Message(message.bytes, fds))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Socket {
        Socket(fd)
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> OwnedFd {
        socket.0
    }
}
