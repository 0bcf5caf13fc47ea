//! How one-off processes start, run and end.

use std::fs;
use std::os::fd::AsFd;
use std::time::Duration;

use brigade::{Error, ExitReason, Process, active_processes};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, Signal};

use crate::common::alone::{against_host, alone, own_processes, say};
use crate::common::processes::{self, send};
use crate::common::tasks::{count, counted, forever, raise, tally};
use crate::common::time::{spend_millis, wait_for};
use crate::{death, is_active, sleeps};

#[test]
fn a_process_is_alive_and_active_until_it_ends_and_has_an_exit_reason_from_then_on() {
    alone(|| {
        assert_eq!(active_processes(), []);
        let process = sleeps();
        let pid = process.pid();
        assert!(process.is_alive() && is_active(pid));
        assert_eq!(process.exit_reason(), None);
        process.kill().unwrap();
        assert_eq!(process.wait().unwrap(), ExitReason::Signal(9));
        assert!(!process.is_alive() && !is_active(pid));
        assert_eq!(process.exit_reason(), Some(ExitReason::Signal(9)));

        let returns = Process::spawn(|n: u32| n + 1, 1).unwrap();
        assert_eq!(returns.wait().unwrap(), ExitReason::Code(0));
        assert!(!returns.is_alive() && !is_active(returns.pid()));
        assert_eq!(returns.join().unwrap(), 2);
    });
}

// Before it had its own dispositions, it ignored the signals that the fork server ignores.
#[test]
fn terminate_interrupt_and_kill_end_a_process_however_young_with_that_signal() {
    alone(|| {
        for round in 0..30 {
            let process = sleeps();
            if round % 2 == 0 {
                wait_for(|| processes::Process::of(process.pid()).unwrap().name.contains("proc"));
            }
            let expected = match round % 3 {
                0 => process.terminate().map(|()| 15),
                1 => process.interrupt().map(|()| 2),
                _ => process.kill().map(|()| 9),
            };
            let signal = expected.unwrap();
            assert_eq!(process.wait().unwrap(), ExitReason::Signal(signal));
            let died = death(process.join().unwrap_err());
            assert_eq!(died.reason, ExitReason::Signal(signal));
            assert!(died.process.is_some() && !died.out_of_memory);
        }
    });
}

#[test]
fn signals_to_a_process_that_has_ended_are_no_error() {
    alone(|| {
        let process = Process::spawn(|()| (), ()).unwrap();
        process.wait().unwrap();
        process.terminate().unwrap();
        process.interrupt().unwrap();
        process.kill().unwrap();
        assert_eq!(process.exit_reason(), Some(ExitReason::Code(0)));
        process.join().unwrap();
    });
}

#[test]
fn joining_a_running_process_for_no_time_returns_at_once_and_leaves_it_alive() {
    alone(|| {
        let mut process = sleeps();
        for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(5)] {
            let late = process.join_timeout(timeout).unwrap_err();
            assert!(matches!(late, Error::TimedOut { .. }), "{late}");
            assert!(matches!(process.wait_timeout(timeout), Err(Error::TimedOut { .. })));
            assert!(process.is_alive());
        }
        process.kill().unwrap();
        // With the longest possible timeout.
        assert!(process.join_timeout(Duration::MAX).unwrap_err().death().is_some());
        let again = process.join_timeout(Duration::MAX).unwrap_err();
        assert!(matches!(again, Error::Closed { .. }), "{again}");
    });
}

#[test]
fn a_hundred_started_and_a_hundred_killed_at_once_are_all_reaped_with_the_right_status() {
    alone(|| {
        let started: Vec<_> =
            (0..100u32).map(|n| Process::spawn(|n: u32| n * n, n).unwrap()).collect();
        for (n, process) in (0..).zip(started) {
            assert_eq!(process.join().unwrap(), n * n);
        }
        let endless: Vec<_> = (0..100).map(|_| sleeps()).collect();
        assert_eq!(active_processes().len(), 100);
        crate::common::alone::progress();
        endless.iter().for_each(|process| process.kill().unwrap());
        for process in &endless {
            assert_eq!(process.wait().unwrap(), ExitReason::Signal(9));
            assert_eq!(processes::Process::of(process.pid()), None, "not reaped");
        }
        assert_eq!(active_processes(), []);
    });
}

#[test]
fn closing_a_running_process_is_refused_and_one_that_has_ended_may_be_closed() {
    alone(|| {
        let process = sleeps();
        let refused = process.close().unwrap_err();
        assert!(matches!(*refused.error, Error::InvalidArgument { .. }), "{refused}");
        let process = refused.value;
        assert!(process.is_alive());
        process.kill().unwrap();
        process.wait().unwrap();
        process.close().unwrap();
    });
}

fn ready(fds: &mut [PollFd<'_>], timeout: PollTimeout) -> Vec<bool> {
    poll(fds, timeout).unwrap();
    fds.iter().map(|fd| fd.any().unwrap()).collect()
}

#[test]
fn a_sentinel_becomes_readable_when_its_process_ends_and_not_before() {
    alone(|| {
        let processes = [sleeps(), sleeps(), sleeps()];
        let (_quiet, end) = nix::unistd::pipe().unwrap();
        let mut fds: Vec<_> = processes
            .iter()
            .map(|process| PollFd::new(process.as_fd(), PollFlags::POLLIN))
            .collect();
        fds.push(PollFd::new(end.as_fd(), PollFlags::POLLIN));
        assert_eq!(ready(&mut fds, PollTimeout::ZERO), [false; 4]);
        processes[1].kill().unwrap();
        assert_eq!(ready(&mut fds, PollTimeout::NONE), [false, true, false, false]);
        // After that is visible, the exit reason is available at once.
        assert_eq!(processes[1].exit_reason(), Some(ExitReason::Signal(9)));
        assert!(!processes[1].is_alive() && processes[0].is_alive());
        assert_eq!(ready(&mut fds, PollTimeout::ZERO), [false, true, false, false]);
    });
}

#[test]
fn a_process_within_a_process_ends_with_it() {
    alone(|| {
        let path = tally("nested");
        let outer = Process::spawn(
            |path: String| {
                let waits = |path: String| {
                    count(&path);
                    forever();
                };
                let inner = Process::spawn(waits, path).unwrap();
                inner.join().unwrap();
            },
            path.clone(),
        )
        .unwrap();
        wait_for(|| counted(&path) == 1);
        // The server, the outer process, its server, the inner process.
        assert_eq!(own_processes().len(), 4, "{:?}", own_processes());
        outer.kill().unwrap();
        outer.wait().unwrap();
        wait_for(|| own_processes().len() == 1);
        fs::remove_file(path).unwrap();
    });
}

fn nest(levels: u32) -> (u32, String) {
    match Process::spawn(nest, levels + 1) {
        Ok(inner) => inner.join().unwrap(),
        Err(error) => (levels, error.to_string()),
    }
}

#[test]
fn processes_nest_to_the_stated_depth_and_beyond_is_an_error_that_says_so() {
    alone(|| {
        let (levels, error) = nest(0);
        assert_eq!(levels, 4);
        assert!(error.contains("nested 4 deep") && error.contains("4 is the limit"), "{error}");
    });
}

const PROGRAM: &str = "BRIGADE_TEST_PROGRAM";

/// Runs one test of this file in a program that a process starts; returns what that prints.
fn in_a_program(test: &str, path: &str) -> Process<String> {
    let runs = |(test, path): (String, String)| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &test, "--nocapture", "--include-ignored", "--test-threads=1"]);
        let output = command.env(PROGRAM, path).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    Process::spawn(runs, (test.to_owned(), path.to_owned())).unwrap()
}

// Class of bug: the nesting level was known only to this version of the crate in this program. A
// program that a task started counted from 0, as did another version of the crate.
#[test]
fn a_program_that_a_process_starts_goes_on_counting_how_deep_it_is() {
    alone(|| {
        let said = in_a_program("lifecycle::nests_as_deep_as_it_may", "").join().unwrap();
        assert!(said.contains("@3 ") && said.contains("4 is the limit"), "{said}");
    });
}

/// What the test above runs; by itself it does nothing.
#[test]
#[ignore = "part of another test"]
fn nests_as_deep_as_it_may() {
    if std::env::var_os(PROGRAM).is_some() {
        let (levels, error) = nest(0);
        println!("\n@{levels} {error}");
    }
}

// The fork server above adopted its fork server, and killed it when another of its processes ended.
#[test]
fn a_program_that_a_process_starts_keeps_its_processes_when_others_end() {
    alone(|| {
        let path = tally("program");
        let program = in_a_program("lifecycle::has_a_process_that_waits", &path);
        wait_for(|| counted(&path) == 1);
        Process::spawn(|()| (), ()).unwrap().join().unwrap();
        count(&path);
        let said = program.join().unwrap();
        assert!(said.contains("@Ok(7)"), "{said}");
        fs::remove_file(path).unwrap();
    });
}

/// What the test above runs; by itself it does nothing.
#[test]
#[ignore = "part of another test"]
fn has_a_process_that_waits() {
    let Ok(path) = std::env::var(PROGRAM) else { return };
    let waits = |path: String| {
        count(&path);
        wait_for(|| counted(&path) == 2);
        7
    };
    println!("\n@{:?}", Process::spawn(waits, path).unwrap().join());
}

#[test]
fn a_child_that_a_process_forked_does_not_outlive_it() {
    alone(|| {
        let forks = |()| {
            // SAFETY: the process has one thread, so the child may call anything.
            if unsafe { nix::unistd::fork() }.unwrap().is_child() {
                nix::unistd::setsid().unwrap();
                forever();
            }
        };
        // Another process keeps the fork server alive, so its end cannot be the cause.
        let other = sleeps();
        Process::spawn(forks, ()).unwrap().join().unwrap();
        wait_for(|| own_processes().len() == 2);
        drop(other);
    });
}

#[test]
fn a_dropped_process_is_ended_and_a_detached_one_runs_on() {
    alone(|| {
        let path = tally("detached");
        let dropped = sleeps().pid();
        assert_eq!(processes::Process::of(dropped), None, "dropped, so it is gone");

        // One that ignores SIGTERM gets SIGKILL.
        let deaf = |path: String| {
            // SAFETY: ignoring a signal installs no handler.
            unsafe { signal::signal(Signal::SIGTERM, SigHandler::SigIgn) }.unwrap();
            count(&path);
            forever();
        };
        let grace = Duration::from_millis(50);
        let deaf = Process::builder().grace(grace).spawn(deaf, path.clone()).unwrap();
        wait_for(|| counted(&path) == 1);
        drop(deaf);

        let works = |path: String| {
            wait_for(|| counted(&path) == 3);
            count(&path);
        };
        let detached = Process::spawn(works, path.clone()).unwrap();
        let pid = detached.pid();
        detached.detach();
        assert!(is_active(pid));
        count(&path);
        count(&path);
        wait_for(|| counted(&path) == 4 && !is_active(pid));
        wait_for(|| own_processes().is_empty());
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_dropped_process_has_five_seconds_to_put_things_in_order() {
    alone(|| {
        let path = tally("orderly");
        let orderly = |path: String| {
            let mut ends = SigSet::empty();
            ends.add(Signal::SIGTERM);
            ends.thread_block().unwrap();
            count(&path);
            ends.wait().unwrap();
            spend_millis(50);
            count(&path);
        };
        let process = Process::spawn(orderly, path.clone()).unwrap();
        wait_for(|| counted(&path) == 1);
        drop(process);
        assert_eq!(counted(&path), 2);
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_process_that_has_ended_is_not_alive_whether_or_not_its_stopped_server_has_said_so() {
    alone(|| {
        let process = sleeps();
        // A process that has just started has its server's name.
        let server = processes::Process::of(process.pid()).unwrap().parent;
        send(server, Signal::SIGSTOP);
        process.kill().unwrap();
        assert_eq!(
            ready(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE),
            [true]
        );
        assert!(!process.is_alive());
        assert_eq!(active_processes(), []);
        assert_eq!(process.exit_reason(), Some(ExitReason::Signal(9)));
    });
}

#[test]
fn a_process_dies_with_its_fork_server_even_if_its_host_is_stopped() {
    let host = || {
        let process = sleeps();
        say(&process.pid().to_string());
        // It is stopped, and continued.
        let _ = process.join();
    };
    against_host(host, |runner| {
        let pid = runner.hear().unwrap().parse().unwrap();
        // Only after it has requested to die with its server.
        wait_for(|| processes::Process::of(pid).unwrap().name.contains("proc"));
        runner.send(Signal::SIGSTOP);
        let server = runner.processes().into_iter().find(processes::Process::is_server);
        send(server.unwrap().pid, Signal::SIGKILL);
        wait_for(|| processes::Process::of(pid).is_none_or(|process| process.state == 'Z'));
        runner.send(Signal::SIGCONT);
        assert!(runner.end().success());
    });
}

#[test]
fn a_stopped_process_is_alive_until_it_is_killed() {
    alone(|| {
        let process = Process::builder().grace(Duration::from_millis(50));
        let process = process.spawn(|()| raise(Signal::SIGSTOP), ()).unwrap();
        wait_for(|| processes::Process::of(process.pid()).unwrap().state == 'T');
        assert!(process.is_alive());
        assert!(matches!(process.wait_timeout(Duration::ZERO), Err(Error::TimedOut { .. })));
        // SIGTERM does not end it; the drop does.
        process.terminate().unwrap();
        drop(process);
    });
}

#[test]
fn a_signal_handler_of_the_host_that_runs_during_a_join_does_not_end_it() {
    extern "C" fn note(_: i32) {}
    alone(|| {
        let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { signal::sigaction(Signal::SIGUSR1, &action) }.unwrap();
        let pid = std::process::id();
        let signals = move |pid: u32| {
            for _ in 0..20 {
                send(pid, Signal::SIGUSR1);
                spend_millis(1);
            }
            9
        };
        assert_eq!(Process::spawn(signals, pid).unwrap().join().unwrap(), 9);
    });
}
