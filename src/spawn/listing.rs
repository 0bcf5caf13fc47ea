//! Lists the running one-off processes.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::spawn::record::ProcessRecord;
use crate::sys::per_process::PerProcess;

/// A running one-off process, as listed by [`active_processes`].
///
/// # Examples
///
/// ```
/// use brigade::{Process, active_processes};
/// let process = Process::builder().name("naps").spawn(|()| std::thread::park(), ())?;
/// let active = active_processes();
/// assert!(active.iter().any(|active| active.pid == process.pid() && active.name == "naps"));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActiveProcess {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

static ALL: PerProcess<Mutex<Vec<Weak<ProcessRecord>>>> = PerProcess::new(Mutex::default);

/// Adds a process that was started.
pub(super) fn enter(record: &Arc<ProcessRecord>) {
    let mut all = ALL.get().lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|other| other.strong_count() > 0);
    all.push(Arc::downgrade(record));
}

/// The running one-off processes of this program, including detached ones, in the order in which
/// they were spawned. Workers of pools are not included.
///
/// # Examples
///
/// ```
/// use brigade::{Process, active_processes};
/// let process = Process::builder().name("waits").spawn(|()| std::thread::park(), ())?;
/// assert_eq!(active_processes()[0].name, "waits");
/// drop(process);
/// assert!(active_processes().is_empty());
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use]
pub fn active_processes() -> Vec<ActiveProcess> {
    // Dropping a record may end the fork server, which must not happen under the lock.
    let records: Vec<Arc<ProcessRecord>> = {
        let all = ALL.get().lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    let alive = records.iter().filter(|record| record.is_alive());
    alive
        .filter_map(|record| Some(ActiveProcess { pid: record.pid()?, name: record.name.clone() }))
        .collect()
}
