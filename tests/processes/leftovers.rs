//! What one task leaves behind for the next.
//!
//! Class of bug: a worker outlives its tasks, and so does what a task did to its process: text in a
//! buffer, an alarm, a mask.

use std::fs;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use brigade::Pool;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::stat::{Mode, umask};

use crate::common::alone::alone;
use crate::common::time::wait_for;

/// Runs `body` with standard output in a file; `body` gets a function that returns its text.
fn with_output_in_a_file(body: impl FnOnce(&dyn Fn() -> String) + std::panic::UnwindSafe) {
    let directory = crate::common::Directory::new();
    let path = directory.0.join("output");
    let saved = io::stdout().as_fd().try_clone_to_owned().unwrap();
    nix::unistd::dup2_stdout(fs::File::create(&path).unwrap()).unwrap();
    let done = std::panic::catch_unwind(|| body(&|| fs::read_to_string(&path).unwrap()));
    nix::unistd::dup2_stdout(saved).unwrap();
    done.unwrap();
}

#[test]
fn what_a_task_prints_is_written_when_its_result_is_there_also_when_it_panics() {
    alone(|| {
        with_output_in_a_file(|text| {
            let pool = crate::common::tasks::with(1).build().unwrap();
            pool.submit(|()| print!("1"), ()).unwrap().join().unwrap();
            assert_eq!(text(), "1");
            let panics = |()| -> () {
                print!("2");
                panic!("out of bread");
            };
            pool.submit(panics, ()).unwrap().join().unwrap_err();
            assert_eq!(text(), "12");
            // SAFETY: a C string without format specifiers.
            let prints_by_c = |()| unsafe { libc::printf(c"3".as_ptr()) };
            assert_eq!(pool.submit(prints_by_c, ()).unwrap().join().unwrap(), 1);
            assert_eq!(text(), "123");
            // With threads it may take a little longer.
            let threads = |()| thread::spawn(|| print!("4")).join().unwrap();
            pool.submit(threads, ()).unwrap().join().unwrap();
            wait_for(|| text() == "1234");
            let begins = |()| {
                print!("5");
                Ok(())
            };
            let pool = crate::common::tasks::with(1).initializer(begins, ()).build().unwrap();
            pool.submit(|()| (), ()).unwrap().join().unwrap();
            assert_eq!(text(), "12345");
        });
    });
}

#[test]
fn standard_output_that_a_thread_never_unlocks_holds_up_no_task() {
    alone(|| {
        with_output_in_a_file(|_| {
            fn lives(_: ()) {
                let (sender, receiver) = std::sync::mpsc::channel();
                thread::spawn(move || {
                    let _lock = io::stdout().lock();
                    sender.send(()).unwrap();
                    crate::common::tasks::forever();
                });
                receiver.recv().unwrap();
            }
            fn has_ended(_: ()) {
                thread::spawn(|| mem::forget(io::stdout().lock())).join().unwrap();
            }
            let goes_on = |pool: &Pool| {
                for n in 0..100 {
                    assert_eq!(pool.submit(|n: u32| n, n).unwrap().join().unwrap(), n);
                }
            };
            let pool = crate::common::tasks::with(1).build().unwrap();
            pool.submit(lives, ()).unwrap().join().unwrap();
            goes_on(&pool);
            let pool = crate::common::tasks::with(1).build().unwrap();
            pool.submit(has_ended, ()).unwrap().join().unwrap();
            goes_on(&pool);
        });
    });
}

const TIMERS: [i32; 3] = [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF];

/// The timers, blocked signals, umask and directory of this process.
fn state() -> (usize, Vec<i32>, u32, PathBuf) {
    let is_set = |&timer: &i32| {
        // SAFETY: a plain C struct, for which all-zero bytes are valid.
        let mut found: libc::itimerval = unsafe { mem::zeroed() };
        // SAFETY: the pointer is to a live local.
        unsafe { libc::getitimer(timer, &raw mut found) };
        found.it_value.tv_sec != 0
    };
    let blocked = SigSet::thread_get_mask().unwrap().iter().map(|signal| signal as i32).collect();
    let mask = umask(Mode::empty());
    umask(mask);
    let directory = std::env::current_dir().unwrap();
    (TIMERS.iter().filter(|timer| is_set(timer)).count(), blocked, mask.bits(), directory)
}

fn set(timer: i32) {
    // SAFETY: a plain C struct, for which all-zero bytes are valid.
    let mut later: libc::itimerval = unsafe { mem::zeroed() };
    later.it_value.tv_sec = 1000;
    // SAFETY: the pointer is to a live local; nothing is written.
    unsafe { libc::setitimer(timer, &raw const later, std::ptr::null_mut()) };
}

fn spoil() {
    set(libc::ITIMER_REAL);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).unwrap();
    umask(Mode::from_bits_truncate(0o777));
    std::env::set_current_dir("/proc").unwrap();
}

#[test]
fn alarms_mask_umask_and_directory_are_put_back_to_what_the_initializer_left() {
    alone(|| {
        let begins = |()| {
            umask(Mode::from_bits_truncate(0o027));
            std::env::set_current_dir("/").unwrap();
            let mut blocked = SigSet::empty();
            blocked.add(nix::sys::signal::Signal::SIGUSR2);
            pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None).unwrap();
            Ok(())
        };
        let pool = crate::common::tasks::with(1).initializer(begins, ()).build().unwrap();
        let expected = (0, vec![libc::SIGUSR2], 0o027, PathBuf::from("/"));
        for _ in 0..100 {
            pool.submit(|()| spoil(), ()).unwrap().join().unwrap();
            assert_eq!(pool.submit(|()| state(), ()).unwrap().join().unwrap(), expected);
            let panics = |()| -> () {
                spoil();
                panic!("out of butter");
            };
            pool.submit(panics, ()).unwrap().join().unwrap_err();
            assert_eq!(pool.submit(|()| state(), ()).unwrap().join().unwrap(), expected);
        }
        // With the next task already waiting, although this one is short.
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let spoils = pool.submit(|()| spoil(), ()).unwrap();
                (spoils, pool.submit(|()| state(), ()).unwrap())
            })
            .collect();
        for (spoils, looks) in tasks {
            spoils.join().unwrap();
            assert_eq!(looks.join().unwrap(), expected);
        }
        let long = |()| {
            spoil();
            TIMERS.into_iter().for_each(set);
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(1) {}
        };
        let tasks: Vec<_> = (0..100)
            .map(|_| (pool.submit(long, ()).unwrap(), pool.submit(|()| state(), ()).unwrap()))
            .collect();
        for (spoils, looks) in tasks {
            spoils.join().unwrap();
            assert_eq!(looks.join().unwrap(), expected);
        }
        assert_eq!(pool.stats().restarts, 0);
    });
}

#[test]
fn an_alarm_that_the_initializer_has_set_goes_on() {
    alone(|| {
        let begins = |()| {
            // SAFETY: a plain call.
            unsafe { libc::alarm(1000) };
            Ok(())
        };
        let pool = crate::common::tasks::with(1).initializer(begins, ()).build().unwrap();
        for _ in 0..10 {
            assert_eq!(pool.submit(|()| state().0, ()).unwrap().join().unwrap(), 1);
        }
    });
}

#[test]
fn a_worker_ends_before_the_dead_that_its_tasks_leave_are_too_many() {
    alone(|| {
        let leaves = |()| {
            // Each ends after its parent, so that it is never waited for.
            let script = "for n in 1 2 3 4 5 6 7 8; do (exec 0<&-; :) & done";
            assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
            std::process::id()
        };
        let pool = crate::common::tasks::with(1).build().unwrap();
        let first = pool.submit(leaves, ()).unwrap().join().unwrap();
        let others = (0..1000).map(|_| pool.submit(leaves, ()).unwrap().join().unwrap());
        assert!(others.into_iter().any(|pid| pid != first), "it keeps 8000 of them");
    });
}
