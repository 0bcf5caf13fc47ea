//! How a one-off process is configured and started.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::codec;
use crate::error::{Error, Result, TaskError};
use crate::object::transfer::{self, LeaseList};
use crate::process::captured_stderr::CapturedStderr;
use crate::process::fork_server::{ForkServer, SpawnAttributes, SpawnRequest};
use crate::process::function::FunctionOffset;
use crate::process::host_snapshot::{HostSnapshot, ProcessAttributes};
use crate::process::supervisor::Supervisor;
use crate::region::arena::{Arena, Contents};
use crate::spawn::child::{self, Charter};
use crate::spawn::errand::{self, Trampoline};
use crate::spawn::record::{Parts, Record};
use crate::spawn::result_block::HostResultBlock;
use crate::spawn::{Process, listing};
use crate::sys::oom;
use crate::sys::socket::Socket;

/// Configures a [`Process`]; made by [`Process::builder`].
///
/// # Examples
///
/// ```
/// use brigade::Process;
/// let home = Process::builder()
///     .name("asks")
///     .env("HOME", "/nowhere")
///     .spawn(|()| std::env::var("HOME").unwrap(), ())?;
/// assert_eq!(home.name(), "asks");
/// assert_eq!(home.join()?, "/nowhere");
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `spawn`"]
pub struct ProcessBuilder {
    name: Option<String>,
    env: BTreeMap<String, String>,
    nice: Option<i32>,
    affinity: Option<Vec<usize>>,
    memory_hard_bytes: Option<u64>,
    grace: Duration,
    captures_stderr: bool,
    inherits_stdin: bool,
}

impl Default for ProcessBuilder {
    fn default() -> ProcessBuilder {
        ProcessBuilder {
            name: None,
            env: BTreeMap::new(),
            nice: None,
            affinity: None,
            memory_hard_bytes: None,
            grace: Duration::from_secs(5),
            captures_stderr: false,
            inherits_stdin: false,
        }
    }
}

impl ProcessBuilder {
    /// What `ps` and `/proc/PID/comm` show of it, of which 15 bytes are kept there. Default:
    /// `process-N`, counted from 1.
    pub fn name(mut self, name: impl Into<String>) -> ProcessBuilder {
        self.name = Some(name.into());
        self
    }

    /// Sets an environment variable in it. Default: it has this program's environment as it is
    /// now, with `OMP_NUM_THREADS` and its kin at 1.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> ProcessBuilder {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Its niceness, -20 to 19. Default: this program's.
    pub fn nice(mut self, nice: i32) -> ProcessBuilder {
        self.nice = Some(nice);
        self
    }

    /// The processors that it may run on, at least one, by number. Default: this program's.
    pub fn affinity(mut self, cpus: impl IntoIterator<Item = usize>) -> ProcessBuilder {
        self.affinity = Some(cpus.into_iter().collect());
        self
    }

    /// Lets it have no more than this many bytes of writable memory of its own (`RLIMIT_DATA`): an
    /// allocation beyond fails, which usually aborts it. Shared arrays do not count. Default: no
    /// limit.
    pub fn memory_hard_bytes(mut self, bytes: u64) -> ProcessBuilder {
        self.memory_hard_bytes = Some(bytes);
        self
    }

    /// How long dropping the [`Process`] waits after SIGTERM before it sends SIGKILL; zero sends
    /// that at once. Default: 5 s.
    pub fn grace(mut self, grace: Duration) -> ProcessBuilder {
        self.grace = grace;
        self
    }

    /// Sends its standard error through a pipe. The last 8 KiB are kept, for
    /// [`Process::stderr_tail`] and for the error if it dies. The process never waits for long for
    /// room in the pipe. Default: it has this program's standard error.
    pub fn capture_stderr(mut self) -> ProcessBuilder {
        self.captures_stderr = true;
        self
    }

    /// Gives it this program's standard input. What it reads, this program does not get to read.
    /// Default: `/dev/null`.
    pub fn inherit_stdin(mut self) -> ProcessBuilder {
        self.inherits_stdin = true;
        self
    }

    /// Runs `function(argument)` in a process of its own. Returns when the process exists.
    ///
    /// The function is an item or a closure that captures nothing: what it needs is its argument.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a setting outside its range; [`TaskError::Codec`] if the
    /// argument cannot be encoded; [`Error::Spawn`], [`Error::MultiThreaded`], [`Error::NoSpace`]
    /// or [`Error::Os`] if there can be no process, none of which has begun then.
    /// [`Error::TooDeep`] in a process of a process of a process of a process.
    /// [`TaskError::Died`] if the fork server was killed at that moment and the process, which had
    /// begun, with it.
    pub fn spawn<F, A, R>(self, function: F, argument: A) -> Result<Process<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        // Only its type matters: a function item or a closure that captures nothing.
        let _ = function;
        let task = std::any::type_name::<F>();
        let encode = |out: &mut Vec<u8>| codec::encode_onto(out, &argument);
        let process = self.start(errand::call::<F, A, R>, task, encode)?;
        // Not on the way out: a panic of its `Drop` would leak what is being returned.
        drop(argument);
        Ok(process)
    }

    /// As [`spawn`](ProcessBuilder::spawn), for a function that is known only at run time.
    ///
    /// # Errors
    ///
    /// As `spawn`, and [`Error::InvalidArgument`] for a function that is not part of the program's
    /// executable.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let function: fn(f64) -> f64 = if cfg!(debug_assertions) { f64::sqrt } else { f64::abs };
    /// assert!(Process::builder().spawn_fn(function, 4.0)?.join()? > 1.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn spawn_fn<A, R>(self, function: fn(A) -> R, argument: A) -> Result<Process<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let word = FunctionOffset::of(function as *const ())?.to_word();
        let task = std::any::type_name::<fn(A) -> R>();
        let encode = |out: &mut Vec<u8>| codec::encode_onto(out, &(word, &argument));
        let process = self.start(errand::call_pointer::<A, R>, task, encode)?;
        // As in `spawn`.
        drop(argument);
        Ok(process)
    }

    fn start<R>(
        mut self,
        trampoline: Trampoline,
        task: &'static str,
        encode: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), String>,
    ) -> Result<Process<R>> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        self.check()?;
        // Relaxed: only distinctness matters.
        let count = || COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        let name = self.name.take().unwrap_or_else(|| format!("process-{}", count()));
        let mut argument = Vec::new();
        let encoded = transfer::encode(|| encode(&mut argument));
        let ((), mut leases) = encoded.map_err(|reason| {
            Error::Task(TaskError::Codec { what: "argument", action: "encoded", reason })
        })?;
        let function = FunctionOffset::of(trampoline as *const ())?.to_word();
        oom::note();
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(&name, task, function, &argument, leases)? {
                Attempt::Runs(record) => {
                    listing::enter(&record);
                    return Ok(Process::new(record, self.grace));
                }
                Attempt::HasNotBegun(back) => leases = back,
            }
        }
        let reason = format!("{ATTEMPTS_MAX} fork servers in a row ended before they could");
        Err(Error::Spawn { what: "the process", reason })
    }

    fn check(&self) -> Result<()> {
        if let Some(name) = self.name.as_ref().filter(|name| name.is_empty()) {
            return Err(Error::invalid("the process's name", format!("{name:?}"), "not empty"));
        }
        if let Some(nice) = self.nice.filter(|nice| !(-20..=19).contains(nice)) {
            return Err(Error::invalid("the niceness", nice, "-20 to 19"));
        }
        if self.affinity.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid("the affinity", "no processor", "at least one"));
        }
        let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        let is_bad = |(name, value): &(&String, &String)| !is_name(name) || value.contains('\0');
        if let Some((name, _)) = self.env.iter().find(is_bad) {
            let expected = "a name without '=' and a value, both without zero bytes";
            return Err(Error::invalid("an environment variable", name.escape_debug(), expected));
        }
        Ok(())
    }

    /// The encoded charter of a process.
    fn charter(
        &self,
        result_block: u64,
        function: u64,
        leases: usize,
        settings: &ProcessAttributes,
    ) -> Result<Vec<u8>> {
        let mut snapshot = settings.clone();
        snapshot.priority = snapshot.priority.filter(|_| self.nice.is_none());
        snapshot.cpus = snapshot.cpus.filter(|_| self.affinity.is_none());
        let charter = Charter {
            snapshot,
            result_block,
            function,
            leases,
            env: self.env.clone(),
            nice: self.nice,
            affinity: self.affinity.clone(),
            memory_hard_bytes: self.memory_hard_bytes,
        };
        let mut bytes = Vec::new();
        codec::encode_onto(&mut bytes, &charter).map_err(|reason| {
            Error::invalid("the process's settings", reason, "values that can be encoded")
        })?;
        Ok(bytes)
    }

    /// Asks the fork server for the process, and waits until it is known what became of that.
    fn attempt(
        &self,
        name: &str,
        task: &'static str,
        function: u64,
        argument: &[u8],
        leases: LeaseList,
    ) -> Result<Attempt> {
        let (arena, supervisor) = (Arena::host()?, Supervisor::current()?);
        let server = ForkServer::current()?;
        let result_block = HostResultBlock::new(&arena)?;
        let snapshot = HostSnapshot::of_host(self.inherits_stdin)?;
        let settings = &snapshot.settings;
        let mut bytes = self.charter(result_block.offset(), function, leases.len(), settings)?;
        let charter_len = bytes.len();
        for lease in &*leases {
            bytes.extend_from_slice(bytemuck::bytes_of(&lease.wire()));
        }
        bytes.extend_from_slice(argument);
        let order_span = arena.reserve(bytes.len(), Contents::Stale)?;
        order_span.store(&bytes);
        let (arena_words, at) = ((arena.id(), arena.size_bytes()), order_span.offset());
        let words = child::words(at, charter_len, bytes.len() - charter_len, arena_words);
        let stderr = self.captures_stderr.then(|| CapturedStderr::start(&supervisor));
        let (tail, stderr) = stderr.transpose()?.unzip();
        let socket = Socket::pair().map_err(|e| Error::os("socketpair", "a process's socket", e));
        let (ours, theirs) = socket.inspect_err(|_| stop(tail.as_ref()))?;
        let attributes = snapshot.of_process();
        let order = SpawnRequest {
            entry: &child::ENTRY,
            words,
            fds: &[arena.fd(), theirs.as_fd()],
            name,
            attributes: SpawnAttributes {
                stderr: stderr.as_ref().map(AsFd::as_fd).or(attributes.stderr),
                ..attributes
            },
        };
        let parts = Parts {
            name: name.to_owned(),
            task,
            arena: Arc::clone(&arena),
            supervisor,
            result_block,
            tail,
            order: order_span,
            leases,
        };
        let record = Record::new(parts);
        let watcher = Arc::clone(&record);
        let asked = record.listen(ours, Arc::clone(&server)).and_then(|()| {
            server.spawn(&order, Box::new(move |event| watcher.on_child_event(event)))
        });
        // The child has them now, or nobody.
        drop((theirs, stderr));
        match asked {
            Ok(()) => settle(&record),
            Err(error) => {
                record.stop_tail();
                record.forget_socket();
                // A server that has ended in between takes no orders: another will.
                match server.is_alive() {
                    true => Err(error),
                    false => Ok(Attempt::HasNotBegun(record.reclaim())),
                }
            }
        }
    }
}

/// What became of an order.
enum Attempt {
    Runs(Arc<Record>),
    /// There is no process, and there was none that had looked at its argument.
    HasNotBegun(LeaseList),
}

/// Waits for the fork server's word about an order that it has accepted.
fn settle(record: &Arc<Record>) -> Result<Attempt> {
    let Err(error) = record.wait_started() else { return Ok(Attempt::Runs(Arc::clone(record))) };
    record.stop_tail();
    if error.kind() != io::ErrorKind::BrokenPipe {
        record.forget_socket();
        return Err(Error::os("fork", format!("the process {}", record.name), error));
    }
    // The server was killed before it could answer: a process that it has forked all the same gets
    // no permit to begin.
    record.forget_socket();
    Ok(Attempt::HasNotBegun(record.reclaim()))
}

fn stop(tail: Option<&Arc<CapturedStderr>>) {
    if let Some(tail) = tail {
        tail.stop();
    }
}

/// Servers that may be killed over one order.
const ATTEMPTS_MAX: u32 = 3;
