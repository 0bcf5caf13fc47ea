//! Runs this program under mpirun, and checks what it leaves behind.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The variable that makes this program a rank of a case.
pub(crate) const CASE: &str = "BRIGADE_MPI_CASE";

/// A job that takes longer hangs.
const WATCHDOG: Duration = Duration::from_secs(60);

/// How long processes of a job that has ended may take to end.
const ENDING: Duration = Duration::from_secs(20);

thread_local! {
    static CURRENT: RefCell<(&'static str, BTreeSet<PathBuf>)> =
        const { RefCell::new(("", BTreeSet::new())) };
}

/// The launcher: `BRIGADE_MPIRUN`, for machines with several MPI libraries, or `mpirun`.
fn mpirun() -> String {
    std::env::var("BRIGADE_MPIRUN").unwrap_or_else(|_| "mpirun".to_owned())
}

/// Whether mpirun is Open MPI's; `None` if there is none.
pub(crate) fn launcher() -> Option<bool> {
    let output = Command::new(mpirun()).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).contains("Open MPI"))
}

/// Begins a test: notes the names in `/dev/shm`.
pub(crate) fn begin(test: &'static str) {
    CURRENT.set((test, names()));
}

fn names() -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The other processes that run this program.
fn processes() -> Vec<u32> {
    let own = std::env::current_exe().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_ours = |pid: &u32| {
        *pid != std::process::id()
            && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own)
    };
    pids.filter(is_ours).collect()
}

/// Fails if a process, or a name in `/dev/shm`, of this test's jobs is left.
pub(crate) fn expect_nothing_left() {
    let since = Instant::now();
    loop {
        let left = processes();
        let new: Vec<_> =
            CURRENT.with_borrow(|(_, before)| names().difference(before).cloned().collect());
        if left.is_empty() && new.is_empty() {
            return;
        }
        assert!(since.elapsed() < ENDING, "left: processes {left:?}, names {new:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Settings of a job that runs the case of the current test.
pub(crate) struct Job {
    command: Command,
}

/// A job that runs.
pub(crate) struct Running {
    child: Child,
    output: Option<[JoinHandle<String>; 2]>,
    since: Instant,
}

/// A job that has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Job {
    pub(crate) fn new(ranks: usize) -> Job {
        Job::of(&[(ranks, &std::env::current_exe().unwrap())])
    }

    /// Ranks of several executables.
    pub(crate) fn of(parts: &[(usize, &Path)]) -> Job {
        let mut command = Command::new(mpirun());
        if launcher() == Some(true) {
            command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]);
        }
        for (at, (ranks, program)) in parts.iter().enumerate() {
            if at > 0 {
                command.arg(":");
            }
            command.arg("-np").arg(ranks.to_string()).arg(program);
        }
        let case = CURRENT.with_borrow(|(test, _)| *test);
        command.env(CASE, case).env("SLURM_PROBE", "1").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Job { command }
    }

    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Job {
        self.command.env(name, value.to_string());
        self
    }

    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Job {
        self.command.args(arguments);
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let output = Some([collect(stdout), collect(stderr)]);
        Running { child, output, since: Instant::now() }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Ended {
        self.start().wait()
    }

    /// Runs it, and expects that every rank succeeds; returns what they print.
    pub(crate) fn succeed(self) -> String {
        let Ended { status, stdout, stderr } = self.run();
        assert!(status.success(), "{status}\n{stdout}\n{stderr}");
        stdout
    }
}

impl Running {
    /// The process id of mpirun.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for something that the job does; fails if the job ends without it, or hangs.
    pub(crate) fn wait_for(&mut self, condition: impl Fn() -> bool) {
        while !condition() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() || condition(), "the job has ended: {ended:?}");
            self.watch();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills a job that hangs, and fails.
    fn watch(&mut self) {
        if self.since.elapsed() > WATCHDOG {
            // SAFETY: a plain system call; the group is that of this job's mpirun.
            unsafe { libc::kill(-self.pid(), libc::SIGKILL) };
            let _ = self.child.wait();
            panic!("the job hangs");
        }
    }

    pub(crate) fn wait(mut self) -> Ended {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let readers = self.output.take().unwrap();
                // They end when no process has the pipes.
                while !readers.iter().all(JoinHandle::is_finished) {
                    let is_late = self.since.elapsed() > WATCHDOG;
                    assert!(!is_late, "the job left processes that hold its output: {status}");
                    std::thread::sleep(Duration::from_millis(2));
                }
                let [stdout, stderr] = readers.map(|thread| thread.join().unwrap());
                return Ended { status, stdout, stderr };
            }
            self.watch();
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Ended {
    /// Fails unless the job failed and it has written these words; Hydra writes
    /// to standard output.
    pub(crate) fn expect_failure(&self, words: &[&str]) {
        let Ended { status, stdout, stderr } = self;
        assert!(!status.success() || status.signal().is_some(), "it succeeded\n{stderr}");
        for word in words {
            assert!(stderr.contains(word) || stdout.contains(word), "no '{word}' in\n{stderr}");
        }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
