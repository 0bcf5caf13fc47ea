//! Pipes whose read end does not block.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;

/// Makes a pipe: the read end, which never blocks, and the write end, which does. Both are closed
/// on exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // The flag belongs to this end only: writes block as usual.
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// This many bytes.
    Bytes(usize),
    /// Nothing now; the pipe is empty.
    WouldBlock,
    /// End of file: the other end is closed, or the pipe cannot be read.
    End,
}

/// Reads the available bytes into `buffer`.
pub(crate) fn try_read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Read {
    loop {
        match rustix::io::read(fd, &mut *buffer) {
            Ok(0) => return Read::End,
            Ok(count) => return Read::Bytes(count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Read::WouldBlock,
            Err(_) => return Read::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_pipe_yields_the_written_bytes_and_then_its_end() {
        let (read, write) = pair().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(try_read(read.as_fd(), &mut buffer), Read::WouldBlock);
        rustix::io::write(&write, b"abc").unwrap();
        assert_eq!(try_read(read.as_fd(), &mut buffer), Read::Bytes(3));
        assert_eq!(&buffer[..3], b"abc");
        drop(write);
        assert_eq!(try_read(read.as_fd(), &mut buffer), Read::End);
    }
}
