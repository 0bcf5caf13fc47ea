//! A batch: settings, then a run over the keys.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::admission::{Admission, MemoryRule};
use crate::batch::interrupt::Interrupt;
use crate::batch::journal::{Contents, Journal};
use crate::batch::key::Key;
use crate::batch::progress::{self, BatchProgress, OnProgress};
use crate::batch::run::{Parts, Run, TICK};
use crate::batch::summary::Summary;
use crate::batch::tally::Tally;
use crate::batch::task::{self, Argument, Shared};
use crate::error::{Error, Result};
use crate::pool::{Pool, With};
use crate::region::host_arena;

/// A function over many keys, on a pool: what is done is written to a journal, and a rerun does the
/// rest. See the [module](crate::batch).
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::batch::{Batch, Key};
/// let path = std::env::temp_dir().join(format!("brigade-journal-{}", std::process::id()));
/// let pool = Pool::builder().workers(2).build()?;
/// let digits = |key: &Key| key.as_str().unwrap_or_default().parse::<u64>();
/// let summary = Batch::new(&pool).journal(&path).run(["12", "30", "x"], digits)?;
/// assert_eq!((summary.done, summary.bytes, summary.failed.len()), (2, 42, 1));
///
/// // The second run does what is new, and names what has failed.
/// let summary = Batch::new(&pool).journal(&path).run(["12", "30", "x", "5"], digits)?;
/// assert_eq!((summary.done, summary.skipped, summary.failed.len()), (1, 2, 1));
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "a batch does nothing before it runs"]
pub struct Batch<'b, S = ()> {
    settings: Settings<'b>,
    value: S,
}

/// What is set of a batch, apart from its value.
struct Settings<'b> {
    pool: &'b Pool,
    journal: Option<PathBuf>,
    label: String,
    is_synced: bool,
    retries_failed: bool,
    timeout: Option<Duration>,
    memory: MemoryRule,
    interrupt: Option<&'b Interrupt>,
    on_progress: Option<OnProgress<'b>>,
}

impl<'b> Batch<'b> {
    /// A batch without a journal, on all workers of `pool`. The pool may have other tasks too.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// use brigade::batch::{Batch, Key};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let length = |key: &Key| Ok::<u64, String>(key.as_bytes().len() as u64);
    /// // Without a journal, the second run does all of it again.
    /// for _ in 0..2 {
    ///     assert_eq!(Batch::new(&pool).run(["a", "bc"], length)?.done, 2);
    /// }
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new(pool: &'b Pool) -> Batch<'b> {
        let settings = Settings {
            pool,
            journal: None,
            label: String::new(),
            is_synced: false,
            retries_failed: false,
            timeout: None,
            memory: MemoryRule::Unlimited,
            interrupt: None,
            on_progress: None,
        };
        Batch { settings, value: () }
    }

    /// Gives every call of the function `value` by reference: what a closure would have captured.
    /// It is sent with every key, so it should be small, or hold handles such as
    /// [`Frozen`](crate::Frozen) arrays.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// use brigade::batch::{Batch, Key};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let summary = Batch::new(&pool).with(10u64).run(["a", "bc"], |factor, key: &Key| {
    ///     Ok::<u64, String>(factor * key.as_bytes().len() as u64)
    /// })?;
    /// assert_eq!(summary.bytes, 30);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn with<W>(self, value: W) -> Batch<'b, With<W>>
    where
        W: Serialize + DeserializeOwned + 'static,
    {
        Batch { settings: self.settings, value: With(value) }
    }
}

impl<'b, S> Batch<'b, S> {
    /// Reads the completed keys from this file, and appends each new outcome to it. The file is
    /// created if it does not exist, and locked while the batch runs. Default: no journal.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// use brigade::batch::{Batch, Key};
    /// let path = std::env::temp_dir().join(format!("brigade-done-{}", std::process::id()));
    /// let pool = Pool::builder().workers(1).build()?;
    /// let length = |key: &Key| Ok::<u64, String>(key.as_bytes().len() as u64);
    /// let run = |keys: &[&'static str]| {
    ///     Batch::new(&pool).journal(&path).run(keys.iter().copied(), length)
    /// };
    /// assert_eq!(run(&["a", "bc"])?.done, 2);
    /// let again = run(&["a", "bc", "def"])?;
    /// assert_eq!((again.done, again.skipped, again.bytes), (1, 2, 3));
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn journal(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.journal = Some(path.into());
        self
    }

    /// What a journal is for, at most 4096 bytes: for example the settings that decide what the
    /// outputs are. A run refuses a journal with another label. Default: empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::batch::{Batch, Key};
    /// use brigade::{Error, Pool};
    /// let path = std::env::temp_dir().join(format!("brigade-label-{}", std::process::id()));
    /// let pool = Pool::builder().workers(1).build()?;
    /// let run = |label: &str| {
    ///     let batch = Batch::new(&pool).journal(&path).label(label);
    ///     batch.run(["a"], |_: &Key| Ok::<u64, String>(0))
    /// };
    /// assert_eq!(run("width 256")?.done, 1);
    /// assert!(matches!(run("width 512"), Err(Error::Layout { .. })));
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.settings.label = label.into();
        self
    }

    /// Has each outcome on the disk before the run goes on, so that it survives a loss of power.
    /// Default: outcomes are in the system's cache, and survive the death of any process.
    pub fn synced(mut self) -> Self {
        self.settings.is_synced = true;
        self
    }

    /// Runs keys again that have failed permanently: those that failed, timed out or were
    /// quarantined. Default: they are named in the [`Summary`], and do not run.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// use brigade::batch::{Batch, Key};
    /// let path = std::env::temp_dir().join(format!("brigade-retry-{}", std::process::id()));
    /// let pool = Pool::builder().workers(1).build()?;
    /// let batch = || Batch::new(&pool).journal(&path);
    /// let fails = batch().run(["a"], |_: &Key| Err::<u64, _>("the server is down"))?;
    /// assert_eq!(fails.failed[0].attempt, 1);
    /// let works = batch().retry_failed().run(["a"], |_: &Key| Ok::<u64, String>(0))?;
    /// assert_eq!((works.done, works.failed.len()), (1, 0));
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn retry_failed(mut self) -> Self {
        self.settings.retries_failed = true;
        self
    }

    /// How long a key may run, longer than zero; then its worker is killed. Default: the pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::Pool;
    /// use brigade::batch::{Batch, Key, KeyOutcome};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let hang = |_: &Key| -> Result<u64, String> { loop { std::thread::park() } };
    /// let summary = Batch::new(&pool).timeout(Duration::from_millis(5)).run(["a"], hang)?;
    /// assert_eq!(summary.failed[0].outcome, KeyOutcome::TimedOut);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Runs at most as many keys at once as there is free memory for, if each needs so many bytes:
    /// of the machine and of this process's cgroup, less a tenth. One runs in any case. Default:
    /// memory limits nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// use brigade::batch::{Batch, Key};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let batch = Batch::new(&pool).memory_per_task(64 << 20);
    /// assert_eq!(batch.run(["a", "b"], |_: &Key| Ok::<u64, String>(1))?.done, 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn memory_per_task(mut self, bytes: u64) -> Self {
        self.settings.memory = MemoryRule::PerTask(bytes);
        self
    }

    /// As [`memory_per_task`](Batch::memory_per_task), with the largest peak of a key so far for
    /// the bytes. The first key runs alone, and then at most twice as many keys run at once as
    /// have been measured.
    pub fn measure_memory(mut self) -> Self {
        self.settings.memory = MemoryRule::Measured;
        self
    }

    /// Ends the batch early when `interrupt` is set. Default: it runs to the end.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// use brigade::batch::{Batch, Interrupt, Key};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let interrupt = Interrupt::new();
    /// interrupt.request();
    /// let batch = Batch::new(&pool).interrupt(&interrupt);
    /// let summary = batch.run(["a", "b"], |_: &Key| Ok::<u64, String>(1))?;
    /// assert_eq!((summary.done, summary.exit_code()), (0, 130));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn interrupt(mut self, interrupt: &'b Interrupt) -> Self {
        self.settings.interrupt = Some(interrupt);
        self
    }

    /// Calls `function` about ten times a second, in the thread that runs the batch, and once at
    /// the end. Default: no callback.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// use brigade::batch::{Batch, Key};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let mut last = None;
    /// let batch = Batch::new(&pool).on_progress(|progress| last = Some(*progress));
    /// batch.run(["a", "b"], |_: &Key| Ok::<u64, String>(1))?;
    /// let last = last.expect("it is called at the end");
    /// assert_eq!((last.done, last.total, last.is_over), (2, Some(2), true));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn on_progress(mut self, function: impl FnMut(&BatchProgress) + 'b) -> Self {
        self.settings.on_progress = Some(Box::new(function));
        self
    }

    /// Prints progress on standard error: on a terminal a line that is written over, elsewhere a
    /// line every ten seconds.
    pub fn print_progress(self) -> Self {
        let out = io::stderr();
        let is_terminal = out.is_terminal();
        self.on_progress(progress::printer(out, is_terminal))
    }
}

impl Settings<'_> {
    /// The tally of a run that begins at `start`, with what the journal says.
    fn tally(&self, start: Instant) -> Result<Tally> {
        let (journal, contents) = match &self.journal {
            None => (None, Contents::default()),
            Some(path) => {
                let (journal, contents) = Journal::open(path, &self.label, self.is_synced)?;
                (Some(journal), contents)
            }
        };
        let mut tally = Tally::new(journal, contents.ledger, self.retries_failed, start);
        tally.summary.unread_lines = contents.unread_lines;
        Ok(tally)
    }

    /// Runs all keys; `F` is the user's function.
    fn run<W, F, K>(
        self,
        value: W,
        keys: K,
        function: impl Fn(&W, &Key) -> std::result::Result<u64, String> + Copy + Send + 'static,
    ) -> Result<Summary>
    where
        W: Serialize + DeserializeOwned + 'static,
        K: Iterator<Item = Key>,
    {
        let start = Instant::now();
        // A death is counted here, and nothing runs again unseen.
        let mut options = self.pool.options().retries(0);
        if let Some(timeout) = self.timeout {
            options = options.timeout(timeout);
        }
        let tally = self.tally(start)?;
        let admission = Admission::new(self.memory, host_arena::free_outside_bytes);
        let (shared, measures) = (Shared(Arc::new(value)), admission.measures());
        let submit = |key: Key| {
            let task = move |argument: Argument<W>| task::run(function, argument);
            options.submit_within(TICK, task, (shared.clone(), key, measures))
        };
        let parts = Parts {
            pool: self.pool,
            function: std::any::type_name::<F>(),
            tally,
            admission,
            interrupt: self.interrupt,
            on_progress: self.on_progress,
        };
        Run::new(parts, keys, submit, start).finish()
    }
}

impl<'b> Batch<'b> {
    /// The tally and the interrupt of this batch, for `brigade-mpi`, which runs its keys itself.
    ///
    /// # Errors
    ///
    /// Those of a journal; see [`run`](Batch::run). [`Error::InvalidArgument`] for a setting that
    /// holds in one pool only.
    #[doc(hidden)]
    pub fn open(self) -> Result<(Tally, Option<&'b Interrupt>)> {
        let Settings { timeout, memory, on_progress, interrupt, .. } = &self.settings;
        let refused = [
            ("a timeout", timeout.is_some()),
            ("a rule for memory", !matches!(memory, MemoryRule::Unlimited)),
            ("a callback for progress", on_progress.is_some()),
        ];
        match refused.into_iter().find(|(_, is_set)| *is_set) {
            Some((name, _)) => {
                Err(Error::invalid("the batch's settings", name, "none of these on several ranks"))
            }
            None => Ok((self.settings.tally(Instant::now())?, *interrupt)),
        }
    }
}

impl Batch<'_> {
    /// Runs `function` for each key that is not done, and returns when all have ended or the batch
    /// was interrupted. Keys are taken from the iterator as workers get free, until it returns
    /// `None` once. An iterator that blocks holds up the journal, the interrupt and the progress.
    ///
    /// The function returns the size of its output, or any number that the journal is to keep. It
    /// should write its output by an [`OutputFile`](crate::batch::OutputFile), so that a key whose
    /// outcome was lost can run again. Its error is written as `{error:#}` formats it. It captures
    /// nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// None for a key that fails: the [`Summary`] names it. [`Error::Layout`] if the journal is
    /// another file or has another label, [`Error::InvalidArgument`] if another run has it,
    /// [`Error::NotFound`] if its folder is not there, [`Error::Os`] if it cannot be read or
    /// written, for example because the disk is full. Keys that run are then finished first, and
    /// keys that are missing in the journal run again next time. [`Error::InvalidArgument`] for a
    /// timeout of zero, or of a pool without processes; [`Error::NoSpace`] if the arena has no room
    /// for a key or the value; [`Error::Closed`] or [`Error::Broken`] if the pool ends.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// use brigade::batch::{Batch, Key};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let summary = Batch::new(&pool).run(["7", "x"], |key: &Key| {
    ///     key.as_str().unwrap_or_default().parse::<u64>()
    /// })?;
    /// assert_eq!((summary.done, summary.bytes, summary.failed.len()), (1, 7, 1));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn run<K, F, E>(self, keys: K, function: F) -> Result<Summary>
    where
        K: IntoIterator<Item: Into<Key>>,
        F: Fn(&Key) -> std::result::Result<u64, E> + Copy + Send + 'static,
        E: fmt::Display,
    {
        let keys = keys.into_iter().map(Into::into);
        let function = move |(): &(), key: &Key| function(key).map_err(|e| format!("{e:#}"));
        self.settings.run::<_, F, _>((), keys, function)
    }
}

impl<W: Serialize + DeserializeOwned + 'static> Batch<'_, With<W>> {
    /// Runs `function` for each key that is not done, with the batch's value; see the
    /// [`run`](Batch::run) of a batch without one.
    ///
    /// # Errors
    ///
    /// As without a value, and [`TaskError::Codec`](crate::TaskError::Codec) if the value cannot be
    /// encoded.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// use brigade::batch::{Batch, Key};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let batch = Batch::new(&pool).with(vec![10u64, 20]);
    /// let summary = batch.run(["0", "1"], |table, key: &Key| {
    ///     key.as_str().unwrap_or_default().parse::<usize>().map(|at| table[at])
    /// })?;
    /// assert_eq!(summary.bytes, 30);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn run<K, F, E>(self, keys: K, function: F) -> Result<Summary>
    where
        K: IntoIterator<Item: Into<Key>>,
        F: Fn(&W, &Key) -> std::result::Result<u64, E> + Copy + Send + 'static,
        E: fmt::Display,
    {
        let Batch { settings, value: With(value) } = self;
        let keys = keys.into_iter().map(Into::into);
        let function =
            move |value: &W, key: &Key| function(value, key).map_err(|e| format!("{e:#}"));
        settings.run::<_, F, _>(value, keys, function)
    }
}

impl<S> fmt::Debug for Batch<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("journal", &self.settings.journal).finish_non_exhaustive()
    }
}
