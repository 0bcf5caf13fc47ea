//! A SIGINT that is noted; a second one ends the process.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Error, Result};

/// A SIGINT has come since the handler was installed.
static IS_NOTED: AtomicBool = AtomicBool::new(false);
/// There is an [`InterruptHandler`].
static IS_INSTALLED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: i32) {
    // Relaxed: a flag on its own.
    IS_NOTED.store(true, Ordering::Relaxed);
}

/// The handler of SIGINT, until this is dropped. The first SIGINT is noted and restores the default
/// action, so a second one ends the process.
#[derive(Debug)]
pub(crate) struct InterruptHandler {
    /// What was there before.
    before: SigAction,
}

impl InterruptHandler {
    /// Installs the handler, unless this process ignores SIGINT: then nothing is changed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is installed already; [`Error::Os`].
    pub(crate) fn install() -> Result<InterruptHandler> {
        if IS_INSTALLED.swap(true, Ordering::Relaxed) {
            let expected = "dropped before another is made";
            return Err(Error::invalid("the handler of SIGINT", "installed", expected));
        }
        IS_NOTED.store(false, Ordering::Relaxed);
        let flags = SaFlags::SA_RESETHAND | SaFlags::SA_RESTART;
        let action = SigAction::new(SigHandler::Handler(note), flags, SigSet::empty());
        let before = set(&action).inspect_err(|_| IS_INSTALLED.store(false, Ordering::Relaxed))?;
        if matches!(before.handler(), SigHandler::SigIgn) {
            set(&before)?;
        }
        Ok(InterruptHandler { before })
    }

    /// Whether a SIGINT has come.
    pub(crate) fn is_noted(&self) -> bool {
        // Relaxed: see `note`.
        IS_NOTED.load(Ordering::Relaxed)
    }
}

impl Drop for InterruptHandler {
    fn drop(&mut self) {
        // It was accepted before.
        let _ = set(&self.before);
        IS_INSTALLED.store(false, Ordering::Relaxed);
    }
}

fn set(action: &SigAction) -> Result<SigAction> {
    // SAFETY: the action is the default, to ignore, one that was there before, or `note`, which
    // only stores to an atomic.
    unsafe { sigaction(Signal::SIGINT, action) }.map_err(|e| Error::os("sigaction", "SIGINT", e))
}
