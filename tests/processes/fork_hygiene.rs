//! What processes share across a fork.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use brigade::shared::{Barrier, Lock, RwLock, Value};
use brigade::{Error, Frozen, OwnedChunk, Pool, Process, SharedArray};
use crate::common::time::wait_for;
use crate::common::alone::{alone, own_processes, progress};
use crate::common::forks::in_a_fork;

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
        let path = std::env::temp_dir().join(crate::common::unique("buffered"));
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
        // Each is run by a different worker.
        let met = Barrier::new(4).unwrap();
        let draws = |met: Barrier| {
            met.wait().unwrap();
            let first = std::hash::RandomState::new().build_hasher().finish();
            (std::process::id(), first)
        };
        let drawn: Vec<_> = (0..4).map(|_| pool.submit(draws, met.clone()).unwrap()).collect();
        let drawn: Vec<_> = drawn.into_iter().map(|handle| handle.join().unwrap()).collect();
        let pids: BTreeSet<_> = drawn.iter().map(|drawn| drawn.0).collect();
        let firsts: BTreeSet<_> = drawn.iter().map(|drawn| drawn.1).collect();
        assert_eq!((pids.len(), firsts.len()), (4, 4), "{drawn:?}");
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
        // Its socket, the list of its children, and the pidfds of the host and of four workers.
        // Descriptors that came with an order are closed after the fork, while the child already
        // runs.
        wait_for(|| own_processes().iter().all(|p| !p.is_server() || open(p.pid).len() == 7));
        for process in own_processes() {
            let mut open = open(process.pid);
            open.sort();
            assert!(!open.iter().any(|target| target == "/dev/zero"), "{process:?} {open:?}");
            if !process.is_server() {
                let count = open.iter().filter(|target| *target == "socket").count();
                // Its socket, the doorbell, and the directory in which each task begins.
                assert_eq!((open.len(), count), (3, 1), "{open:?}");
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
        // The server keeps the limit with which it starts, and has a descriptor for each worker.
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
        // SAFETY: the descriptor is restored before it is used.
        unsafe { libc::close(0) };
        let pool = two();
        let reads = |()| std::io::read_to_string(std::io::stdin()).unwrap().len();
        assert_eq!(pool.submit(reads, ()).unwrap().join().unwrap(), 0);
        pool.shutdown().unwrap();
        // A descriptor of this test had this number, and a thread that is ending may still hold it.
        // SAFETY: F_GETFD reads a flag of a descriptor number and takes no pointer.
        crate::common::time::wait_for(|| unsafe { libc::fcntl(0, libc::F_GETFD) } == -1);
        nix::unistd::dup2_stdin(saved).unwrap();
    });
}

// They accessed memory that the child has not mapped, and killed the host's workers.
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
        crate::common::time::wait_for(|| done.is_finished());
        let before: BTreeSet<_> = own_processes().iter().map(|process| process.pid).collect();
        in_a_fork(|| {
            assert!(matches!(pool.submit(|n: u8| n, 9), Err(Error::Closed { .. })));
            assert!(matches!(running.kill(Duration::ZERO), Err(Error::Closed { .. })));
            assert!(!running.cancel());
            assert!(running.is_finished());
            let waited = running.join_timeout(Duration::from_secs(1));
            assert!(matches!(waited, Err(Error::Closed { .. })));
            // SAFETY: the copy belongs to the child, and the parent's value is not used.
            drop(unsafe { std::ptr::read(&raw const running) });
            assert_eq!(pool.stats().workers, 0);
            // A loop accessed its blocks in the arena.
            let run = pool.par_chunks(&array, 2).for_each(|_| ());
            assert!(matches!(run, Err(Error::Closed { .. })), "{run:?}");
            assert!(is_refused(|| pool.matmul(&array, &array).map(drop)));
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
                    // SAFETY: the copy belongs to the child, and the parent's value is not used.
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

// It waited for locks that threads of its parent held, including locks of the standard library.
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
            let copy = std::env::temp_dir().join(crate::common::unique("exe"));
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

/// Whether `body` panics with a message for programs that fork by hand.
fn is_refused<R>(body: impl FnOnce() -> R) -> bool {
    let refused = catch_unwind(AssertUnwindSafe(body)).map(drop).unwrap_err();
    let text = refused.downcast_ref::<String>().cloned();
    let text = text.or_else(|| refused.downcast_ref::<&str>().map(ToString::to_string));
    assert!(text.as_ref().is_some_and(|text| text.contains("forked")), "{text:?}");
    true
}

/// As [`in_a_fork`], by the system call alone, so that nothing else runs in the child.
fn in_a_clone(child: impl FnOnce()) {
    // SAFETY: a fork, without a stack or ids; the child allocates little, and only one thread of
    // the calling process runs.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        0 => {
            let done = catch_unwind(AssertUnwindSafe(child)).is_ok();
            // SAFETY: `_exit` takes any number and does not return.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        pid => {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
            let status = nix::sys::wait::waitpid(pid, None).unwrap();
            assert_eq!(status, nix::sys::wait::WaitStatus::Exited(pid, 0));
        }
    }
}

// Class of bug: memory that a child does not inherit is accessed through a handle that it does
// inherit. That faulted, or reached something that the child had mapped there since.
#[test]
fn arrays_chunks_and_guards_are_refused_in_a_child_that_the_host_forks() {
    alone(|| {
        let array = || SharedArray::from_slice(&[5u64, 6, 7, 8]).unwrap();
        let (mut written, other, frozen) = (array(), array(), array().freeze());
        let mut chunks = array().into_chunks(2).unwrap();
        let (lock, shared) = (Lock::new(1u32).unwrap(), RwLock::new(2u32).unwrap());
        let (mut guard, reading) = (lock.lock().unwrap(), shared.read().unwrap());
        let path = std::env::temp_dir().join(crate::common::unique("refused"));
        let mut child = || {
            assert!(is_refused(|| written.as_slice().len()));
            assert!(is_refused(|| written.as_mut_slice().fill(9)));
            assert!(is_refused(|| written[[1]]) && is_refused(|| written[[1]] = 9));
            assert!(is_refused(|| written.get([1]).copied()) && is_refused(|| written == other));
            assert!(is_refused(|| frozen.as_slice()[0]) && is_refused(|| frozen.get([0]).copied()));
            assert!(is_refused(|| chunks[0].as_slice()[0]));
            assert!(is_refused(|| chunks[1].as_mut_slice().fill(9)) && chunks[1].is_moved());
            assert!(is_refused(|| *guard) && is_refused(|| *guard = 9) && is_refused(|| *reading));
            assert!(matches!(written.to_npy(&path), Err(Error::Closed { .. })) && !path.exists());
            assert!(matches!(frozen.clone().thaw(), Err(Error::Closed { .. })));
            assert_eq!(
                (written.len(), frozen.shape().dims(), chunks[1].offset()),
                (4, &[4][..], 2)
            );
            // Its own arrays work as usual.
            assert_eq!(array().as_slice(), [5, 6, 7, 8]);
        };
        in_a_fork(&mut child);
        in_a_clone(&mut child);
        assert_eq!((written.as_slice(), frozen.as_slice()), (other.as_slice(), other.as_slice()));
        assert_eq!(SharedArray::from_chunks(chunks).unwrap(), other);
        assert_eq!((*guard, *reading), (1, 2));
    });
}

// A slice that was borrowed before the fork aliased a vector of the child.
#[test]
fn a_child_that_the_host_forks_is_given_nothing_at_the_addresses_of_arrays() {
    alone(|| {
        let array = SharedArray::<u8>::zeroed([3 << 20]).unwrap();
        let pool = two();
        let start = array.as_slice().as_ptr();
        let child = || {
            let (access, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            for offset in [0, 1 << 20, 2 << 20] {
                let wish = start.wrapping_add(offset).cast_mut().cast();
                // SAFETY: a new mapping, which replaces nothing: the address is only a hint.
                let got = unsafe { libc::mmap(wish, 4096, access, flags, -1, 0) };
                assert_ne!(got, wish);
            }
        };
        in_a_fork(child);
        in_a_fork(|| in_a_fork(child));
        drop((array, pool));
        // The addresses belong to the kernel again.
        let maps = || fs::read_to_string("/proc/self/maps").unwrap();
        wait_for(|| !maps().contains("brigade-arena"));
        in_a_fork(|| assert_eq!(two().submit(|n: u8| n, 9).unwrap().join().unwrap(), 9));
    });
}

// Its panic was written to the worker's memory, and it continued as the worker.
#[test]
fn a_child_that_a_task_forks_has_nothing_of_the_worker() {
    alone(|| {
        let pool = two();
        let frozen = SharedArray::from_slice(&[1u8, 2]).unwrap().freeze();
        let chunk = SharedArray::from_slice(&[3u8]).unwrap().into_chunks(1).unwrap().remove(0);
        let forks = |(frozen, mut chunk): (Frozen<u8>, OwnedChunk<u8>)| {
            in_a_fork(|| {
                assert!(is_refused(|| frozen.as_slice()[0]));
                assert!(is_refused(|| chunk.as_slice()[0]) && chunk.is_moved());
                assert!(!brigade::is_cancelled());
            });
            (frozen.as_slice().to_vec(), chunk.as_slice().to_vec())
        };
        let argument = (frozen, chunk);
        let told = pool.submit(forks, argument).unwrap().join().unwrap();
        assert_eq!(told, (vec![1, 2], vec![3]));
        let returns = |large: bool| {
            // SAFETY: the worker has one thread.
            match unsafe { nix::unistd::fork() }.unwrap() {
                nix::unistd::ForkResult::Child => (vec![0u8; if large { 1 << 20 } else { 1 }], 0),
                nix::unistd::ForkResult::Parent { child } => {
                    let status = nix::sys::wait::waitpid(child, None).unwrap();
                    let nix::sys::wait::WaitStatus::Exited(_, code) = status else {
                        panic!("{status:?}")
                    };
                    (vec![1], code)
                }
            }
        };
        for large in [false, true] {
            assert_eq!(pool.submit(returns, large).unwrap().join().unwrap(), (vec![1], 125));
            assert_eq!(Process::spawn(returns, large).unwrap().join().unwrap(), (vec![1], 125));
        }
        assert_eq!(pool.stats().restarts, 0);
    });
}

// Class of bug: two processes with the same number are taken for the same process. The child freed
// and zeroed its parent's span, unmapped what it had not mapped, and removed its parent's name.
#[test]
fn a_child_with_the_number_of_its_parent_is_another_process() {
    use nix::sched::{CloneFlags, unshare};
    let in_a_namespace = |child: &mut dyn FnMut()| {
        unshare(CloneFlags::CLONE_NEWPID).unwrap();
        in_a_fork(|| {
            assert_eq!(std::process::id(), 1);
            child();
        });
    };
    alone(|| {
        let probe = std::process::Command::new("unshare").args(["-pf", "true"]).output();
        if !probe.as_ref().is_ok_and(|output| output.status.success()) {
            return crate::common::skipped(&format!("no pid namespace may be made here: {probe:?}"));
        }
        let name = crate::common::unique("namesake");
        in_a_fork(|| {
            in_a_namespace(&mut || {
                let array = SharedArray::from_slice(&[7u8; 3 << 20]).unwrap();
                let (lock, value) = (Lock::new(3).unwrap(), Value::new(4).unwrap());
                let named = SharedArray::<u8>::create(&name, [1]).unwrap();
                let guard = lock.lock().unwrap();
                in_a_namespace(&mut || {
                    assert!(is_refused(|| array.as_slice()[0]) && is_refused(|| *guard));
                    assert!(matches!(value.get(), Err(Error::Closed { .. })));
                    // SAFETY: the copy belongs to the child, and the parent's value is not used.
                    drop(unsafe { std::ptr::read(&raw const array) });
                    // SAFETY: as above.
                    drop(unsafe { std::ptr::read(&raw const named) });
                    // SAFETY: as above.
                    drop(unsafe { std::ptr::read(&raw const guard) });
                    let own = SharedArray::<u8>::zeroed([3 << 20]).unwrap();
                    assert!(own.as_slice().iter().all(|&byte| byte == 0));
                });
                assert!(array.as_slice().iter().all(|&byte| byte == 7));
                assert!(lock.is_locked() && value.get().unwrap() == 4);
                assert!(std::path::Path::new("/dev/shm").join(&name).exists());
                drop((guard, named));
            });
        });
    });
}
