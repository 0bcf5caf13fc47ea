//! What tasks see of their host.
//!
//! Class of bug: the fork server is a snapshot of its host at the first pool, and the current state
//! was taken from that snapshot.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use brigade::{ExitReason, Pool, Process};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::common::alone::{alone, own_processes, server};
use crate::common::processes::send;
use crate::common::time::wait_for;

/// The results of `function` in a worker of a new pool, and in a one-off process.
fn both<F, R>(function: F) -> [R; 2]
where
    F: Fn(()) -> R + Copy + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    let pool = crate::common::tasks::with(1).build().unwrap();
    let of_pool = pool.submit(function, ()).unwrap().join().unwrap();
    [of_pool, Process::spawn(function, ()).unwrap().join().unwrap()]
}

/// A pool that was built before the host changed, and whose server still runs.
fn earlier() -> Pool {
    let pool = crate::common::tasks::with(1).build().unwrap();
    pool.submit(|()| (), ()).unwrap().join().unwrap();
    pool
}

fn handle(signal: Signal, handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler, if there is one, does nothing.
    unsafe { signal::sigaction(signal, &action) }.unwrap();
}

extern "C" fn nothing(_: i32) {}

fn field(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
}

fn bit(signal: Signal) -> u64 {
    1 << (signal as i32 - 1)
}

#[test]
fn a_task_has_the_arguments_of_its_host() {
    alone(|| {
        let asks = |()| std::env::args().collect::<Vec<_>>();
        let own: Vec<_> = std::env::args().collect();
        assert_eq!(both(asks), [own.clone(), own]);
    });
}

#[test]
fn a_task_works_in_the_directory_that_its_host_had_when_the_pool_was_built() {
    alone(|| {
        let asks = |()| std::env::current_dir().unwrap();
        let was = std::env::current_dir().unwrap();
        let first = earlier();
        let directory = crate::common::Directory::new();
        std::env::set_current_dir(&directory.0).unwrap();
        let now = directory.0.canonicalize().unwrap();
        assert_eq!(both(asks), [now.clone(), now.clone()]);
        assert_eq!(first.submit(asks, ()).unwrap().join().unwrap(), was);
        // Also a directory that replaces another, and one that was removed.
        let second = crate::common::tasks::with(1).build().unwrap();
        std::env::set_current_dir(&was).unwrap();
        let dies = |()| crate::common::tasks::raise(Signal::SIGKILL);
        second.submit(dies, ()).unwrap().join().unwrap_err();
        assert_eq!(second.submit(asks, ()).unwrap().join().unwrap(), now);
        std::env::set_current_dir(&directory.0).unwrap();
        fs::remove_dir(&directory.0).unwrap();
        let link = |()| fs::read_link("/proc/self/cwd").unwrap();
        let gone = PathBuf::from(format!("{} (deleted)", now.display()));
        assert_eq!(both(link), [gone.clone(), gone]);
        std::env::set_current_dir(was).unwrap();
    });
}

#[test]
fn a_task_has_the_environment_that_its_host_had_when_the_pool_was_built() {
    alone(|| {
        let asks = |()| {
            let names = ["BRIGADE_NEW", "BRIGADE_OLD", "BRIGADE_CHANGED", "OMP_NUM_THREADS"];
            names.map(|name| std::env::var_os(name).map(|value| value.into_string().unwrap()))
        };
        let set = |name: &str, value: &str| {
            // SAFETY: no other thread of this process uses the environment.
            unsafe { std::env::set_var(name, value) }
        };
        set("BRIGADE_OLD", "1");
        set("BRIGADE_CHANGED", "2");
        set("OMP_NUM_THREADS", "3");
        let first = earlier();
        set("BRIGADE_NEW", "4");
        set("BRIGADE_CHANGED", "5");
        // SAFETY: as above.
        unsafe { std::env::remove_var("BRIGADE_OLD") };
        let text = |text: &str| Some(text.to_owned());
        let now = [text("4"), None, text("5"), text("1")];
        assert_eq!(both(asks), [now.clone(), now]);
        let then = [None, text("1"), text("2"), text("1")];
        assert_eq!(first.submit(asks, ()).unwrap().join().unwrap(), then);
    });
}

#[test]
fn a_task_has_processors_niceness_and_policy_of_the_hosts_first_thread() {
    let asks = |()| {
        let cpus = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let cpus: Vec<_> = (0..64).filter(|&cpu| cpus.is_set(cpu).unwrap()).collect();
        // SAFETY: plain system calls.
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        // SAFETY: as above.
        (cpus, nice, unsafe { libc::sched_getscheduler(0) })
    };
    alone(|| {
        let first_thread = {
            // SAFETY: plain system calls; the first thread has the id of the process.
            let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, std::process::id()) };
            let cpus = sched_getaffinity(Pid::this()).unwrap();
            let cpus: Vec<_> = (0..64).filter(|&cpu| cpus.is_set(cpu).unwrap()).collect();
            let own = Pid::this().as_raw();
            // SAFETY: as above.
            (cpus, nice, unsafe { libc::sched_getscheduler(own) })
        };
        let elsewhere = thread::spawn(move || {
            let mut one = CpuSet::new();
            one.set(*first_thread.0.last().unwrap()).unwrap();
            sched_setaffinity(Pid::from_raw(0), &one).unwrap();
            let param = libc::sched_param { sched_priority: 0 };
            // SAFETY: the pointer is to a live local; only this thread is affected.
            unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const param) };
            // Lowering the niceness again would need privileges.
            if nix::unistd::geteuid().is_root() {
                // SAFETY: a plain system call, for this thread.
                unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 5) };
            }
            let seen = both(asks);
            assert_eq!(seen, [first_thread.clone(), first_thread.clone()]);
            first_thread
        });
        let first_thread = elsewhere.join().unwrap();
        assert_eq!(both(asks), [first_thread.clone(), first_thread]);
    });
}

#[test]
fn a_task_has_the_limits_and_the_umask_that_its_host_had_when_the_pool_was_built() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::stat::{Mode, umask};
    alone(|| {
        let asks = |()| {
            let core = getrlimit(Resource::RLIMIT_CORE).unwrap();
            (core, getrlimit(Resource::RLIMIT_NOFILE).unwrap(), umask(Mode::empty()).bits())
        };
        let first = earlier();
        let before = umask(Mode::from_bits_truncate(0o027));
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_CORE, 0, 4096).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
        let expected = ((0, 4096), (200, hard), 0o027);
        assert_eq!(both(asks), [expected, expected]);
        let then = first.submit(asks, ()).unwrap().join().unwrap();
        assert_eq!(then.2, before.bits());
        umask(before);
    });
}

#[test]
fn a_task_reads_nothing_of_what_its_host_is_to_read() {
    alone(|| {
        let (read, write) = nix::unistd::pipe().unwrap();
        let saved = io::stdin().as_fd().try_clone_to_owned();
        nix::unistd::dup2_stdin(&read).unwrap();
        drop(read);
        let mut write = fs::File::from(write);
        write.write_all(b"first\n").unwrap();
        let eats = |()| {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).unwrap();
            let child = Command::new("cat").stdin(Stdio::inherit()).output().unwrap();
            let link = fs::read_link("/proc/self/fd/0").unwrap();
            (text, child.stdout.len(), link)
        };
        let nothing = (String::new(), 0, PathBuf::from("/dev/null"));
        assert_eq!(both(eats), [nothing.clone(), nothing]);
        let line = |()| {
            let mut byte = [0; 6];
            io::stdin().read_exact(&mut byte).unwrap();
            String::from_utf8_lossy(&byte).into_owned()
        };
        let pool = crate::common::tasks::with(1).inherit_stdin().build().unwrap();
        assert_eq!(pool.submit(line, ()).unwrap().join().unwrap(), "first\n");
        drop(pool);
        write.write_all(b"second").unwrap();
        let process = Process::builder().inherit_stdin().spawn(line, ()).unwrap();
        assert_eq!(process.join().unwrap(), "second");
        // No other process keeps the pipe open for reading.
        nix::unistd::dup2_stdin(saved.unwrap()).unwrap();
        let error = write.write_all(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_task_writes_to_where_its_host_wrote_when_the_pool_was_built() {
    alone(|| {
        let _first = earlier();
        let directory = crate::common::Directory::new();
        let paths = ["output", "error"].map(|name| directory.0.join(name));
        let [output, error] = paths.clone().map(|path| fs::File::create(path).unwrap());
        let saved = (
            io::stdout().as_fd().try_clone_to_owned().unwrap(),
            io::stderr().as_fd().try_clone_to_owned().unwrap(),
        );
        nix::unistd::dup2_stdout(&output).unwrap();
        nix::unistd::dup2_stderr(&error).unwrap();
        let writes = |()| {
            println!("output");
            eprintln!("error");
        };
        let done = std::panic::catch_unwind(|| both(writes));
        nix::unistd::dup2_stdout(saved.0).unwrap();
        nix::unistd::dup2_stderr(saved.1).unwrap();
        done.unwrap();
        let written = paths.map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(written, ["output\noutput\n", "error\nerror\n"]);
    });
}

#[test]
fn what_a_host_handles_or_ignores_ends_no_task_and_is_default_in_programs_of_tasks() {
    alone(|| {
        let _first = earlier();
        handle(Signal::SIGTERM, SigHandler::Handler(nothing));
        handle(Signal::SIGHUP, SigHandler::SigIgn);
        handle(Signal::SIGINT, SigHandler::Handler(nothing));
        handle(Signal::SIGQUIT, SigHandler::Handler(nothing));
        let group = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT];
        // Waits until it has been sent all four signals, and continues.
        let works = |path: String| {
            crate::common::tasks::count(&path);
            let stop = format!("{path}-stop");
            wait_for(|| fs::exists(&stop).unwrap());
            let status = Command::new("sh").args(["-c", "cat /proc/self/status"]).output();
            let status = String::from_utf8(status.unwrap().stdout).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
            u64::from_str_radix(line, 16).unwrap()
        };
        let path = crate::common::tasks::tally("works");
        let pool = crate::common::tasks::with(1).build().unwrap();
        let task = pool.submit(works, path.clone()).unwrap();
        let process = Process::spawn(works, path.clone()).unwrap();
        wait_for(|| crate::common::tasks::counted(&path) == 2);
        for signal in group {
            signal::killpg(nix::unistd::getpgrp(), signal).unwrap();
        }
        fs::write(format!("{path}-stop"), "").unwrap();
        let of_group = group.into_iter().map(bit).fold(0, |all, bit| all | bit);
        assert_eq!(task.join().unwrap() & of_group, 0);
        assert_eq!(process.join().unwrap() & of_group, 0);
        assert_eq!(pool.stats().restarts, 0);
        fs::remove_file(format!("{path}-stop")).unwrap();
        fs::remove_file(path).unwrap();
        // A signal to one process alone still ends that process.
        let process = crate::sleeps();
        process.terminate().unwrap();
        assert_eq!(process.wait().unwrap(), ExitReason::Signal(15));
    });
}

#[test]
fn what_a_host_leaves_at_its_default_ends_its_tasks() {
    alone(|| {
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGINT] {
            let process = crate::sleeps();
            send(process.pid(), signal);
            assert_eq!(process.wait().unwrap(), ExitReason::Signal(signal as i32));
        }
    });
}

#[test]
fn what_a_host_was_started_with_as_ignored_stays_ignored() {
    if std::env::var_os("BRIGADE_TEST").is_none() {
        // Every process of the test is started with these signals ignored.
        for signal in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGTERM] {
            handle(signal, SigHandler::SigIgn);
        }
    }
    alone(|| {
        let asks = |()| (field("SigIgn"), field("SigCgt"));
        let expected = bit(Signal::SIGHUP) | bit(Signal::SIGUSR2);
        for (ignored, caught) in both(asks) {
            assert_eq!(ignored & expected, expected, "{ignored:x}");
            let terminate = bit(Signal::SIGTERM);
            assert_eq!((ignored | caught) & terminate, terminate, "{ignored:x} {caught:x}");
        }
        let process = crate::sleeps();
        process.terminate().unwrap();
        assert_eq!(process.wait().unwrap(), ExitReason::Signal(15));
    });
    if std::env::var_os("BRIGADE_TEST").is_none() {
        for signal in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGTERM] {
            handle(signal, SigHandler::SigDfl);
        }
    }
}

#[test]
fn a_pipe_without_a_reader_does_to_a_task_what_it_does_to_its_host() {
    alone(|| {
        let ignores = |()| field("SigIgn") & bit(Signal::SIGPIPE) != 0;
        assert_eq!(both(ignores), [true, true]);
        handle(Signal::SIGPIPE, SigHandler::SigDfl);
        assert_eq!(both(ignores), [false, false]);
        handle(Signal::SIGPIPE, SigHandler::SigIgn);
    });
}

#[test]
fn what_a_task_leaves_behind_lives_as_long_as_its_worker_and_no_longer() {
    alone(|| {
        let leaves = |()| {
            // The shell ends and leaves an orphan.
            let script = "sleep 1000 > /dev/null 2>&1 & echo $!";
            let output = Command::new("sh").args(["-c", script]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().unwrap()
        };
        let lives = |pid: u32| {
            crate::common::processes::Process::of(pid).is_some_and(|process| process.state != 'Z')
        };
        let pool = crate::common::tasks::with(1).build().unwrap();
        let other = crate::common::tasks::with(1).build().unwrap();
        let orphan = pool.submit(leaves, ()).unwrap().join().unwrap();
        // Other processes end, normally and not.
        Process::spawn(|()| (), ()).unwrap().join().unwrap();
        let dies = |()| crate::common::tasks::raise(Signal::SIGKILL);
        other.submit(dies, ()).unwrap().join().unwrap_err();
        drop(other);
        let of_process = Process::spawn(leaves, ()).unwrap().join().unwrap();
        wait_for(|| !lives(of_process));
        assert!(lives(orphan), "it ends with its own worker");
        pool.submit(dies, ()).unwrap().join().unwrap_err();
        wait_for(|| !lives(orphan));
        let orphan = pool.submit(leaves, ()).unwrap().join().unwrap();
        assert!(lives(orphan));
        drop(pool);
        wait_for(|| !lives(orphan) && own_processes().is_empty());
    });
}

#[test]
fn what_tasks_have_started_ends_with_a_fork_server_that_is_killed() {
    alone(|| {
        let pool = crate::common::tasks::with(2).build().unwrap();
        let leaves = |script: String| {
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert!(output.status.success());
        };
        // An orphan, and a process with children in its own session.
        for script in [
            "sleep 1000 > /dev/null 2>&1 &",
            "setsid sh -c 'sleep 1000 & wait' \
                        > /dev/null 2>&1 &",
        ] {
            pool.submit(leaves, script.to_owned()).unwrap().join().unwrap();
        }
        let forks = |()| {
            // SAFETY: the child only makes system calls.
            if unsafe { libc::fork() } == 0 {
                loop {
                    // SAFETY: a plain system call.
                    unsafe { libc::pause() };
                }
            }
        };
        pool.submit(forks, ()).unwrap().join().unwrap();
        let waits = |()| drop(Command::new("sleep").arg("1000").status());
        let _waits = pool.submit(waits, ()).unwrap();
        let _process = Process::spawn(waits, ()).unwrap();
        let sleeping = || own_processes().iter().filter(|found| found.name == "sleep").count();
        wait_for(|| sleeping() == 4);
        let own: Vec<u32> = own_processes().iter().map(|found| found.pid).collect();
        send(server().unwrap().pid, Signal::SIGKILL);
        wait_for(|| own_processes().iter().all(|found| !own.contains(&found.pid)));
    });
}

#[test]
fn a_task_has_the_descriptors_of_its_own_and_no_others() {
    alone(|| {
        let file = fs::File::open("/proc/self/status").unwrap();
        // SAFETY: the descriptor is open, and only its flag is changed.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) };
        let low =
            |()| (3..100).filter(|n| fs::exists(format!("/proc/self/fd/{n}")).unwrap()).count();
        // The descriptor of the listing is not among them, because each name is looked up
        // separately.
        assert_eq!(both(low), [0, 0]);
        assert!(server().is_none() || own_processes().len() < 2);
    });
}
