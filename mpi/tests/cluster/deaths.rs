//! Ranks that die, leave, or do not fit together.

use std::io::Write;
use std::time::Duration;

use brigade::Pool;
use brigade_mpi::{Cluster, Error};

use crate::Test;
use crate::job::{Job, launcher};

pub(crate) const TESTS: &[Test] = &[
    ("another_executable_is_refused_on_every_rank", other_executable, refused),
    ("the_death_of_a_rank_ends_the_job", rank_dies, dies),
    ("a_rank_that_leaves_early_ends_the_job", leaves_early, leaves),
    ("a_rank_that_leaves_before_a_long_message_ends_the_job", leaving, leaves_first),
    ("a_rank_that_panics_ends_the_job", panicking, panics),
    ("sigterm_ends_the_job_on_all_ranks", terminated, endless),
    ("a_rank_that_is_stopped_delays_the_job_only", stopped, endless_until_told),
    (
        "a_pool_that_cannot_be_made_is_an_error_on_every_rank",
        || drop(Job::new(3).succeed()),
        no_pool,
    ),
    ("a_rank_bound_to_fewer_processors_is_warned_about", bound, warns),
];

fn cluster() -> Cluster {
    Cluster::new(Pool::builder().workers(2)).unwrap()
}

fn other_executable() {
    let own = std::env::current_exe().unwrap();
    let copy = std::env::temp_dir().join(format!("brigade-mpi-{}", std::process::id()));
    std::fs::copy(&own, &copy).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&copy).unwrap();
    file.write_all(b"x").unwrap();
    drop(file);
    let job = Job::of(&[(2, &own), (1, &copy)]).run();
    std::fs::remove_file(&copy).unwrap();
    assert!(job.status.success(), "{}", job.stderr);
    assert_eq!(job.stdout.matches("refused: rank 2 on").count(), 3, "{}", job.stdout);
}

fn refused() {
    match Cluster::new(Pool::builder().workers(1)) {
        Err(error @ Error::DifferentExecutable { rank: 2, .. }) => println!("refused: {error}"),
        other => panic!("{other:?}"),
    }
}

fn rank_dies() {
    for ranks in [2, 4] {
        let job = Job::new(ranks).run();
        // Open MPI names the rank; Hydra only the node and the process.
        match launcher() {
            Some(true) => job.expect_failure(&["rank 1", "on node"]),
            _ => job.expect_failure(&["BAD TERMINATION"]),
        }
    }
}

fn dies() {
    let cluster = cluster();
    if cluster.rank() == 1 {
        // SAFETY: a plain system call.
        unsafe { libc::raise(libc::SIGKILL) };
    }
    drop(cluster.map(0..1000u64, |n| n));
}

fn leaves_early() {
    Job::new(3).run().expect_failure(&["waits for rank 1 on", "has left the cluster"]);
}

fn leaves() {
    let cluster = cluster();
    if cluster.rank() != 1 {
        drop(cluster.map(0..1000u64, |n| n));
    }
}

fn leaving() {
    Job::new(2).run().expect_failure(&["waits for rank 0 on", "has left the cluster"]);
}

/// The message is too long to be buffered, so sending it takes a receiver.
fn leaves_first() {
    let cluster = cluster();
    if cluster.rank() == 1 {
        drop(cluster.all_gather(vec![0u8; 1 << 20]));
    }
}

fn panicking() {
    Job::new(3).run().expect_failure(&["rank 1 on", "has panicked"]);
}

fn panics() {
    let cluster = cluster();
    assert_ne!(cluster.rank(), 1, "the panic of the test");
    drop(cluster.map(0..1000u64, |n| n));
}

/// The path of a file by which the ranks of a case and its test speak.
fn signal_file() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("brigade-mpi-signal-{}", std::process::id()))
}

const SIGNAL: &str = "BRIGADE_MPI_SIGNAL";

fn wait_for(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn terminated() {
    let path = signal_file();
    let mut job = Job::new(3).env(SIGNAL, path.display()).start();
    job.wait_for(|| path.exists());
    // SAFETY: a plain system call.
    unsafe { libc::kill(job.pid(), libc::SIGTERM) };
    let ended = job.wait();
    std::fs::remove_file(&path).unwrap();
    assert!(!ended.status.success());
}

fn endless() {
    let cluster = cluster();
    let path = std::env::var(SIGNAL).unwrap();
    for done in cluster.imap_unordered(0.., |n: u64| n).unwrap() {
        if done.position == 100 {
            std::fs::write(&path, "").unwrap();
        }
    }
}

fn stopped() {
    let path = signal_file();
    let mut job = Job::new(3).env(SIGNAL, path.display()).start();
    let pid = || std::fs::read_to_string(&path).ok()?.trim().parse::<i32>().ok();
    job.wait_for(|| pid().is_some());
    let rank = pid().unwrap();
    // SAFETY: a plain system call.
    unsafe { libc::kill(rank, libc::SIGSTOP) };
    // Many times longer than what a rank waits for one that has left.
    std::thread::sleep(Duration::from_secs(10));
    // SAFETY: as above.
    unsafe { libc::kill(rank, libc::SIGCONT) };
    std::fs::remove_file(&path).unwrap();
    let ended = job.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
}

/// Runs until its file is gone.
fn endless_until_told() {
    let cluster = cluster();
    let path = std::path::PathBuf::from(std::env::var(SIGNAL).unwrap());
    if cluster.rank() == 1 {
        // Renamed into place, so that it is never read half written.
        let draft = path.with_extension("draft");
        std::fs::write(&draft, format!("{}\n", std::process::id())).unwrap();
        std::fs::rename(&draft, &path).unwrap();
    }
    if cluster.rank() == 0 {
        wait_for(|| path.exists());
    }
    let items = (0u64..).take_while(|_| path.exists());
    for done in cluster.imap_unordered(items, |n| n).unwrap() {
        done.result.unwrap();
    }
}

fn no_pool() {
    // Rank 1 asks for what there is not.
    let is_bad = std::env::var("OMPI_COMM_WORLD_RANK").or_else(|_| std::env::var("PMI_RANK"));
    let workers = if is_bad.as_deref() == Ok("1") { 0 } else { 1 };
    match Cluster::new(Pool::builder().workers(workers)) {
        Err(Error::Brigade(error)) if workers == 0 => {
            assert!(error.to_string().contains("workers"))
        }
        Err(Error::RankFailed { rank: 1, message, .. }) => assert!(message.contains("workers")),
        other => panic!("{other:?}"),
    }
}

fn bound() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return;
    }
    let job = Job::new(1).run();
    assert!(job.status.success(), "{}", job.stderr);
    assert_eq!(job.stderr.matches("--bind-to none").count(), 1, "{}", job.stderr);
}

fn warns() {
    // As a launcher would bind it.
    // SAFETY: an all-zero set is valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live local.
    unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    // SAFETY: the set is a live local.
    let first = (0..1024).find(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).unwrap();
    // SAFETY: as above.
    set = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(first, &mut set) };
    // SAFETY: the pointer is to a live local.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    let cluster = Cluster::new(Pool::builder()).unwrap();
    assert!(cluster.binding_warning().is_some());
    assert_eq!(cluster.workers(), [1]);
}
