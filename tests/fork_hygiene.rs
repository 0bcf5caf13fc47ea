//! What processes have of each other across a fork.
#![allow(unsafe_code)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use brigade::{Error, Pool, Process, SharedArray};
use common::alone::{alone, own_processes, progress};
use common::forks::in_a_fork;
use common::processes::wait_for;

fn two() -> Pool {
    Pool::builder().workers(2).build().unwrap()
}

#[test]
fn a_host_with_busy_threads_and_held_locks_has_pools_like_any_other() {
    alone(|| {
        static OVER: AtomicBool = AtomicBool::new(false);
        static LOCK: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        let _out = std::io::stderr().lock();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                thread::spawn(|| {
                    while !OVER.load(Ordering::Relaxed) {
                        let mut held = LOCK.lock().unwrap();
                        *held = vec![1; 100_000];
                    }
                })
            })
            .collect();
        for _ in 0..5 {
            let pool = two();
            let locks = |()| LOCK.lock().unwrap().len();
            assert_eq!(pool.submit(locks, ()).unwrap().join().unwrap(), 0);
            let prints = |()| write!(std::io::stderr(), "").is_ok();
            assert!(pool.submit(prints, ()).unwrap().join().unwrap());
        }
        OVER.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn what_the_host_has_not_flushed_is_not_written_by_others() {
    alone(|| {
        let path = std::env::temp_dir().join(common::unique("buffered"));
        let mut file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
        file.write_all(b"once").unwrap();
        let pool = two();
        let exits = |()| std::process::exit(0);
        let handle: brigade::Handle<()> = pool.submit(exits, ()).unwrap();
        handle.join().unwrap_err();
        pool.shutdown().unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"once");
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn workers_do_not_share_their_random_numbers() {
    alone(|| {
        use std::hash::{BuildHasher, Hasher};
        let pool = Pool::builder().workers(4).build().unwrap();
        let draws = |()| {
            thread::park_timeout(Duration::from_millis(20));
            let first = std::hash::RandomState::new().build_hasher().finish();
            (std::process::id(), first)
        };
        let drawn: Vec<_> = (0..4).map(|_| pool.submit(draws, ()).unwrap()).collect();
        let drawn: Vec<_> = drawn.into_iter().map(|handle| handle.join().unwrap()).collect();
        let pids: BTreeSet<_> = drawn.iter().map(|drawn| drawn.0).collect();
        let firsts: BTreeSet<_> = drawn.iter().map(|drawn| drawn.1).collect();
        assert_eq!(firsts.len(), drawn.len(), "{drawn:?} of {} workers", pids.len());
    });
}

#[test]
fn server_and_workers_have_no_descriptor_of_the_hosts() {
    fn open(pid: u32) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let standard = |name: &str| ["0", "1", "2"].contains(&name);
        entries
            .filter(|entry| !standard(entry.file_name().to_str().unwrap()))
            .map(|entry| fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned())
            .map(|target| target.split(':').next().unwrap().to_owned())
            .collect()
    }
    alone(|| {
        let file = fs::File::open("/dev/zero").unwrap();
        nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))
            .unwrap();
        assert!(file.as_raw_fd() > 2);
        let one = two();
        let other = two();
        other.submit(|()| (), ()).unwrap().join().unwrap();
        one.submit(|()| (), ()).unwrap().join().unwrap();
        // Its socket, the list of its own children, the host's pidfd and four workers'; what an
        // order brought is closed after the fork, while the child runs already.
        wait_for(|| own_processes().iter().all(|p| !p.is_server() || open(p.pid).len() == 7));
        for process in own_processes() {
            let mut open = open(process.pid);
            open.sort();
            assert!(!open.iter().any(|target| target == "/dev/zero"), "{process:?} {open:?}");
            if !process.is_server() {
                let count = open.iter().filter(|target| *target == "socket").count();
                // Its socket and the bell.
                assert_eq!((open.len(), count), (2, 1), "{open:?}");
            }
        }
    });
}

#[test]
fn a_pool_whose_last_worker_cannot_be_forked_is_an_error_and_the_others_are_gone() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    alone(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let used = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        // The server keeps the limit that it starts with, and has a descriptor for each worker.
        setrlimit(Resource::RLIMIT_NOFILE, used + 20, hard).unwrap();
        let one = Pool::builder().workers(1).build().unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        let error = Pool::builder().workers(60).build().map(drop).unwrap_err();
        assert!(matches!(error, Error::Spawn { .. }), "{error}");
        assert_eq!(own_processes().len(), 2, "{:?}", own_processes());
        assert_eq!(one.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}

#[test]
fn a_process_that_a_task_starts_has_standard_descriptors_only() {
    alone(|| {
        let pool = two();
        let lists = |()| {
            let output = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let listed = pool.submit(lists, ()).unwrap().join().unwrap();
        // The last is the directory that is listed.
        assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    });
}

#[test]
fn closed_standard_descriptors_do_not_matter() {
    alone(|| {
        let saved = nix::unistd::dup(std::io::stdin()).unwrap();
        // SAFETY: the descriptor is put back before anybody uses it.
        unsafe { libc::close(0) };
        let pool = two();
        let reads = |()| std::io::read_to_string(std::io::stdin()).unwrap().len();
        assert_eq!(pool.submit(reads, ()).unwrap().join().unwrap(), 0);
        pool.shutdown().unwrap();
        // A descriptor of ours has had the number, and a thread on its way out may still have it.
        // SAFETY: F_GETFD reads a flag of a descriptor number and takes no pointer.
        common::processes::wait_for(|| unsafe { libc::fcntl(0, libc::F_GETFD) } == -1);
        nix::unistd::dup2_stdin(saved).unwrap();
    });
}

// They looked at memory that the child has not mapped, and killed the host's workers.
#[test]
fn pool_and_handles_are_inert_in_a_child_that_the_host_forks() {
    alone(|| {
        let pool = two();
        let endless = |()| loop {
            thread::park();
        };
        let mut running: brigade::Handle<()> = pool.submit(endless, ()).unwrap();
        let done = pool.submit(|n: u8| n, 9).unwrap();
        let array = SharedArray::<f64>::zeroed([300, 300]).unwrap();
        common::processes::wait_for(|| done.is_finished());
        let before: BTreeSet<_> = own_processes().iter().map(|process| process.pid).collect();
        in_a_fork(|| {
            assert!(matches!(pool.submit(|n: u8| n, 9), Err(Error::Closed { .. })));
            assert!(matches!(running.kill(Duration::ZERO), Err(Error::Closed { .. })));
            assert!(!running.cancel());
            assert!(running.is_finished());
            let waited = running.join_timeout(Duration::from_secs(1));
            assert!(matches!(waited, Err(Error::Closed { .. })));
            // SAFETY: the copy is the child's own, and the parent's is not touched.
            drop(unsafe { std::ptr::read(&raw const running) });
            assert_eq!(pool.stats().workers, 0);
            // A loop looked at its blocks in the arena.
            let run = pool.par_chunks(&array, 2).for_each(|_| ());
            assert!(matches!(run, Err(Error::Closed { .. })), "{run:?}");
            assert!(matches!(pool.matmul(&array, &array), Err(Error::Closed { .. })));
            // SAFETY: as above.
            let copy = unsafe { std::ptr::read(&raw const pool) };
            assert!(matches!(copy.shutdown(), Err(Error::Closed { .. })));
        });
        let after: BTreeSet<_> = own_processes().iter().map(|process| process.pid).collect();
        assert_eq!(before, after);
        assert_eq!(done.join().unwrap(), 9);
        running.kill(Duration::ZERO).unwrap();
        running.join().unwrap_err();
        assert_eq!(pool.submit(|n: u8| n, 9).unwrap().join().unwrap(), 9);
    });
}

#[test]
fn a_child_that_the_host_forks_while_its_threads_work_neither_hangs_nor_harms() {
    alone(|| {
        static OVER: AtomicBool = AtomicBool::new(false);
        let pool = two();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !OVER.load(Ordering::Relaxed) {
                        assert_eq!(pool.submit(|n: u8| n, 9).unwrap().join().unwrap(), 9);
                    }
                });
            }
            for _ in 0..100 {
                let handle = pool.submit(|n: u8| n, 9).unwrap();
                in_a_fork(|| {
                    assert!(!handle.cancel());
                    assert!(handle.kill(Duration::ZERO).is_err());
                    // SAFETY: the copy is the child's own, and the parent's is not touched.
                    unsafe {
                        drop(std::ptr::read(&raw const handle));
                    }
                });
                assert_eq!(handle.join().unwrap(), 9);
            }
            OVER.store(true, Ordering::Relaxed);
        });
        assert_eq!(pool.stats().restarts, 0);
    });
}

#[test]
fn a_child_that_the_host_forks_has_pools_of_its_own() {
    alone(|| {
        let pool = two();
        in_a_fork(|| {
            let own = two();
            assert_eq!(own.submit(|n: u8| n, 9).unwrap().join().unwrap(), 9);
            own.shutdown().unwrap();
        });
        assert_eq!(pool.submit(|n: u8| n, 9).unwrap().join().unwrap(), 9);
    });
}

// It waited for locks that threads of its parent held, the standard library's among them.
#[test]
fn a_child_that_is_forked_while_threads_start_pools_has_pools_of_its_own() {
    alone(|| {
        static OVER: AtomicBool = AtomicBool::new(false);
        let until_over = |work: fn()| {
            while !OVER.load(Ordering::Relaxed) {
                work();
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| until_over(|| drop(two())));
            scope.spawn(|| until_over(|| drop(brigade::SharedArray::<u8>::zeroed(10).unwrap())));
            scope.spawn(|| until_over(|| thread::spawn(|| ()).join().unwrap()));
            scope.spawn(|| {
                until_over(|| {
                    Process::spawn(|n: u8| n, 1).unwrap().join().unwrap();
                });
            });
            for _ in 0..100 {
                in_a_fork(|| {
                    let pool = two();
                    assert_eq!(pool.submit(|n: u8| n, 9).unwrap().join().unwrap(), 9);
                    assert_eq!(Process::spawn(|n: u8| n, 8).unwrap().join().unwrap(), 8);
                    let (sender, called) = std::sync::mpsc::channel();
                    let task = pool.submit(|n: u8| n, 7).unwrap();
                    task.then(move |value| sender.send(value.unwrap()).unwrap()).unwrap();
                    assert_eq!(called.recv().unwrap(), 7);
                });
                progress();
            }
            OVER.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_program_whose_file_is_deleted_still_has_pools() {
    const COPY: &str = "BRIGADE_TEST_COPY";
    alone(|| {
        if std::env::var_os(COPY).is_none() {
            let copy = std::env::temp_dir().join(common::unique("exe"));
            fs::copy("/proc/self/exe", &copy).unwrap();
            let arguments: Vec<_> = std::env::args_os().skip(1).collect();
            let status =
                std::process::Command::new(&copy).args(arguments).env(COPY, &copy).status();
            assert!(status.unwrap().success());
            assert!(!copy.exists());
            return;
        }
        fs::remove_file(std::env::var_os(COPY).unwrap()).unwrap();
        assert_eq!(two().submit(|n: u8| n, 9).unwrap().join().unwrap(), 9);
    });
}
