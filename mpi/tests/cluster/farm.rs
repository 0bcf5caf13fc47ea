//! Functions over many items.

use std::collections::BTreeSet;

use brigade::{ExitReason, Pool, Start};
use brigade_mpi::{Cluster, Error, Failure};

use crate::Test;
use crate::job::Job;

pub(crate) const TESTS: &[Test] = &[
    ("every_rank_runs_items_and_results_are_in_order", || each(1..=4), in_order),
    ("no_variable_of_a_launcher_reaches_a_worker", || each(2..=2), environment),
    ("a_task_that_crashes_is_an_error_with_rank_node_and_cause", || each(1..=3), crashes),
    ("messages_travel_in_pieces", pieces, travel),
    ("an_iterator_that_is_dropped_early_leaves_nothing_behind", || each(2..=3), dropped),
    ("ranks_without_processes_work", || each(2..=2), in_process),
    ("items_that_cannot_travel_are_errors_of_their_own", || each(2..=2), untransportable),
    ("a_worker_killed_while_it_runs_costs_its_item_only", || each(2..=2), killed_workers),
];

fn each(ranks: std::ops::RangeInclusive<usize>) {
    for ranks in ranks {
        Job::new(ranks).succeed();
    }
}

fn cluster() -> Cluster {
    Cluster::new(Pool::builder().workers(2)).unwrap()
}

/// The values, if this is rank 0.
fn values<R>(results: Vec<Result<R, Failure>>) -> Vec<R> {
    results.into_iter().map(|result| result.unwrap_or_else(|failure| panic!("{failure}"))).collect()
}

fn in_order() {
    let cluster = cluster();
    let squares = values(cluster.map(0..1000u64, |n| n * n).unwrap());
    let expected: Vec<u64> = (0..1000).map(|n| n * n).collect();
    assert_eq!(squares, if cluster.rank() == 0 { expected } else { Vec::new() });
    // The first batches go to all ranks before any result is awaited.
    let done = cluster.imap_unordered(0..100u64, |n| n).unwrap();
    let (ranks, positions): (BTreeSet<_>, BTreeSet<_>) =
        done.map(|done| (done.rank, done.position)).unzip();
    if cluster.rank() == 0 {
        assert_eq!(ranks, (0..cluster.size()).collect());
        assert_eq!(positions, (0..100).collect());
    }
    assert!(cluster.map(0..0u64, |n| n).unwrap().is_empty());
    // Fewer items than ranks.
    assert_eq!(values(cluster.map([7u64], |n| n).unwrap()).len(), usize::from(cluster.rank() == 0));
}

/// The name of a variable that a launcher set, in what a worker sees.
fn launcher_variable((): ()) -> Option<String> {
    let is_launcher = |name: &str| {
        let prefixes = ["OMPI_", "PMIX_", "PMI_", "SLURM_", "ORTE_", "PRTE_", "HYDI_", "MPIR_"];
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    let exec = String::from_utf8_lossy(&std::fs::read("/proc/self/environ").unwrap()).into_owned();
    let own = std::env::vars().map(|(name, _)| name);
    own.chain(exec.split('\0').map(str::to_owned)).find(|name| is_launcher(name))
}

fn environment() {
    let cluster = cluster();
    assert!(std::env::var_os("SLURM_PROBE").is_some());
    assert_eq!(cluster.pool().submit(launcher_variable, ()).unwrap().join().unwrap(), None);
}

fn crashes() {
    let cluster = cluster();
    let results = cluster.map(0..40u32, |n| match n % 10 {
        3 => std::process::abort(),
        6 => panic!("no {n}"),
        _ => n,
    });
    for (position, result) in results.unwrap().into_iter().enumerate() {
        let number = u32::try_from(position).unwrap();
        let Err(failure) = result else { continue };
        assert_eq!(failure.position, position);
        assert_eq!(failure.host, cluster.hosts()[failure.rank]);
        match number % 10 {
            3 => {
                let death = failure.death.unwrap();
                assert_eq!(death.reason, ExitReason::Signal(libc::SIGABRT));
                assert!(death.task.contains("crashes"), "{}", death.task);
            }
            6 => assert!(
                failure.message.contains(&format!("no {number}")) && failure.death.is_none()
            ),
            _ => panic!("{failure}"),
        }
    }
}

fn pieces() {
    for bytes in [8, 9, 1000] {
        Job::new(3).env("BRIGADE_MPI_PIECE_BYTES", bytes).succeed();
    }
}

fn travel() {
    let cluster = cluster();
    let items = (0..60usize).map(|n| "x".repeat(n * n));
    let texts = values(cluster.map(items, |text: String| text + "y").unwrap());
    for (n, text) in texts.into_iter().enumerate() {
        assert_eq!(text, "x".repeat(n * n) + "y");
    }
}

fn dropped() {
    let cluster = cluster();
    let mut endless = cluster.imap_unordered(0.., |n: u64| n).unwrap();
    if cluster.rank() == 0 {
        let taken: Vec<u64> = endless.by_ref().take(50).map(|done| done.result.unwrap()).collect();
        assert_eq!(taken.len(), 50);
        let second = cluster.imap_unordered(0..1u8, |n| n);
        assert!(matches!(second, Err(Error::InvalidArgument { .. })));
    }
    drop(endless);
    assert_eq!(
        values(cluster.map(0..10u8, |n| n).unwrap()).len(),
        10 * usize::from(cluster.rank() == 0)
    );
}

fn in_process() {
    let cluster = Cluster::new(Pool::builder().start(Start::InProcess)).unwrap();
    let doubled = values(cluster.map(0..20u32, |n| 2 * n).unwrap());
    assert_eq!(doubled.len(), 20 * usize::from(cluster.rank() == 0));
}

/// Encodes, and does not decode.
#[derive(Debug, serde::Serialize)]
struct OneWay(u8);

impl<'de> serde::Deserialize<'de> for OneWay {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<OneWay, D::Error> {
        Err(serde::de::Error::custom("one way"))
    }
}

fn untransportable() {
    let cluster = cluster();
    for result in cluster.map([OneWay(1), OneWay(2)], |item| item.0).unwrap() {
        assert!(result.unwrap_err().message.contains("decoded"));
    }
    for result in cluster.map(0..4u8, OneWay).unwrap() {
        assert!(result.unwrap_err().message.contains("decoded"));
    }
}

fn killed_workers() {
    let cluster = cluster();
    let die = |n: u32| {
        if n.is_multiple_of(50) {
            // SAFETY: a plain system call.
            unsafe { libc::raise(libc::SIGKILL) };
        }
        n
    };
    let results = cluster.map(0..200u32, die).unwrap();
    let died = results.iter().filter(|result| result.is_err()).count();
    assert_eq!(died, 4 * usize::from(cluster.rank() == 0));
}
