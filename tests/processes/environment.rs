//! The environment of processes.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use brigade::{ActiveProcess, Error, ExitReason, Pool, Process, active_processes};
use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal};
use nix::unistd::Pid;

use crate::common::alone::{alone, own_processes, server};
use crate::common::processes::send;
use crate::common::tasks::forever;
use crate::common::time::{spend, wait_for};
use crate::{death, sleeps};

#[test]
fn every_process_has_as_few_descriptors_as_the_first_however_many_there_are() {
    alone(|| {
        let many: Vec<_> = (0..20).map(|_| sleeps()).collect();
        let open = |process: &Process<()>| {
            // It closes the others before it has its name.
            let path = format!("/proc/{}/fd", process.pid());
            wait_for(|| fs::read_dir(&path).unwrap().count() < 6);
            fs::read_dir(&path).unwrap().count()
        };
        let counts: BTreeSet<_> = many
            .iter()
            .map(|process| {
                let mut last = 0;
                // The arena's descriptor is closed when it has been mapped.
                wait_for(|| {
                    let now = open(process);
                    now == std::mem::replace(&mut last, now) && now == 4
                });
                last
            })
            .collect();
        assert_eq!(counts, BTreeSet::from([4]), "standard ones and a socket");
    });
}

#[test]
fn a_process_has_its_name_environment_niceness_and_processors() {
    alone(|| {
        let asks = |()| {
            let comm = fs::read_to_string("/proc/self/comm").unwrap();
            // SAFETY: plain system calls.
            let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
            let cpus = nix::sched::sched_getaffinity(Pid::this()).unwrap();
            let cpus: Vec<usize> = (0..64).filter(|&cpu| cpus.is_set(cpu).unwrap()).collect();
            (comm.trim().to_owned(), std::env::var("BRIGADE_COLOUR").ok(), nice, cpus)
        };
        let plain = Process::spawn(asks, ()).unwrap();
        assert!(plain.name().starts_with("process-"));
        let name = plain.name().to_owned();
        let (comm, colour, _, _) = plain.join().unwrap();
        assert_eq!((comm, colour), (name, None));
        let set = Process::builder()
            .name("a-name-of-more-than-15-bytes")
            .env("BRIGADE_COLOUR", "blue")
            .nice(7)
            .affinity([0])
            .spawn(asks, ())
            .unwrap();
        assert_eq!(set.name(), "a-name-of-more-than-15-bytes");
        let expected = ("a-name-of-more-".to_owned(), Some("blue".to_owned()), 7, vec![0]);
        assert_eq!(set.join().unwrap(), expected);
        assert!(std::env::var_os("BRIGADE_COLOUR").is_none());
        let kin =
            |()| ["OMP_NUM_THREADS", "BRIGADE_FORK_SERVER"].map(|name| std::env::var(name).ok());
        let threads = Process::spawn(kin, ()).unwrap().join().unwrap();
        assert_eq!(threads, [Some("1".to_owned()), None]);
    });
}

#[test]
fn a_removed_variable_reaches_neither_the_workers_nor_the_fork_server() {
    alone(|| {
        // SAFETY: the test's process has no thread that reads the environment.
        unsafe { std::env::set_var("BRIGADE_LAUNCHER", "1") };
        let pool = Pool::builder().workers(1).env_remove("BRIGADE_LAUNCHER").build().unwrap();
        let environments = |()| {
            let own = std::env::var_os("BRIGADE_LAUNCHER").is_some();
            // What the fork server was started with.
            let first = fs::read("/proc/self/environ").unwrap();
            let name = b"BRIGADE_LAUNCHER";
            (own, first.windows(name.len()).any(|part| part == name))
        };
        assert_eq!(pool.submit(environments, ()).unwrap().join().unwrap(), (false, false));
        // A pool beside it that removes nothing has the variable, from the same fork server.
        let other = Pool::builder().workers(1).build().unwrap();
        assert_eq!(other.submit(environments, ()).unwrap().join().unwrap(), (true, false));
        let builder = Pool::builder().workers(1).env_remove("BRIGADE_LAUNCHER");
        let again = builder.env("BRIGADE_LAUNCHER", "2").build().unwrap();
        assert_eq!(again.submit(environments, ()).unwrap().join().unwrap(), (true, false));
        let builder = Pool::builder().workers(1).env("BRIGADE_LAUNCHER", "3");
        let kept = builder.env_remove_inherited("BRIGADE_LAUNCHER").build().unwrap();
        let value = kept.submit(|()| std::env::var("BRIGADE_LAUNCHER").ok(), ()).unwrap();
        assert_eq!(value.join().unwrap().as_deref(), Some("3"));
        for name in ["A=B", ""] {
            let error = Pool::builder().env_remove(name).build().unwrap_err().to_string();
            assert!(error.contains("without '='"), "{error}");
        }
    });
}

#[test]
fn settings_that_cannot_be_are_refused_before_there_is_a_process() {
    alone(|| {
        for builder in [
            Process::builder().name(""),
            Process::builder().nice(20),
            Process::builder().affinity([]),
            Process::builder().env("A=B", "c"),
            Process::builder().env("A", "c\0"),
        ] {
            let refused = builder.spawn(|()| (), ()).unwrap_err();
            assert!(matches!(refused, Error::InvalidArgument { .. }), "{refused}");
        }
        // Only the process finds out that there is no such processor.
        let lost = Process::builder().affinity([1000]).spawn(|()| (), ()).unwrap();
        let text = lost.join().unwrap_err().to_string();
        assert!(text.contains("code 125") && text.contains("sched_setaffinity"), "{text}");
    });
}

#[test]
fn a_killed_fork_server_takes_its_processes_and_the_next_spawn_works() {
    alone(|| {
        let running = [sleeps(), sleeps()];
        let old = server().unwrap().pid;
        send(old, Signal::SIGINT);
        assert_eq!(Process::spawn(|n: u8| n, 3).unwrap().join().unwrap(), 3);
        assert_eq!(server().unwrap().pid, old, "SIGINT is ignored");
        send(old, Signal::SIGKILL);
        for process in running {
            assert_eq!(process.wait().unwrap(), ExitReason::Unknown);
            assert!(death(process.join().unwrap_err()).pid > 0);
        }
        assert_eq!(Process::spawn(|n: u8| n, 4).unwrap().join().unwrap(), 4);
        // Kills at random moments.
        for round in 0..20u32 {
            let others = sleeps();
            let killed = server().map(|server| server.pid);
            let killer = thread::spawn(move || {
                spend(Duration::from_micros(u64::from(round) * 50));
                killed.into_iter().for_each(|pid| send(pid, Signal::SIGKILL));
            });
            match Process::spawn(|n: u32| n, round) {
                Ok(process) => match process.join() {
                    Ok(value) => assert_eq!(value, round),
                    Err(error) => assert_eq!(death(error).reason, ExitReason::Unknown),
                },
                Err(error) => assert!(
                    error.death().is_some() || matches!(error, Error::Spawn { .. }),
                    "{error}"
                ),
            }
            killer.join().unwrap();
            drop(others);
        }
    });
}

// Otherwise memory that was lent to it could be reused while it still writes there.
#[test]
fn a_process_whose_fork_server_was_killed_has_not_ended_before_it_is_gone() {
    alone(|| {
        let path = crate::common::tasks::tally("large");
        let large = |path: String| {
            let memory = vec![1u8; 256 << 20];
            crate::common::tasks::count(&path);
            forever();
            drop(memory);
        };
        let process = Process::spawn(large, path.clone()).unwrap();
        wait_for(|| crate::common::tasks::counted(&path) == 1);
        send(server().unwrap().pid, Signal::SIGKILL);
        assert_eq!(process.wait().unwrap(), ExitReason::Unknown);
        let left = crate::common::processes::Process::of(process.pid());
        assert!(left.as_ref().is_none_or(|left| left.state == 'Z'), "{left:?}");
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_process_has_no_signal_blocked_and_default_dispositions_whatever_the_host_has() {
    alone(|| {
        let mut before = SigSet::empty();
        signal::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).unwrap();
        signal::pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut before)).unwrap();
        // SAFETY: ignoring a signal installs no handler.
        unsafe { signal::signal(Signal::SIGINT, SigHandler::SigIgn) }.unwrap();
        let masks = |()| {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
            };
            (field("SigBlk"), field("SigIgn"))
        };
        let (blocked, ignored) = Process::spawn(masks, ()).unwrap().join().unwrap();
        // glibc ignores its two internal signals.
        let of_glibc: u64 = 1 << 31 | 1 << 32;
        assert_eq!((blocked, ignored & !of_glibc), (0, 1 << (libc::SIGPIPE - 1)));
        let mut after = SigSet::empty();
        signal::pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut after)).unwrap();
        assert_eq!(before, after);
    });
}

#[test]
fn a_process_that_closes_its_standard_descriptors_exits_with_code_0() {
    alone(|| {
        let closes = |()| {
            for fd in 0..3 {
                // SAFETY: the descriptor is not used afterwards.
                unsafe { libc::close(fd) };
            }
        };
        let process = Process::spawn(closes, ()).unwrap();
        assert_eq!(process.wait().unwrap(), ExitReason::Code(0));
        process.join().unwrap();
    });
}

#[test]
fn a_host_whose_standard_descriptors_are_closed_has_processes() {
    alone(|| {
        let saved: Vec<_> = (0..3)
            .map(|fd| {
                // SAFETY: the descriptor is open here, and is restored before it is used.
                let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
                nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(10)).unwrap()
            })
            .collect();
        // SAFETY: as above.
        let closed = (0..3).map(|fd| unsafe { libc::close(fd) }).sum::<i32>();
        assert_eq!(closed, 0);
        let ended = Process::builder().capture_stderr().spawn(|n: u8| n, 5).map(|process| {
            let reason = process.wait();
            (reason, process.join())
        });
        // Descriptors of this test had these numbers; threads that are ending may still hold them.
        // SAFETY: F_GETFD reads a flag of a descriptor number and takes no pointer.
        wait_for(|| (0..3).all(|fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1));
        for (fd, saved) in (0..).zip(saved) {
            // SAFETY: nothing else uses these two descriptor numbers.
            unsafe {
                libc::dup2(saved, fd);
            }
            // SAFETY: as above.
            unsafe { libc::close(saved) };
        }
        let (reason, value) = ended.unwrap();
        assert_eq!((reason.unwrap(), value.unwrap()), (ExitReason::Code(0), 5));
    });
}

#[test]
fn a_handle_is_inert_in_a_child_that_the_host_forks() {
    alone(|| {
        let process = sleeps();
        // SAFETY: the child calls what may allocate; glibc's allocator allows that.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                let inert = !process.is_alive()
                    && process.exit_reason().is_none()
                    && process.kill().is_err()
                    && process.terminate().is_err()
                    && matches!(process.wait(), Err(Error::Closed { .. }))
                    && active_processes().is_empty();
                drop(process);
                // SAFETY: `_exit` takes any number and does not return.
                unsafe { libc::_exit(i32::from(!inert)) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
        assert!(process.is_alive());
        let listed = active_processes();
        assert!(matches!(&listed[..], [ActiveProcess { pid, .. }] if *pid == process.pid()));
    });
}

#[test]
fn processes_and_pools_share_a_server_and_neither_ends_the_others() {
    alone(|| {
        let pool = crate::common::tasks::with(1).build().unwrap();
        let process = sleeps();
        let servers = || own_processes().iter().filter(|p| p.is_server()).count();
        // A process has its server's name until it sets its own.
        wait_for(|| servers() == 1);
        pool.shutdown().unwrap();
        assert!(process.is_alive());
        let pool = crate::common::tasks::with(1).build().unwrap();
        drop(process);
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
        assert_eq!(servers(), 1);
        let inside = |()| Process::spawn(|n: u8| n + 1, 1).unwrap().join().unwrap();
        assert_eq!(pool.submit(inside, ()).unwrap().join().unwrap(), 2);
    });
}

#[test]
fn without_descriptors_to_spare_a_spawn_is_an_error_and_leaves_no_process() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    alone(|| {
        let first = sleeps();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let used = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let mut spawned = 0;
        for spare in 0..12 {
            setrlimit(Resource::RLIMIT_NOFILE, used - 1 + spare, hard).unwrap();
            let outcome = Process::spawn(|n: u8| n, 1);
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            match outcome {
                Ok(process) => {
                    assert_eq!(process.join().unwrap(), 1);
                    spawned += 1;
                }
                Err(error) => assert!(matches!(error, Error::Os { .. }), "{error}"),
            }
            wait_for(|| own_processes().len() == 2);
        }
        assert!(spawned > 0);
        assert!(first.is_alive() && first.as_fd().as_raw_fd() > 2);
    });
}

// It took the lack of descriptors for the end of its host, and ended all its processes.
#[test]
fn a_fork_server_without_descriptors_to_spare_refuses_and_keeps_what_it_has() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    alone(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let used = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        // The server keeps the limit with which it starts.
        setrlimit(Resource::RLIMIT_NOFILE, used + 20, hard).unwrap();
        let mut processes = vec![sleeps()];
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        // The first needs more descriptors to start than to run, and so is refused earlier.
        for builder in [Process::builder().capture_stderr(), Process::builder()] {
            let mut refused = None;
            while processes.len() < 40 && refused.is_none() {
                match builder.clone().spawn(|()| forever(), ()) {
                    Ok(process) => processes.push(process),
                    Err(error) => refused = Some(error),
                }
            }
            let error = refused.expect("as many as it has no descriptors for");
            assert!(matches!(error, Error::Os { call: "fork", .. }), "{error}");
            assert!(processes.iter().all(Process::is_alive));
        }
        let gone = processes.pop().unwrap();
        gone.kill().unwrap();
        gone.wait().unwrap();
        assert_eq!(Process::spawn(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}
