//! Signal masks, dispositions, and the handler that names a fatal fault.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

pub(crate) use nix::sys::signal::Signal;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow};

/// Blocks every signal for the calling thread.
pub(crate) fn block_all() -> io::Result<()> {
    Ok(nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?)
}

/// Unblocks every signal for the calling thread.
pub(crate) fn unblock_all() -> io::Result<()> {
    Ok(nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
}

/// Ignores `signals`, in this process and in those it forks.
pub(crate) fn ignore(signals: &[Signal]) -> io::Result<()> {
    set(signals, SigHandler::SigIgn)
}

/// Gives `signals` their default effect.
pub(crate) fn default(signals: &[Signal]) -> io::Result<()> {
    set(signals, SigHandler::SigDfl)
}

fn set(signals: &[Signal], handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    for &signal in signals {
        // SAFETY: ignoring and default are no handlers, so no code runs.
        unsafe { nix::sys::signal::sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Signals that a terminal or a session manager sends to a whole process group.
pub(crate) const GROUP: [Signal; 4] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// A set of signals: bit N - 1 stands for signal N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Signals(pub(crate) u64);

impl Signals {
    pub(crate) fn has(self, number: i32) -> bool {
        (1..=64).contains(&number) && self.0 >> (number - 1) & 1 == 1
    }

    pub(crate) fn add(&mut self, number: i32) {
        self.0 |= 1 << (number - 1);
    }

    pub(crate) fn remove(&mut self, number: i32) {
        self.0 &= !(1 << (number - 1));
    }

    fn numbers(self) -> impl Iterator<Item = i32> {
        (1..=64).filter(move |&number| self.has(number))
    }
}

/// Signal dispositions that a child takes over from its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dispositions {
    /// Ignored, here and in the programs that this process executes.
    pub(crate) ignored: Signals,
    /// Without effect here; default in the programs that this process executes.
    pub(crate) held: Signals,
}

/// The signals that were ignored when this process was started.
static IGNORED_AT_START: AtomicU64 = AtomicU64::new(0);

/// Records the signals that are ignored at the start; called before `main`.
pub(crate) fn record_ignored_at_start() {
    let mut ignored = Signals::default();
    for number in (1..=64).filter(|&number| handler_of(number) == Some(libc::SIG_IGN)) {
        ignored.add(number);
    }
    // A process that ignores it could not wait for the programs that a task starts.
    ignored.remove(libc::SIGCHLD);
    // Relaxed: an independent number, stored while there is one thread.
    IGNORED_AT_START.store(ignored.0, Ordering::Relaxed);
}

/// The dispositions for a child of this process. A signal that was ignored when this process was
/// started, and still is, stays ignored. Signals to the whole [`GROUP`] that this process ignores
/// or handles are held. SIGPIPE stays as it is here.
pub(crate) fn dispositions() -> Dispositions {
    // Relaxed: see above.
    let at_start = Signals(IGNORED_AT_START.load(Ordering::Relaxed));
    let mut found = Dispositions::default();
    for number in at_start.numbers().filter(|&n| handler_of(n) == Some(libc::SIG_IGN)) {
        found.ignored.add(number);
    }
    for number in GROUP.map(|signal| signal as i32) {
        let is_default = handler_of(number).is_none_or(|handler| handler == libc::SIG_DFL);
        if !is_default && !found.ignored.has(number) {
            found.held.add(number);
        }
    }
    // Code that does not expect to be ended by SIGPIPE must not be ended by it in a task.
    if handler_of(libc::SIGPIPE) != Some(libc::SIG_DFL) {
        found.ignored.add(libc::SIGPIPE);
    }
    found
}

/// The handler of a signal in this process; `None` if there is no such signal.
fn handler_of(number: i32) -> Option<libc::sighandler_t> {
    // SAFETY: a plain C struct, for which all-zero bytes are a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is changed, and the pointer is to a live local.
    let done = unsafe { libc::sigaction(number, ptr::null(), &raw mut action) };
    (done == 0).then_some(action.sa_sigaction)
}

/// Applies a parent's dispositions in a child that was forked from a process that ignores [`GROUP`]
/// and SIGPIPE. In the child, `ignored` counts as ignored since its start.
pub(crate) fn apply(dispositions: Dispositions) -> io::Result<()> {
    let Dispositions { ignored, held } = dispositions;
    // Relaxed: as above.
    IGNORED_AT_START.store(ignored.0, Ordering::Relaxed);
    for signal in GROUP.into_iter().chain([Signal::SIGPIPE]) {
        if !ignored.has(signal as i32) && !held.has(signal as i32) {
            default(&[signal])?;
        }
    }
    for number in ignored.numbers() {
        // SAFETY: SIG_IGN is no handler, so no code runs.
        let old = unsafe { libc::signal(number, libc::SIG_IGN) };
        // The C library reserves some numbers.
        debug_assert!(old != libc::SIG_ERR || number > 31, "signal {number}");
    }
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | SaFlags::SA_RESTART;
    let action = SigAction::new(SigHandler::SigAction(hold), flags, SigSet::empty());
    for number in held.numbers() {
        let signal = Signal::try_from(number)?;
        // SAFETY: `hold` is async-signal-safe.
        unsafe { nix::sys::signal::sigaction(signal, &action) }?;
    }
    Ok(())
}

/// The handler of a held signal: without effect, unless it was sent to this process alone, as a
/// [`DirectedSignal`].
extern "C" fn hold(number: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid `siginfo_t`.
    let info = unsafe { &*info };
    let is_queued = info.si_code == libc::SI_QUEUE;
    // SAFETY: `si_value` is valid for a signal that was queued.
    if is_queued && unsafe { info.si_value() }.sival_ptr as usize == DIRECTED_MARK {
        // SAFETY: takes no pointer; async-signal-safe.
        unsafe { libc::signal(number, libc::SIG_DFL) };
        // SAFETY: as above. It is delivered when this handler returns.
        unsafe { libc::raise(number) };
    }
}

/// The value of a signal that is sent to one process and not to its group.
const DIRECTED_MARK: usize = 0x6272_6967;

/// A `siginfo_t` of a queued signal that is marked as sent to one process.
#[repr(C)]
pub(super) struct DirectedSignal {
    number: i32,
    errno: i32,
    code: i32,
    padding: i32,
    sender: i32,
    uid: u32,
    value: usize,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<DirectedSignal>() == size_of::<libc::siginfo_t>());

impl DirectedSignal {
    pub(super) fn new(number: i32) -> DirectedSignal {
        let (sender, uid) = (nix::unistd::getpid().as_raw(), nix::unistd::getuid().as_raw());
        let (code, value) = (libc::SI_QUEUE, DIRECTED_MARK);
        DirectedSignal { number, errno: 0, code, padding: 0, sender, uid, value, rest: [0; 12] }
    }
}

/// The kind of a fatal fault, for [`catch_faults`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The stack is exhausted.
    StackOverflow,
    /// A forbidden access to this mapped address.
    Protected(usize),
    /// An access to this address, where nothing is mapped.
    Unmapped(usize),
    /// An access to mapped memory that has no page, usually past the end of a file.
    NoPage,
    /// No fault: a process sent the signal; 0 if the process is unknown.
    Sent(u32),
}

/// The function that the handler calls. It is async-signal-safe: it uses only atomics and raw
/// memory.
static ON_FAULT: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
/// A fault within this many bytes of the stack pointer is an overflow: the compiler touches each
/// page of a frame in order, so the first forbidden page is near the pointer.
const OVERFLOW_REACH_BYTES: usize = 1 << 20;

const ALTERNATE_STACK_BYTES: usize = 64 << 10;

/// Memory that only the kernel uses, as the stack of a handler.
#[repr(align(64))]
struct AlternateStack(UnsafeCell<[u8; ALTERNATE_STACK_BYTES]>);

// SAFETY: no reference to the bytes is ever made; only their address is taken.
unsafe impl Sync for AlternateStack {}

/// For the one thread that catches faults. A static needs no memory before a fault, and no time
/// when a process starts: zeroing as much on the heap took a tenth of a worker's start.
static ALTERNATE_STACK: AlternateStack =
    AlternateStack(UnsafeCell::new([0; ALTERNATE_STACK_BYTES]));

/// Calls `on_fault` for a SIGSEGV or SIGBUS of this process before the signal ends it.
///
/// After the call an overflow of the stack ends the process by SIGABRT, as in Rust's own handler;
/// every other fault ends it by the fault's signal. The alternate stack serves one thread, so only
/// one thread of a process may call this.
pub(crate) fn catch_faults(on_fault: fn(Fault)) -> io::Result<()> {
    let description = libc::stack_t {
        ss_sp: ALTERNATE_STACK.0.get().cast(),
        ss_flags: 0,
        ss_size: ALTERNATE_STACK_BYTES,
    };
    // SAFETY: the memory is a static, large enough, and the stack of no other thread, by this
    // function's contract.
    let done = unsafe { libc::sigaltstack(&raw const description, ptr::null_mut()) };
    nix::errno::Errno::result(done)?;
    ON_FAULT.store(on_fault as *mut (), Ordering::Release);
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(handle_fault), flags, SigSet::empty());
    for signal in [Signal::SIGSEGV, Signal::SIGBUS] {
        // SAFETY: `handle_fault` is async-signal-safe.
        unsafe { nix::sys::signal::sigaction(signal, &action) }?;
    }
    Ok(())
}

/// The description of a fault. It needs only the stack, because signal handlers may not allocate.
pub(crate) struct FaultText {
    bytes: [u8; 80],
    len: usize,
}

impl FaultText {
    /// The text for `fault`; `is_input` returns whether an address is in a worker's inputs.
    pub(crate) fn new(fault: Fault, is_input: impl FnOnce(usize) -> bool) -> FaultText {
        let mut text = FaultText { bytes: [0; 80], len: 0 };
        match fault {
            Fault::StackOverflow => text.push(b"stack overflow"),
            Fault::Protected(address) if is_input(address) => {
                text.push(
                    b"wrote to an input, which is read-only in other processes than its host",
                );
            }
            Fault::Protected(_) => text.push(b"accessed protected memory"),
            Fault::Unmapped(_) => text.push(b"accessed memory that is not mapped"),
            Fault::NoPage => text.push(b"accessed memory that nothing is behind (a short file?)"),
            Fault::Sent(pid) => {
                text.push(b"made no fault: the signal was sent by process ");
                text.push_number(pid);
            }
        }
        text
    }

    /// The text.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, more: &[u8]) {
        for (to, from) in self.bytes[self.len..].iter_mut().zip(more) {
            *to = *from;
            self.len += 1;
        }
    }

    fn push_number(&mut self, number: u32) {
        if number >= 10 {
            self.push_number(number / 10);
        }
        let digit = u8::try_from(number % 10).unwrap_or(0);
        self.push(&[b'0' + digit]);
    }
}

extern "C" fn handle_fault(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid `siginfo_t`.
    let info = unsafe { &*info };
    let code = info.si_code;
    // SAFETY: `si_addr` is valid for SIGSEGV and SIGBUS, the only signals handled here.
    let address = unsafe { info.si_addr() } as usize;
    let overflowed = signal == libc::SIGSEGV
        && code > 0
        && address.abs_diff(stack_pointer(context)) <= OVERFLOW_REACH_BYTES;
    let fault = if code <= 0 {
        // SAFETY: `si_pid` is valid for a signal that a process has sent; for others it is an
        // arbitrary number.
        Fault::Sent(unsafe { info.si_pid() }.cast_unsigned())
    } else if overflowed {
        Fault::StackOverflow
    } else if code == SEGV_ACCERR && signal == libc::SIGSEGV {
        Fault::Protected(address)
    } else if signal == libc::SIGBUS {
        Fault::NoPage
    } else {
        Fault::Unmapped(address)
    };
    let on_fault = ON_FAULT.load(Ordering::Acquire);
    if !on_fault.is_null() {
        // SAFETY: only `catch_faults` stores here, and stores a `fn(Fault)`.
        let on_fault = unsafe { std::mem::transmute::<*mut (), fn(Fault)>(on_fault) };
        on_fault(fault);
    }
    if overflowed {
        // SAFETY: takes no pointer; async-signal-safe.
        unsafe { libc::signal(libc::SIGABRT, libc::SIG_DFL) };
        std::process::abort();
    }
    // SAFETY: as above. On return the faulting instruction runs again, with the default effect.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    if code <= 0 {
        // Sent by a process: no instruction will repeat the fault, so raise it again.
        // SAFETY: takes no pointer; async-signal-safe.
        unsafe { libc::raise(signal) };
    }
}

/// `si_code` of an access that the mapping's protection forbids.
const SEGV_ACCERR: libc::c_int = 2;

/// The stack pointer of the code that was interrupted.
fn stack_pointer(context: *mut libc::c_void) -> usize {
    let context = context.cast::<libc::ucontext_t>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel passes a valid `ucontext_t` to a handler with SA_SIGINFO.
    let pointer = unsafe { (*context).uc_mcontext.gregs[libc::REG_RSP as usize] }.cast_unsigned();
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the kernel passes a valid `ucontext_t` to a handler with SA_SIGINFO.
    let pointer = unsafe { (*context).uc_mcontext.sp };
    usize::try_from(pointer).unwrap_or(usize::MAX)
}
