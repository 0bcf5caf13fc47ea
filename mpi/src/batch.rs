//! A batch of keys on all ranks, with one journal.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use brigade::batch::{Attempt, Batch, Interrupt, Key, KeyOutcome, Summary, Tally};

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::farm::Done;

/// What the function of a key returned, and how many nanoseconds it took.
type Returned = (std::result::Result<u64, String>, u64);

/// What rank 0 has of a batch under way.
struct Run<'b> {
    tally: RefCell<Tally>,
    interrupt: Option<&'b Interrupt>,
    /// The attempts under way, by the position of their items.
    under_way: RefCell<HashMap<usize, Attempt>>,
    /// The first error of the journal. Then nothing more is started.
    failed: Cell<Option<brigade::Error>>,
    is_stopping: Cell<bool>,
}

impl Cluster {
    /// Runs a [batch](brigade::batch) on the workers of all ranks: `function` for each key that the
    /// journal of rank 0 does not name as done. A job that ended early, because a rank was killed
    /// for example, is started again, and does what is left.
    ///
    /// All ranks call it. The settings and keys of rank 0 count, and rank 0 gets the summary. The
    /// pool of the batch is not used. An [interrupt](Batch::interrupt) of rank 0 lets what is under
    /// way end; Ctrl-C is none, because mpirun turns it into SIGTERM. `function` captures nothing.
    ///
    /// The guarantees are those of the [module](brigade::batch), with these differences. Keys
    /// travel in batches of about 20 ms, two of them ahead of each rank. After the death of a rank
    /// all run again whose outcomes rank 0 had not yet written. A key whose worker has died runs
    /// again after all others. A timeout of the pool counts as a failure. The error of a key has
    /// the rank and the node.
    ///
    /// # Errors
    ///
    /// [`Error::Brigade`] on rank 0 if the journal cannot be read or written, or if the batch has a
    /// timeout, a rule for memory or a callback for progress; [`Error::RankFailed`] on the others
    /// then. [`Error::InvalidArgument`] if a call of `imap_unordered` is not at its end.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// use brigade::batch::{Batch, Key};
    /// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(2))?;
    /// let path = std::env::temp_dir().join(format!("brigade-ranks-{}", std::process::id()));
    /// let run = || {
    ///     let batch = Batch::new(cluster.pool()).journal(&path);
    ///     cluster.run_batch(batch, ["12", "30", "x"], |key: &Key| {
    ///         key.as_str().unwrap_or_default().parse::<u64>()
    ///     })
    /// };
    /// let (first, second) = (run()?, run()?);
    /// if let (Some(first), Some(second)) = (first, second) {
    ///     assert_eq!((first.done, first.bytes, first.failed.len()), (2, 42, 1));
    ///     assert_eq!((second.done, second.skipped), (0, 2));
    /// #   std::fs::remove_file(&path).unwrap();
    /// }
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    pub fn run_batch<K, F, E>(
        &self,
        batch: Batch<'_>,
        keys: K,
        function: F,
    ) -> Result<Option<Summary>>
    where
        K: IntoIterator<Item: Into<Key>>,
        F: Fn(&Key) -> std::result::Result<u64, E> + Copy + Send + 'static,
        E: Display,
    {
        let call = move |key: Key| -> Returned {
            let start = Instant::now();
            let result = function(&key).map_err(|error| format!("{error:#}"));
            (result, u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
        };
        let opened = if self.rank() == 0 { Some(batch.open()).transpose() } else { Ok(None) };
        let opened = self.link.agree(opened.map_err(Error::from))?;
        let Some((tally, interrupt)) = opened else {
            // As many rounds as rank 0 has.
            while self.link.broadcast(false)? {
                drop(self.imap_unordered(std::iter::empty::<Key>(), call)?);
            }
            return self.link.agree(Ok(None));
        };
        let run = Run::new(tally, interrupt);
        let keys = keys.into_iter().map(Into::<Key>::into).take_while(|_| run.is_going_on());
        let first = keys.filter_map(|key| run.tally.borrow_mut().meet(key));
        self.round(&run, first, call)?;
        // Those whose worker has died, and then each that is to run alone.
        while let Some(attempts) = run.next_attempts() {
            self.round(&run, attempts.into_iter(), call)?;
        }
        self.link.broadcast(false)?;
        let outcome = run.finish().map_err(Error::from);
        self.link.agree(outcome.map(Some))
    }

    /// Makes attempts on all ranks, and takes note of how they end.
    fn round<F>(
        &self,
        run: &Run<'_>,
        attempts: impl Iterator<Item = Attempt>,
        call: F,
    ) -> Result<()>
    where
        F: Fn(Key) -> Returned + Copy + Send + 'static,
    {
        self.link.broadcast(true)?;
        let keys = attempts.enumerate().map(|(position, attempt)| run.start(position, attempt));
        for done in self.imap_unordered(keys, call)? {
            run.take(done);
        }
        Ok(())
    }
}

impl<'b> Run<'b> {
    fn new(tally: Tally, interrupt: Option<&'b Interrupt>) -> Run<'b> {
        Run {
            tally: RefCell::new(tally),
            interrupt,
            under_way: RefCell::default(),
            failed: Cell::new(None),
            is_stopping: Cell::new(false),
        }
    }

    /// Whether more is to be started.
    fn is_going_on(&self) -> bool {
        let is_interrupted = self.interrupt.is_some_and(Interrupt::is_requested);
        self.tally.borrow_mut().note_interrupt(is_interrupted);
        !is_interrupted && !self.is_stopping.get()
    }

    /// The attempts of another round, if one is needed.
    fn next_attempts(&self) -> Option<Vec<Attempt>> {
        if !self.is_going_on() {
            return None;
        }
        let mut tally = self.tally.borrow_mut();
        let again: Vec<_> = std::iter::from_fn(|| tally.next_again()).collect();
        match again.is_empty() {
            true => tally.next_alone().map(|attempt| vec![attempt]),
            false => Some(again),
        }
    }

    /// Notes an attempt that begins; returns its key.
    fn start(&self, position: usize, attempt: Attempt) -> Key {
        let key = attempt.key().clone();
        self.under_way.borrow_mut().insert(position, attempt);
        key
    }

    /// Takes the outcome of an attempt, and writes it.
    fn take(&self, done: Done<Returned>) {
        let Some(attempt) = self.under_way.borrow_mut().remove(&done.position) else { return };
        let mut tally = self.tally.borrow_mut();
        let mut report = attempt.report();
        match done.result {
            Ok((result, elapsed_ns)) => {
                report.duration = Some(Duration::from_nanos(elapsed_ns));
                match result {
                    Ok(bytes) => (report.outcome, report.bytes) = (KeyOutcome::Done, bytes),
                    Err(text) => report.error = Some(text),
                }
            }
            Err(failure) => {
                if let Some(death) = &failure.death {
                    let printed = death.stderr_tail.as_deref();
                    let is_killed = death.out_of_memory;
                    report.outcome = tally.death_of(&report.key, is_killed, death.reason, printed);
                }
                report.error = Some(failure.to_string());
            }
        }
        // The signal that interrupts the batch may have ended the worker, or what it waits for.
        // Then the failure is not the key's: it runs again next time.
        if report.outcome != KeyOutcome::Done && self.interrupt.is_some_and(Interrupt::is_requested)
        {
            return tally.note_interrupt(true);
        }
        tally.record(report);
        if let Err(error) = tally.commit() {
            self.is_stopping.set(true);
            // The first one; a later one says less.
            self.failed.set(self.failed.take().or(Some(error)));
        }
    }

    /// What the batch has come to.
    fn finish(self) -> brigade::Result<Summary> {
        let mut tally = self.tally.into_inner();
        // There may be room on the disk by now.
        let written = tally.commit();
        self.failed.into_inner().map_or(Ok(()), Err)?;
        written?;
        Ok(tally.finish())
    }
}
