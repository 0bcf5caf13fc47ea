//! A request to end a batch early.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::sys::interrupt::InterruptHandler;

/// A request to end batches early: what runs is finished and written to the journal, and nothing
/// else is started.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::batch::{Batch, Interrupt, Key};
/// let pool = Pool::builder().workers(1).build()?;
/// let interrupt = Interrupt::new();
/// interrupt.request();
/// let summary = Batch::new(&pool)
///     .interrupt(&interrupt)
///     .run(["a", "b"], |key: &Key| Ok::<u64, String>(key.as_bytes().len() as u64))?;
/// assert_eq!((summary.done, summary.exit_code()), (0, 130));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Interrupt {
    is_requested: AtomicBool,
    handler: Option<InterruptHandler>,
}

impl Interrupt {
    /// An interrupt that only [`request`](Interrupt::request) sets.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::batch::Interrupt;
    /// static STOP: Interrupt = Interrupt::new();
    /// assert!(!STOP.is_requested());
    /// STOP.request();
    /// assert!(STOP.is_requested());
    /// ```
    #[must_use]
    pub const fn new() -> Interrupt {
        Interrupt { is_requested: AtomicBool::new(false), handler: None }
    }

    /// An interrupt that the first SIGINT of this process (Ctrl-C) sets; the second SIGINT ends the
    /// process at once.
    ///
    /// A terminal sends SIGINT to all programs in its foreground, those that tasks have started
    /// too. A key that fails from then on is therefore not counted as failed: it runs again in
    /// the next run.
    ///
    /// This installs a handler of SIGINT, which dropping the value replaces by what was there
    /// before. In a process that ignores SIGINT nothing changes.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there is such a value already;
    /// [`Error::Os`](crate::Error::Os).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::batch::Interrupt;
    /// let interrupt = Interrupt::on_sigint()?;
    /// assert!(!interrupt.is_requested());
    /// assert!(Interrupt::on_sigint().is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn on_sigint() -> Result<Interrupt> {
        let handler = Some(InterruptHandler::install()?);
        Ok(Interrupt { handler, ..Interrupt::new() })
    }

    /// Sets it, from any thread. Batches notice within a tenth of a second, unless their iterator
    /// of keys blocks.
    pub fn request(&self) {
        // Relaxed: a flag on its own.
        self.is_requested.store(true, Ordering::Relaxed);
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        // Relaxed: as above.
        self.is_requested.load(Ordering::Relaxed)
            || self.handler.as_ref().is_some_and(InterruptHandler::is_noted)
    }
}
