//! Steps a process instruction by instruction, and kills it.
//!
//! The process calls [`mark`] before and after the section under test. Its tracer steps it k
//! instructions into the section and kills it. Then the test sweeps, if it has to, and checks the
//! remaining state. [`for_each_kill_point`] does that for many k. Rust executables are linked
//! without lazy binding, so a section contains the crate's code, libc's and the kernel's, but not
//! the dynamic loader.

use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::common::alone::progress;
use crate::common::processes::send;
use crate::common::time::wait_for;

/// Marks the ends of a section: a process that is not traced ignores this signal.
const MARK: Signal = Signal::SIGURG;

/// A section with more instructions than this is assumed not to end.
const INSTRUCTIONS_MAX: usize = 1_000_000;

/// The points of a section that are tried, unless all are.
const POINTS: usize = 80;

/// The approximate number of instructions that are stepped for them: very long sections have fewer
/// points.
const STEPS: usize = 400_000;

/// Marks the begin or the end of a section, in the traced process.
pub(crate) fn mark() {
    raise(MARK).unwrap();
}

/// Waits until this process is traced by [`Tracer::seize`].
pub(crate) fn wait_until_traced() {
    wait_for(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        !status.contains("TracerPid:\t0")
    });
}

/// A traced process.
pub(crate) struct Tracer(Pid);

impl Tracer {
    /// Whether this process may trace the process `pid`.
    pub(crate) fn may_seize(pid: u32) -> bool {
        let pid = Pid::from_raw(pid.cast_signed());
        ptrace::seize(pid, ptrace::Options::empty()).is_ok_and(|()| {
            ptrace::interrupt(pid).unwrap();
            waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
            ptrace::detach(pid, None).unwrap();
            true
        })
    }

    /// Traces a process that [waits](wait_until_traced) for this, up to its first mark.
    pub(crate) fn seize(pid: u32) -> Tracer {
        let pid = Pid::from_raw(pid.cast_signed());
        ptrace::seize(pid, ptrace::Options::empty()).unwrap();
        Tracer::at_mark(pid)
    }

    /// Traces a child that has called `PTRACE_TRACEME`, up to its first mark.
    pub(crate) fn at_mark(pid: Pid) -> Tracer {
        let tracer = Tracer(pid);
        assert_eq!(tracer.wait(), WaitStatus::Stopped(pid, MARK), "before the section");
        tracer
    }

    fn wait(&self) -> WaitStatus {
        waitpid(self.0, Some(WaitPidFlag::__WALL)).unwrap()
    }

    /// Runs one instruction. False if the process has reached its next mark instead.
    fn step(&self) -> bool {
        ptrace::step(self.0, None).unwrap();
        match self.wait() {
            WaitStatus::Stopped(_, MARK) => false,
            // After the instruction, or because another process has sent a signal.
            WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => true,
            other => panic!("the victim is {other:?}"),
        }
    }
}

/// Kills the process and waits for its end.
impl Drop for Tracer {
    fn drop(&mut self) {
        send(self.0.as_raw().cast_unsigned(), Signal::SIGKILL);
        // A stop may be reported before the end.
        while !matches!(self.wait(), WaitStatus::Signaled(_, Signal::SIGKILL, _)) {}
    }
}

/// The point of its section at which a victim is killed.
pub(crate) struct KillPoint {
    /// After this many instructions.
    instructions: usize,
    /// The number of instructions, if the section ended before that.
    length: Option<usize>,
}

impl KillPoint {
    fn after(instructions: usize) -> KillPoint {
        progress();
        KillPoint { instructions, length: None }
    }

    /// Runs the victim to this point, and kills it.
    pub(crate) fn kill(&mut self, victim: Tracer) {
        let made = (0..self.instructions).take_while(|_| victim.step()).count();
        if made < self.instructions {
            self.length = Some(made);
        }
        drop(victim);
    }
}

/// Calls `scene` for points all over a section. The scene sets up a stage, starts a victim, kills
/// it at the point, and checks the remaining state. The first point is the end of the section. The
/// others are counted from its beginning: every instruction if `BRIGADE_LONG` is set, otherwise
/// [`POINTS`] of them, evenly spread, because the effort grows with the square of their number.
pub(crate) fn for_each_kill_point(mut scene: impl FnMut(&mut KillPoint)) {
    let mut end = KillPoint::after(INSTRUCTIONS_MAX);
    scene(&mut end);
    let length = end.length.expect("the section ends");
    assert!(length > 10, "a section of {length} instructions is none");
    let is_long = std::env::var_os("BRIGADE_LONG").is_some();
    let points = (2 * STEPS / length).clamp(16, POINTS);
    let stride = if is_long { 1 } else { length.div_ceil(points) };
    for instructions in (0..length).step_by(stride) {
        scene(&mut KillPoint::after(instructions));
    }
}

/// Calls `scene` for k = 0, 2, 4, ... until it returns true, or the section ends: then false.
pub(crate) fn some_kill_point(mut scene: impl FnMut(&mut KillPoint) -> bool) -> bool {
    for instructions in (0..INSTRUCTIONS_MAX).step_by(2) {
        let mut point = KillPoint::after(instructions);
        let is_found = scene(&mut point);
        if is_found || point.length.is_some() {
            return is_found;
        }
    }
    panic!("the section does not end");
}
