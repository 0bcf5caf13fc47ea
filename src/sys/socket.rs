//! Unix sockets that keep message boundaries and carry descriptors.
#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};

use crate::sys::poll::wait_any;

/// Descriptors that one message may carry.
pub(crate) const FDS_MAX: usize = 7;

/// One end of a connected pair; each message arrives whole or not at all.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

/// How often sending a message is repeated while the kernel has no memory for it, and how long
/// apart.
const SHORTAGES_MAX: u32 = 20;
const SHORTAGE: Duration = Duration::from_millis(10);

/// The process that made a socket pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) pid: u32,
    /// Its effective user at that time.
    pub(crate) uid: u32,
}

/// The result of a [`Socket::receive`].
#[derive(Debug)]
pub(crate) enum Received {
    /// A message of this many bytes, and its descriptors. They are missing if this process has no
    /// room for all of them.
    Message(usize, Vec<OwnedFd>),
    /// No message is there now.
    WouldBlock,
    /// The other end is closed, and everything that it sent has been read.
    Closed,
}

/// Whether sending failed because the kernel lacks memory or has too many descriptors in transit.
/// These conditions are temporary, unlike a peer that does not receive.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [libc::ENOBUFS, libc::ENOMEM, libc::ETOOMANYREFS];
    error.raw_os_error().is_some_and(|errno| shortages.contains(&errno))
}

impl Socket {
    /// A connected pair, closed on exec.
    pub(crate) fn pair() -> io::Result<(Socket, Socket)> {
        let (a, b) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Socket(a), Socket(b)))
    }

    /// Takes over a socket with which this process was started.
    ///
    /// # Errors
    ///
    /// If `fd` is not an end of such a pair; the error describes it.
    pub(crate) fn adopt(fd: OwnedFd) -> io::Result<Socket> {
        use nix::sys::socket::{SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt};
        let no_socket = |errno| match errno {
            Errno::ENOTSOCK => io::Error::other("not a socket"),
            other => other.into(),
        };
        let kind = getsockopt(&fd, sockopt::SockType).map_err(no_socket)?;
        let address = getsockname::<SockaddrStorage>(fd.as_raw_fd()).map_err(no_socket)?;
        if kind != SockType::SeqPacket || address.family() != Some(AddressFamily::Unix) {
            return Err(io::Error::other("a socket of another kind"));
        }
        Ok(Socket(fd))
    }

    /// The process that made this pair.
    pub(crate) fn peer(&self) -> io::Result<Peer> {
        use nix::sys::socket::{getsockopt, sockopt};
        let found = getsockopt(&self.0, sockopt::PeerCredentials)?;
        Ok(Peer { pid: found.pid().cast_unsigned(), uid: found.uid() })
    }

    /// Sends one message with descriptors; `Ok(false)` if there is no room now.
    pub(crate) fn try_send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
        self.send_with(bytes, fds, MsgFlags::MSG_DONTWAIT)
    }

    /// Sends one message with descriptors. Waits for room, and for a limited time for kernel
    /// memory.
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        for _ in 1..SHORTAGES_MAX {
            match self.send_with(bytes, fds, MsgFlags::empty()) {
                // A failed wait is only shorter.
                Err(error) if is_shortage(&error) => drop(wait_any(&[], Some(SHORTAGE))),
                other => return other.map(drop),
            }
        }
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

    /// Ends the connection: the other end can read what was sent, followed by the end of file.
    pub(crate) fn shut_down(&self) {
        // Fails only if the peer has closed its end.
        let _ = nix::sys::socket::shutdown(self.0.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    /// Not by nix, which gives no access to the descriptors of a truncated message.
    fn receive_with(&self, buffer: &mut [u8], flags: MsgFlags) -> io::Result<Received> {
        let mut control = [0u64; CONTROL_WORDS];
        let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: a plain C struct of integers and pointers, for which all-zero bytes are a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut slice;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let flags = (flags | MsgFlags::MSG_CMSG_CLOEXEC).bits();
        let bytes = loop {
            // SAFETY: the message describes a buffer and a control area that are live locals.
            let got = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, flags) };
            match Errno::result(got) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Received::WouldBlock),
                // The peer closed with unread messages from here: also an end of the connection.
                Err(Errno::ECONNRESET) => return Ok(Received::Closed),
                other => break other?.cast_unsigned(),
            }
        };
        let mut fds = descriptors(&message);
        if bytes == 0 && fds.is_empty() {
            return Ok(Received::Closed);
        }
        if message.msg_flags & libc::MSG_CTRUNC != 0 {
            fds.clear();
        }
        Ok(Received::Message(bytes, fds))
    }
}

/// Room for a header and as many descriptors as a message may carry.
const CONTROL_WORDS: usize = 8;
const _: () =
    assert!(size_of::<libc::cmsghdr>() + FDS_MAX * size_of::<RawFd>() <= CONTROL_WORDS * 8);

/// The descriptors of a message. Those of a truncated message are taken too, or they would stay
/// open without an owner.
fn descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel filled in the control area, which the caller holds.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or a header inside the control area.
    while let Some(control) = unsafe { header.as_ref() } {
        if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: computes a length.
            let header_bytes = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = control.cmsg_len.saturating_sub(header_bytes) / size_of::<RawFd>();
            // SAFETY: the data of a header that is inside the control area.
            let data = unsafe { libc::CMSG_DATA(header) }.cast::<RawFd>();
            for index in 0..count {
                let at = data.wrapping_add(index);
                // SAFETY: one of `count` numbers that the kernel wrote after the header.
                let raw = unsafe { at.read_unaligned() };
                // SAFETY: the kernel has just made this descriptor, with the message.
                fds.push(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
        // SAFETY: both belong to the control area that the kernel filled in.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    fds
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
