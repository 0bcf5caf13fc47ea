//! Anonymous memory files and their seals.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag};
use nix::sys::memfd::MFdFlags;

use crate::error::{Error, Limit, Result};

/// The bytes of one `fallocate` call. A signal interrupts a call and undoes all of it, so large
/// calls might never make progress.
pub(crate) const FALLOCATE_STEP_BYTES: u64 = 64 << 20;

/// Makes a memory file of `size_bytes`, all of it a hole, that cannot be resized.
///
/// The caller has compared `size_bytes` with `RLIMIT_FSIZE`: exceeding it raises `SIGXFSZ`.
pub(crate) fn create_sealed(label: &str, size_bytes: u64) -> Result<OwnedFd> {
    let fail = |call, source: Errno| Error::os(call, format!("{size_bytes} bytes"), source);
    let name = CString::new(label).expect("labels are literals without NUL");
    let base = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // The flag needs Linux 6.3, newer than this crate requires; without it some kernels warn.
    let no_exec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let fd = match nix::sys::memfd::memfd_create(name.as_c_str(), base | no_exec) {
        Err(Errno::EINVAL) => nix::sys::memfd::memfd_create(name.as_c_str(), base),
        other => other,
    }
    .map_err(|e| fail("memfd_create", e))?;
    let size = i64::try_from(size_bytes).map_err(|_| fail("ftruncate", Errno::EFBIG))?;
    nix::unistd::ftruncate(&fd, size).map_err(|e| fail("ftruncate", e))?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    nix::fcntl::fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).map_err(|e| fail("fcntl", e))?;
    Ok(fd)
}

/// Whether the size of this file can never change.
pub(crate) fn size_is_sealed(fd: BorrowedFd<'_>) -> bool {
    let both = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    nix::fcntl::fcntl(fd, FcntlArg::F_GET_SEALS)
        .is_ok_and(|bits| SealFlag::from_bits_retain(bits).contains(both))
}

/// The size of a file and the memory or disk it occupies, both in bytes.
pub(crate) fn size_and_use_bytes(fd: BorrowedFd<'_>) -> Result<(u64, u64)> {
    let stat = nix::sys::stat::fstat(fd)
        .map_err(|e| Error::os("fstat", format!("descriptor {}", fd.as_raw_fd()), e))?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    Ok((size, blocks.saturating_mul(512)))
}

/// Reserves memory or disk for `len_bytes` from `offset` on, in steps, and repeats interrupted
/// ones.
///
/// The range lies inside the file or extends it. After a failure, the steps before it stay
/// reserved.
pub(crate) fn allocate(fd: BorrowedFd<'_>, offset: u64, len_bytes: u64) -> Result<()> {
    let end = offset.saturating_add(len_bytes);
    let mut at = offset;
    while at < end {
        let step = FALLOCATE_STEP_BYTES.min(end - at);
        match fallocate(fd, FallocateFlags::empty(), at, step) {
            Ok(()) => at += step,
            Err(Errno::EINTR) => {}
            Err(cause @ (Errno::ENOSPC | Errno::EDQUOT | Errno::ENOMEM | Errno::EFBIG)) => {
                let (requested_bytes, free_bytes) = (len_bytes, at - offset);
                let is_size = cause == Errno::EFBIG;
                let limited_by = if is_size { Limit::FileSize } else { Limit::FileSystem };
                return Err(Error::NoSpace { requested_bytes, free_bytes, limited_by });
            }
            Err(e) => return Err(Error::os("fallocate", format!("{len_bytes} bytes"), e)),
        }
    }
    Ok(())
}

/// Returns the memory of a range to the system; the range reads as zeros from then on.
pub(crate) fn punch_hole(fd: BorrowedFd<'_>, offset: u64, len_bytes: u64) -> Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    loop {
        match fallocate(fd, flags, offset, len_bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => {
                return Err(Error::os("fallocate", format!("a hole of {len_bytes} bytes"), e));
            }
        }
    }
}

fn fallocate(
    fd: impl AsFd,
    flags: FallocateFlags,
    offset: u64,
    len_bytes: u64,
) -> std::result::Result<(), Errno> {
    let offset = i64::try_from(offset).map_err(|_| Errno::EFBIG)?;
    let len = i64::try_from(len_bytes).map_err(|_| Errno::EFBIG)?;
    nix::fcntl::fallocate(fd, flags, offset, len)
}
