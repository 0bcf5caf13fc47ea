//! Priority, processors and limits of a process.
#![allow(unsafe_code)]

use serde::{Deserialize, Serialize};

use nix::sched::CpuSet;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::{Error, Result};
use crate::sys::{procfs, thread};

/// Sets the niceness of the calling process, -20 to 19.
pub(crate) fn set_nice(nice: i32) -> Result<()> {
    rustix::process::setpriority_process(None, nice)
        .map_err(|e| Error::os("setpriority", format!("niceness {nice}"), e))
}

/// The scheduling priority of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Priority {
    nice: i32,
    /// Number of the scheduling policy.
    policy: i32,
    /// Priority within a real-time policy.
    level: i32,
}

/// The priority of this process's first thread, as its child would inherit it.
pub(crate) fn priority_of_process() -> Option<Priority> {
    let own = nix::unistd::getpid().as_raw();
    let nice = rustix::process::getpriority_process(rustix::process::Pid::from_raw(own)).ok()?;
    // SAFETY: passes no pointer.
    let policy = unsafe { libc::sched_getscheduler(own) };
    let mut level = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a live local.
    let got = unsafe { libc::sched_getparam(own, &raw mut level) };
    let inherits = policy & libc::SCHED_RESET_ON_FORK == 0;
    if policy < 0 || got < 0 || policy == libc::SCHED_DEADLINE || !inherits {
        return Some(Priority { nice: nice.max(0), policy: libc::SCHED_OTHER, level: 0 });
    }
    Some(Priority { nice, policy, level: level.sched_priority })
}

/// Sets the priority of the calling process, as far as it has the rights.
pub(crate) fn set_priority(priority: Priority) {
    if priority_of_process() == Some(priority) {
        return;
    }
    let level = libc::sched_param { sched_priority: priority.level };
    // SAFETY: the pointer is to a live local.
    unsafe { libc::sched_setscheduler(0, priority.policy, &raw const level) };
    let _ = set_nice(priority.nice);
}

/// A limit of a process: its place in [`LIMITS`], the soft one, the hard one.
pub(crate) type ResourceLimit = (usize, u64, u64);

/// Without `RLIMIT_AS`: a worker maps the arena twice, its host once.
const LIMITS: [Resource; 15] = [
    Resource::RLIMIT_CORE,
    Resource::RLIMIT_CPU,
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_LOCKS,
    Resource::RLIMIT_MEMLOCK,
    Resource::RLIMIT_MSGQUEUE,
    Resource::RLIMIT_NICE,
    Resource::RLIMIT_NOFILE,
    Resource::RLIMIT_NPROC,
    Resource::RLIMIT_RSS,
    Resource::RLIMIT_RTPRIO,
    Resource::RLIMIT_RTTIME,
    Resource::RLIMIT_SIGPENDING,
    Resource::RLIMIT_STACK,
];

/// The resource limits of this process.
pub(crate) fn limits() -> Vec<ResourceLimit> {
    let limit = |(at, &resource): (usize, &Resource)| {
        getrlimit(resource).ok().map(|(soft, hard)| (at, soft, hard))
    };
    LIMITS.iter().enumerate().filter_map(limit).collect()
}

/// Sets limits of the calling process, as far as it has the rights: a hard one is only lowered.
pub(crate) fn set_limits(limits: &[ResourceLimit]) {
    for &(at, soft, hard) in limits {
        let Some(&resource) = LIMITS.get(at) else { continue };
        let Ok((own_soft, own_hard)) = getrlimit(resource) else { continue };
        if (own_soft, own_hard) != (soft, hard) && setrlimit(resource, soft, hard).is_err() {
            let _ = setrlimit(resource, soft.min(own_hard), hard.min(own_hard));
        }
    }
}

/// Restricts the calling thread, and its later children, to these processors.
pub(crate) fn set_affinity(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    let os = |e: nix::errno::Errno| Error::os("sched_setaffinity", format!("{cpus:?}"), e);
    for &cpu in cpus {
        set.set(cpu).map_err(os)?;
    }
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).map_err(os)
}

/// Checks whether a child of this process may have that niceness and those processors: sets both on
/// a thread that ends at once.
///
/// # Errors
///
/// The system's error for the first one that it refuses.
pub(crate) fn probe_scheduling(nice: Option<i32>, cpus: Option<&[usize]>) -> Result<()> {
    if nice.is_none() && cpus.is_none() {
        return Ok(());
    }
    let cpus = cpus.map(<[usize]>::to_vec);
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = thread::start("brigade-try", TRY_STACK_BYTES, move || {
        // On Linux both are attributes of the calling thread.
        let outcome = nice.map_or(Ok(()), set_nice);
        let outcome = outcome.and_then(|()| cpus.map_or(Ok(()), |cpus| set_affinity(&cpus)));
        // Received below.
        let _ = sender.send(outcome);
    });
    // If no thread can be started, nothing is checked.
    let Ok(thread) = thread else { return Ok(()) };
    let outcome = receiver.recv().unwrap_or(Ok(()));
    thread.join();
    outcome
}

const TRY_STACK_BYTES: usize = 128 << 10;

/// The processors that the calling thread may run on, in order.
pub(crate) fn affinity() -> Result<Vec<usize>> {
    affinity_of(nix::unistd::Pid::from_raw(0))
}

/// The processors that this process's first thread may run on, in order.
pub(crate) fn affinity_of_process() -> Result<Vec<usize>> {
    affinity_of(nix::unistd::getpid())
}

fn affinity_of(thread: nix::unistd::Pid) -> Result<Vec<usize>> {
    let set = nix::sched::sched_getaffinity(thread)
        .map_err(|e| Error::os("sched_getaffinity", "this process", e))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

/// The processor that runs the calling thread now; it may change at any time.
pub(crate) fn processor() -> Option<usize> {
    nix::sched::sched_getcpu().ok()
}

/// Moves the calling thread to one of the processors that it may run on. Its affinity is unchanged,
/// so the kernel may move it away at once.
pub(crate) fn move_to(cpu: usize) -> Result<()> {
    let os = |call, e: nix::errno::Errno| Error::os(call, format!("processor {cpu}"), e);
    let this_thread = nix::unistd::Pid::from_raw(0);
    let allowed =
        nix::sched::sched_getaffinity(this_thread).map_err(|e| os("sched_getaffinity", e))?;
    set_affinity(&[cpu])?;
    // Fails if the processors were taken away meanwhile; then the kernel has chosen others.
    nix::sched::sched_setaffinity(this_thread, &allowed).map_err(|e| os("sched_setaffinity", e))
}

/// Limits the private writable memory of the calling process, in bytes.
pub(crate) fn set_data_bytes_max(bytes: u64) -> Result<()> {
    let os = |call, e: nix::errno::Errno| Error::os(call, format!("RLIMIT_DATA {bytes}"), e);
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA).map_err(|e| os("getrlimit", e))?;
    let bytes = bytes.min(hard);
    setrlimit(Resource::RLIMIT_DATA, bytes, bytes).map_err(|e| os("setrlimit", e))
}

/// Resident private memory of the calling process, in bytes, without shared memory.
pub(crate) fn resident_private_bytes() -> Result<u64> {
    const STATUS: &str = "/proc/thread-self/status";
    let text = procfs::text(STATUS).map_err(|e| Error::os("read", STATUS, e))?;
    procfs::resident_anonymous_bytes(&text).ok_or_else(|| Error::Layout {
        place: STATUS.into(),
        found: "no RssAnon".into(),
        expected: "a line RssAnon: N kB".into(),
    })
}
