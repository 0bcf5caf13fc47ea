//! Random numbers of the kernel.
#![allow(unsafe_code)]

use std::io;

use crate::error::{Error, Result};

/// A random number from the kernel.
pub(crate) fn random_u64() -> Result<u64> {
    let mut bytes = [0u8; 8];
    loop {
        // SAFETY: `bytes` is a live local array of the length passed, and the call writes no
        // further than that.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if got == 8 {
            return Ok(u64::from_ne_bytes(bytes));
        }
        let cause = io::Error::last_os_error();
        if got < 0 && cause.kind() != io::ErrorKind::Interrupted {
            return Err(Error::os("getrandom", "8 bytes", cause));
        }
    }
}
