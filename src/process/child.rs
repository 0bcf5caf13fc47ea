//! How a forked child begins, and how it leaves.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Error, Result};
use crate::exit::ExitReason;
use crate::process::message::{CHILD_WORDS, ChildSetup};
use crate::sys::elf_image::ElfImage;
#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
use crate::sys::fork::Instance;
use crate::sys::process;
use crate::sys::signal;
use crate::sys::socket::{Received, Socket};

/// What a child gets from the host: the argument of its entry function.
#[derive(Debug)]
pub(crate) struct Child {
    /// The descriptors that the host sent for it, in its order.
    pub(crate) fds: Vec<OwnedFd>,
    /// The words that the host sent for it.
    pub(crate) words: [u64; CHILD_WORDS - 1],
    pub(super) setup: ChildSetup,
}

static DEPTH: AtomicU8 = AtomicU8::new(0);

/// The nesting depth of this process: 0 in a program that was started as usual, 1 in a worker of
/// its pools, 2 in a worker of a pool in that.
pub(crate) fn depth() -> u8 {
    // Relaxed: set before any other code runs in a child.
    DEPTH.load(Ordering::Relaxed)
}

/// At this depth no further processes are started.
pub(crate) const DEPTH_MAX: u8 = 4;

/// The same, including processes of other programs and of other versions of the crate: a task may
/// start a program that has pools, and a program may contain two versions of this crate.
pub(super) fn total_depth() -> u8 {
    depth().max(process::servers_above())
}

/// A function that a child may run. If it returns, the child exits with code 0.
///
/// The fork server gets the address of a static of this type, and runs no other function.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct EntryPoint {
    mark: [usize; 2],
    run: fn(Child),
}

/// The first words of an [`EntryPoint`] of this version of the crate, and of nothing else.
const MARK: [usize; 2] = [0x8f1d_63c2_5ba7_049e, version_hash()];

/// FNV-1a.
const fn version_hash() -> usize {
    let (text, mut hash, mut index) = (env!("CARGO_PKG_VERSION").as_bytes(), BASIS, 0);
    while index < text.len() {
        hash = (hash ^ text[index] as usize).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
}

const BASIS: usize = 0xcbf2_9ce4_8422_2325;

impl EntryPoint {
    /// Registers `run`, if this is the value of a static.
    pub(crate) const fn new(run: fn(Child)) -> EntryPoint {
        EntryPoint { mark: MARK, run }
    }

    /// The address of this value, as a word for another process of this executable.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if that is outside the main executable.
    pub(super) fn to_word(&'static self) -> Result<u64> {
        let (image, address) = (ElfImage::main(), std::ptr::from_ref(self) as usize);
        match image.words::<WORDS>(address) {
            Some(_) => Ok((address.wrapping_sub(image.base)) as u64),
            None => Err(Error::invalid(
                "the entry of a process",
                format_args!("at {address:#x}, outside the program"),
                "a static of the executable",
            )),
        }
    }

    /// Finds the function of the entry whose address a host sent as `word`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if there is none.
    #[allow(unsafe_code)]
    pub(super) fn find(word: u64) -> Result<fn(Child)> {
        let image = ElfImage::main();
        let address = usize::try_from(word).map(|offset| image.base.wrapping_add(offset));
        match address.ok().and_then(|address| image.words::<WORDS>(address)) {
            Some([first, second, run]) if [first, second] == MARK && image.contains(run) => {
                // SAFETY: only `EntryPoint::new` writes the mark, before a function of this type;
                // the loader has relocated it, since it lies in the program's code.
                Ok(unsafe { std::mem::transmute::<*const (), fn(Child)>(run as *const ()) })
            }
            _ => {
                Err(Error::Corrupt { what: "the entry of a process", found: format!("{word:#x}") })
            }
        }
    }
}

/// Words of an [`EntryPoint`].
const WORDS: usize = size_of::<EntryPoint>() / size_of::<usize>();

/// The crash message for a child that ended during its work without recording one. The fault
/// handler always records one, unless it has no stack to run on.
pub(crate) fn default_crash_message(reason: ExitReason) -> Option<String> {
    const SEGV: i32 = 11;
    let text = "none, possibly a stack overflow on a thread that it had started";
    (reason == ExitReason::Signal(SEGV)).then(|| text.to_owned())
}

/// Exit code of a child that could not set itself up.
pub(crate) const EXIT_SETUP: i32 = 125;

/// The message for a child that ended before it was ready.
pub(crate) fn unready_message(reason: ExitReason) -> &'static str {
    match reason {
        ExitReason::Code(EXIT_SETUP) => "the reason is on its standard error",
        _ => "it left no message",
    }
}

/// Makes a freshly forked process a proper child and runs `entry` in it.
///
/// The order matters: first the parent-death signal, then the check whether the parent died before
/// it was set. Signals are unblocked last, after their dispositions are set.
pub(super) fn run(entry: fn(Child), mut child: Child, name: &str, server_pid: u32) -> ! {
    if let Err(error) = set_up(&mut child, name, server_pid) {
        end_unready(&error);
    }
    entry(child);
    process::exit_now(0)
}

fn set_up(child: &mut Child, name: &str, server_pid: u32) -> std::io::Result<()> {
    DEPTH.store(child.setup.depth.max(1), Ordering::Relaxed);
    #[cfg(feature = "failpoints")]
    failpoint::hit(Point::ChildStart);
    process::die_with_parent()?;
    if process::parent_pid() != server_pid {
        process::exit_now(EXIT_SETUP);
    }
    if child.setup.has_stderr
        && let Some(error) = child.fds.pop()
    {
        process::replace_stderr(error)?;
    }
    if child.setup.has_stdout
        && let Some(output) = child.fds.pop()
    {
        process::replace_stdout(output)?;
    }
    if child.setup.has_stdin
        && let Some(input) = child.fds.pop()
    {
        process::replace_stdin(input)?;
    }
    if child.setup.has_directory
        && let Some(directory) = child.fds.pop()
    {
        process::change_directory(directory.as_fd())?;
    }
    // Processes that a task leaves behind are adopted here, so they end with this process, and not
    // with another.
    process::become_subreaper()?;
    let mut keep: Vec<i32> = child.fds.iter().map(AsRawFd::as_raw_fd).collect();
    keep.sort_unstable();
    process::close_all_but(3, &keep)?;
    // Faulty code that closes foreign descriptors closes numbers from 3 up, and files that it opens
    // get the lowest numbers. A descriptor of the crate that it closed must not be confused with
    // one of these.
    for fd in &mut child.fds {
        *fd = process::with_high_number(fd)?;
    }
    signal::apply(child.setup.dispositions)?;
    process::set_name(name)?;
    signal::unblock_all()
}

/// Ends this process, which could not set itself up. It may lack memory for a report, or cannot
/// reach its report's memory, so the reason goes to its standard error.
pub(crate) fn end_unready(error: &dyn std::fmt::Display) -> ! {
    // Not `eprintln`, which panics if standard error is closed.
    let _ = writeln!(
        std::io::stderr(),
        "brigade: process {} could not set itself up: {error}",
        process::pid()
    );
    process::exit_now(EXIT_SETUP)
}

/// The message that the host sends to a child after it has received the child's pidfd.
pub(crate) const PERMIT: [u8; 1] = [1];

/// Waits until the host has a pidfd of this process; ends it if the permit never comes.
///
/// A child calls it before it writes to memory that it shares with the host. If the fork server
/// died before it reported the child to the host, the child never writes. For every other child
/// the host has a pidfd, so that its end is certain whatever its task does.
pub(crate) fn await_permit(socket: &Socket) {
    match socket.receive(&mut [0; PERMIT.len()]) {
        Ok(Received::Message(..)) => {}
        Ok(Received::WouldBlock | Received::Closed) | Err(_) => process::exit_now(EXIT_SETUP),
    }
}

/// Ends this process if the running function forked it: a forked child that has returned from the
/// function has no valid memory to continue with. Its parent, `made_in`, reports the task.
pub(crate) fn end_if_forked(made_in: Instance) {
    if made_in.is_current() {
        return;
    }
    eprintln!(
        "brigade: process {} was forked by a task and has returned from it; it ends here: \
         leave such a child by exec or exit",
        process::pid()
    );
    process::exit_now(EXIT_SETUP)
}
