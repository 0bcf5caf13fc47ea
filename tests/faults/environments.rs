//! Hosts in unusual environments: traced, without a terminal, without /proc.
#![allow(unsafe_code)]

mod frozen;
mod limits;
mod pid_namespace;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::common::alone::{alone, alone_with, own_processes, workers};
use crate::common::processes;
use crate::common::tasks::{count, counted, forever, tally, with};
use crate::common::time::wait_for;
use crate::common::{skipped, unique};
use brigade::{Error, ExitReason, Pool, Process, SharedArray};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// Starts a thread before `main` if requested, as a library with a constructor may.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

const EARLY: &str = "BRIGADE_TEST_EARLY_THREAD";

extern "C" fn constructor() {
    if std::env::var_os(EARLY).is_some() {
        let (started, has_started) = std::sync::mpsc::channel();
        let body = move || {
            started.send(()).unwrap();
            forever()
        };
        std::thread::Builder::new().name("early-bird".into()).spawn(body).unwrap();
        // From now on it has its name.
        has_started.recv().unwrap();
    }
}

#[test]
fn threads_that_a_library_starts_when_it_is_loaded_are_reported() {
    alone_with(&[(EARLY, "1")], || {
        let pool = Pool::builder().workers(1).build().map(drop).unwrap_err();
        assert!(matches!(pool, Error::MultiThreaded { threads: 2, .. }), "{pool}");
        assert!(pool.to_string().contains("early-bird"), "{pool}");
        let process = Process::spawn(|()| (), ()).map(drop).unwrap_err();
        assert!(matches!(process, Error::MultiThreaded { threads: 2, .. }), "{process}");
        assert!(own_processes().is_empty());
    });
}

#[test]
fn a_debugger_that_attaches_stops_and_lets_go_is_no_death() {
    use nix::sys::ptrace;
    alone(|| {
        let path = tally("traced");
        let waits = |path: String| {
            wait_for(|| counted(&path) > 0);
            7
        };
        let pool = with(1).build().unwrap();
        pool.submit(|()| (), ()).unwrap().join().unwrap();
        let mut task = pool.submit(waits, path.clone()).unwrap();
        let process = Process::spawn(waits, path.clone()).unwrap();
        let pids = [workers()[0].pid, process.pid()].map(|pid| Pid::from_raw(pid.cast_signed()));
        if let Err(error) = ptrace::attach(pids[0]) {
            task.kill(Duration::ZERO).unwrap();
            return skipped(&format!("no process may be traced here: {error}"));
        }
        ptrace::attach(pids[1]).unwrap();
        for pid in pids {
            waitpid(pid, None).unwrap();
        }
        count(&path);
        let late = task.join_timeout(Duration::from_millis(100)).unwrap_err();
        assert!(matches!(late, Error::TimedOut { .. }), "{late}");
        assert!(process.is_alive() && pool.stats().restarts == 0);
        pids.iter().for_each(|&pid| ptrace::detach(pid, None).unwrap());
        assert_eq!((task.join().unwrap(), process.join().unwrap()), (7, 7));
        assert_eq!(pool.stats().restarts, 0);
        std::fs::remove_file(path).unwrap();
    });
}

/// This program, started again for one test of this file in another environment.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("environments::{test}")]);
    command.args(["--nocapture", "--include-ignored", "--test-threads=1"]);
    command.stdin(Stdio::null());
    command
}

/// The same under `unshare` with these options, after a shell command.
fn unshared(options: &[&str], first: &str, test: &str) -> Option<Output> {
    let again = again(test);
    let words: Vec<_> = again.get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
    let program = again.get_program().to_str().unwrap();
    let line = format!("{first} && {program} {}; exit $?", words.join(" "));
    let mut command = Command::new("unshare");
    command.args(options).args(["sh", "-c", &line]).stdin(Stdio::null());
    let probe = Command::new("unshare").args(options).args(["sh", "-c", first]).output();
    match probe {
        Ok(output) if output.status.success() => Some(command.output().unwrap()),
        other => {
            skipped(&format!("no namespace may be made here: {other:?}"));
            None
        }
    }
}

/// The words that the test in the other environment printed after a `@`.
fn said(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<_> =
        text.lines().filter_map(|line| Some(line.strip_prefix('@')?.to_owned())).collect();
    assert!(!words.is_empty(), "{output:?}");
    words
}

#[test]
fn without_proc_there_are_errors_that_say_so_and_no_processes() {
    alone(|| {
        let Some(output) = unshared(&["-m"], "umount -l /proc", "has_no_proc") else { return };
        for word in said(&output) {
            assert!(word.starts_with("Os ") && word.contains("/proc"), "{word}");
        }
    });
}

/// What the test above runs; by itself it does nothing.
#[test]
#[ignore = "part of another test"]
fn has_no_proc() {
    if std::path::Path::new("/proc/self").exists() {
        return;
    }
    let errors =
        [Pool::new().map(drop).unwrap_err(), Process::spawn(|()| (), ()).map(drop).unwrap_err()];
    for error in errors {
        let kind = if matches!(error, Error::Os { .. }) { "Os" } else { "other" };
        println!("\n@{kind} {error}");
    }
}

// A signal to a process id would reach a new process that has been given the same id.
#[test]
fn a_process_with_the_number_of_a_dead_one_is_never_signalled() {
    alone(|| {
        let options = ["-p", "-f", "--mount-proc"];
        let first = "test -w /proc/sys/kernel/ns_last_pid";
        let Some(output) = unshared(&options, first, "numbers_are_reused") else { return };
        assert_eq!(said(&output), ["the stranger lives"], "{output:?}");
    });
}

/// What the test above runs; by itself it does nothing.
#[test]
#[ignore = "part of another test"]
fn numbers_are_reused() {
    if processes::Process::of(1).is_none_or(|init| init.name != "sh") {
        return;
    }
    // The process that gets the id of `pid`, which is free.
    let stranger = |pid: u32| loop {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        if child.id() == pid {
            return child;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    };
    let process = Process::spawn(|()| forever(), ()).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let pool = with(1).build().unwrap();
    let worker = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
    let mut first = stranger(process.pid());
    process.terminate().unwrap();
    process.kill().unwrap();
    assert!(!process.is_alive());
    drop(process);
    // Its successor is to have another id.
    std::fs::write("/proc/sys/kernel/ns_last_pid", "2000").unwrap();
    processes::send(worker, Signal::SIGKILL);
    wait_for(|| pool.stats().restarts == 1);
    let mut second = stranger(worker);
    drop(pool);
    for stranger in [&mut first, &mut second] {
        assert_eq!(stranger.try_wait().unwrap(), None, "signalled");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
    println!("\n@the stranger lives");
}

/// A pseudo-terminal: the master, and the path of the terminal.
fn terminal() -> (File, PathBuf) {
    // SAFETY: plain calls; the descriptor is new.
    let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    assert!(master >= 0);
    // SAFETY: `master` was opened above.
    assert_eq!(unsafe { libc::grantpt(master) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::unlockpt(master) }, 0);
    let mut name = [0u8; 64];
    // SAFETY: the buffer is as long as stated.
    assert_eq!(unsafe { libc::ptsname_r(master, name.as_mut_ptr().cast(), name.len()) }, 0);
    let name = std::ffi::CStr::from_bytes_until_nul(&name).unwrap();
    // SAFETY: nothing else owns the new descriptor.
    let master = File::from(unsafe { OwnedFd::from_raw_fd(master) });
    (master, PathBuf::from(name.to_str().unwrap()))
}

#[test]
fn ctrl_c_in_a_terminal_spares_workers_and_hanging_up_ends_everything() {
    alone(|| {
        let (mut master, path) = terminal();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let mut command = again("lives_in_a_terminal");
        command.stdin(open()).stdout(open()).stderr(open());
        let leads = || {
            nix::unistd::setsid()?;
            // SAFETY: descriptor 0 is the terminal.
            match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: two system calls, which are async-signal-safe.
        let mut host =
            unsafe { command.env("BRIGADE_TERMINAL", "1").pre_exec(leads) }.spawn().unwrap();
        drop(command);
        let mut heard = String::new();
        let mut hear = |master: &mut File, word: &str| {
            let mut buffer = [0; 1000];
            while !heard.contains(word) {
                let count = master.read(&mut buffer).unwrap();
                heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
                assert!(!heard.contains("panicked"), "{heard}");
            }
        };
        hear(&mut master, "@ready");
        // The character for which a terminal sends SIGINT.
        master.write_all(b"\x03").unwrap();
        hear(&mut master, "@interrupted");
        drop(master);
        let status = host.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(1), "{status}");
        wait_for(|| own_processes().is_empty());
    });
}

static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

extern "C" fn note(_: i32) {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
}

/// What the test above runs; by itself it does nothing.
#[test]
#[ignore = "part of another test"]
fn lives_in_a_terminal() {
    if std::env::var_os("BRIGADE_TERMINAL").is_none() {
        return;
    }
    // SAFETY: the handler only adds to an atomic.
    unsafe { signal(Signal::SIGINT, SigHandler::Handler(note)) }.unwrap();
    let pool = with(2).build().unwrap();
    let path = tally("terminal");
    let running = pool.submit(
        |path: String| {
            count(&path);
            wait_for(|| counted(&path) == 2);
            7
        },
        path.clone(),
    );
    let process = Process::spawn(|()| forever(), ()).unwrap();
    wait_for(|| counted(&path) == 1);
    println!("\n@ready");
    wait_for(|| INTERRUPTS.load(Ordering::Relaxed) == 1);
    // This program handles the signal, so it also decides when a one-off process ends.
    process.terminate().unwrap();
    assert_eq!(process.wait().unwrap(), ExitReason::Signal(15));
    count(&path);
    assert_eq!(running.unwrap().join().unwrap(), 7);
    assert_eq!(pool.stats().restarts, 0);
    std::fs::remove_file(path).unwrap();
    drop(pool.submit(|()| forever(), ()).unwrap());
    println!("\n@interrupted");
    forever();
}

const ABORTING: &str = r#"
fn main() {
    let pool = brigade::Pool::builder().workers(1).build().unwrap();
    let panics = pool.submit(|()| -> () { panic!("out of cabbage") }, ()).unwrap();
    println!("@{}", panics.join().unwrap_err());
    let panics = brigade::Process::spawn(|()| -> () { panic!("out of leek") }, ()).unwrap();
    println!("@{}", panics.join().unwrap_err());
    assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
}
"#;

/// A separate program, compiled so that a panic aborts, and linked to the library with which this
/// test was built.
fn compile_aborting(directory: &std::path::Path) -> Result<PathBuf, String> {
    let source = directory.join("aborting.rs");
    std::fs::write(&source, ABORTING).unwrap();
    let libraries = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let is_ours = |name: &str| name.starts_with("libbrigade-") && name.ends_with(".rlib");
    let mut found: Vec<_> = std::fs::read_dir(&libraries)
        .unwrap()
        .flatten()
        .filter(|entry| is_ours(&entry.file_name().to_string_lossy()))
        .collect();
    // The library of this test is the newest, or was built at the same time.
    found.sort_by_key(|entry| std::cmp::Reverse(entry.metadata().unwrap().modified().unwrap()));
    let mut reason = "no library beside this test".to_owned();
    for library in found.iter().take(3) {
        let program = directory.join("aborting");
        let output = Command::new("rustc")
            .args(["--edition=2024", "-Cpanic=abort", "-o"])
            .arg(&program)
            .arg(&source)
            .arg(format!("--extern=brigade={}", library.path().display()))
            .arg(format!("-Ldependency={}", libraries.display()))
            .output();
        match output {
            Ok(output) if output.status.success() => return Ok(program),
            Ok(output) => reason = String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => return Err(format!("rustc: {error}")),
        }
    }
    Err(reason)
}

#[test]
fn where_a_panic_aborts_it_is_a_death_with_the_message_as_crash_message() {
    alone(|| {
        let directory = crate::common::Directory::new();
        let program = match compile_aborting(&directory.0) {
            Ok(program) => program,
            Err(reason) => return skipped(&format!("no program whose panics abort: {reason}")),
        };
        let output = Command::new(program).env(unique("mark"), "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = said(&output);
        for (word, message) in said.iter().zip(["out of cabbage", "out of leek"]) {
            assert!(word.contains("SIGABRT") && word.contains(message), "{word}");
            assert!(word.contains("aborting.rs:"), "{word}");
        }
        assert_eq!(said.len(), 2);
    });
}

// Making an array there panicked, as did reading and writing a file.
#[test]
fn where_there_is_no_room_for_a_thread_arrays_and_files_are_made_by_one() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const SHAPE: [usize; 2] = [64, 1 << 20];
    alone(|| {
        let directory = crate::common::Directory::new();
        let path = directory.0.join("array.npy");
        // Keeps the arena, and what others leave in it; that is zeroed when it is used again.
        let _kept = SharedArray::<u8>::zeroed([1]).unwrap();
        drop(SharedArray::<u8>::from_fn(SHAPE, |_| 1).unwrap());
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
        setrlimit(Resource::RLIMIT_AS, pages * 4096 + (1 << 20), hard).unwrap();
        assert!(std::thread::Builder::new().spawn(|| ()).is_err());
        let made = SharedArray::<u8>::zeroed(SHAPE).unwrap();
        assert!(made.as_slice().iter().all(|&byte| byte == 0));
        made.to_npy(&path).unwrap();
        let read = SharedArray::<u8>::from_npy(&path).unwrap();
        setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();
        assert!(read.as_slice() == made.as_slice());
    });
}

/// A pool runs a task, on an array.
fn works() {
    let array = SharedArray::from_slice(&[1u8, 2, 3]).unwrap();
    let pool = with(1).build().unwrap();
    let sum = |frozen: brigade::Frozen<u8>| frozen.as_slice().iter().sum::<u8>();
    assert_eq!(pool.submit(sum, array.freeze()).unwrap().join().unwrap(), 6);
}

// Class of bug: one source of a limit that cannot be read is no reason to have no memory.
#[test]
fn where_proc_shows_processes_only_pools_work() {
    alone(|| {
        let first = "mount -t proc -o subset=pid proc /proc && test ! -e /proc/meminfo";
        let Some(output) = unshared(&["-m"], first, "has_little_proc") else { return };
        assert_eq!(said(&output), ["works"], "{output:?}");
    });
}

/// What the test above runs; by itself it does nothing.
#[test]
#[ignore = "part of another test"]
fn has_little_proc() {
    if !std::path::Path::new("/proc/meminfo").exists() {
        works();
        println!("\n@works");
    }
}

const LITTLE: &str = "BRIGADE_TEST_LITTLE";

#[test]
fn where_address_space_is_scarce_the_arena_is_smaller() {
    alone(|| {
        // The limit in KiB, and what of it is in use already, in bytes.
        for (limit, used_bytes) in [("2000000", "1650000000"), ("300000", "0"), ("160000", "0")] {
            let line = format!("ulimit -v {limit} && exec \"$0\" \"$@\"");
            let again = again("has_little_space");
            let mut command = Command::new("sh");
            command.args(["-c", &line]).arg(again.get_program()).args(again.get_args());
            command.env(LITTLE, used_bytes).env("RUST_MIN_STACK", "1000000");
            let output = command.stdin(Stdio::null()).output().unwrap();
            assert_eq!(said(&output), ["works"], "{limit}: {output:?}");
        }
    });
}

/// What the test above runs; by itself it does nothing.
#[test]
#[ignore = "part of another test"]
fn has_little_space() {
    if let Ok(used_bytes) = std::env::var(LITTLE) {
        let (bytes, flags) = (used_bytes.parse().unwrap(), libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let anywhere = std::ptr::null_mut();
        // SAFETY: a new mapping, or an error if it has no bytes; it is never used.
        unsafe { libc::mmap(anywhere, bytes, libc::PROT_NONE, flags, -1, 0) };
        works();
        println!("\n@works");
    }
}

// Class of bug: `/proc/self` is the main thread's, and has little when that has ended.
#[test]
fn a_host_whose_main_thread_has_ended_has_names_locks_and_pools() {
    alone(|| {
        let name = unique("headless");
        let status = || std::fs::read_to_string("/proc/self/status").unwrap();
        crate::common::forks::in_a_fork(|| {
            // The thread that forks is the child's main thread.
            std::thread::spawn(move || {
                wait_for(|| status().contains("Z (zombie)"));
                let done = std::panic::catch_unwind(|| {
                    let named = SharedArray::<u8>::create(&name, [9]).unwrap();
                    let lock = brigade::shared::Lock::create(&format!("{name}-lock"), 5).unwrap();
                    assert_eq!((named.len(), *lock.lock().unwrap()), (9, 5));
                    works();
                });
                // SAFETY: ends the process.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            });
            // SAFETY: ends this thread, which has nothing to drop.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        });
    });
}
