//! Functions over many items.

use std::collections::BTreeSet;

use brigade::{ExitReason, Pool, Start};
use brigade_mpi::{Cluster, Error, Failure};

use crate::Test;
use crate::job::Job;

pub(crate) const TESTS: &[Test] = &[
    ("every_rank_runs_items_and_results_are_in_order", || each(1..=4), in_order),
    (
        "no_variable_of_a_launcher_reaches_a_worker",
        || drop(Job::new(2).env(CHOSEN, "no").succeed()),
        environment,
    ),
    ("a_task_that_crashes_is_an_error_with_rank_node_and_cause", || each(1..=3), crashes),
    ("messages_travel_in_pieces", pieces, travel),
    ("an_iterator_that_is_dropped_early_leaves_nothing_behind", || each(2..=3), dropped),
    ("ranks_without_processes_work", || each(2..=2), in_process),
    ("items_that_cannot_travel_are_errors_of_their_own", || each(2..=2), untransportable),
    ("values_that_cannot_travel_leave_all_gather_in_step", || each(1..=3), out_of_step),
    ("ranks_get_items_while_results_are_taken_slowly", || each(1..=2), taken_slowly),
    ("an_exhausted_iterator_releases_the_ranks", || each(1..=3), exhausted),
    ("a_slow_iterator_does_not_delay_what_it_gave", || each(1..=2), slow),
    ("items_that_cannot_be_encoded_are_errors_at_once", || each(1..=2), unencodable),
    ("a_panic_of_the_items_ends_the_job", items_panicking, items_panic),
    ("large_items_travel_in_small_batches", || each(2..=2), large),
    ("a_worker_killed_while_it_runs_costs_its_item_only", || each(2..=2), killed_workers),
    ("long_items_travel_between_short_ones", long, long_items),
    ("an_item_without_memory_is_an_error_with_rank_and_node", || each(2..=2), no_memory),
    ("a_task_without_memory_is_an_error_with_rank_and_node", || each(2..=2), task_memory),
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

/// A variable that the program sets for its workers.
const CHOSEN: &str = "SLURM_CHOSEN";

/// The name of a variable that a launcher set, in what a worker sees.
fn launcher_variable((): ()) -> Option<String> {
    let is_launcher = |name: &str| {
        let prefixes = ["OMPI_", "PMIX_", "PMI_", "SLURM_", "ORTE_", "PRTE_", "HYDI_", "MPIR_"];
        name != CHOSEN && prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    let exec = String::from_utf8_lossy(&std::fs::read("/proc/self/environ").unwrap()).into_owned();
    let own = std::env::vars().map(|(name, _)| name);
    own.chain(exec.split('\0').map(str::to_owned)).find(|name| is_launcher(name))
}

fn environment() {
    let cluster = Cluster::new(Pool::builder().workers(2).env(CHOSEN, "yes")).unwrap();
    assert!(std::env::var_os("SLURM_PROBE").is_some() && std::env::var_os(CHOSEN).is_some());
    let chosen = cluster.pool().submit(|()| std::env::var(CHOSEN).ok(), ()).unwrap();
    assert_eq!(chosen.join().unwrap().as_deref(), Some("yes"));
    assert_eq!(cluster.pool().submit(launcher_variable, ()).unwrap().join().unwrap(), None);
}

fn crashes() {
    let cluster = cluster();
    let results = cluster.map(0..40u32, |n| match n % 10 {
        3 => std::process::abort(),
        6 => panic!("no {n}"),
        _ => n,
    });
    let results = results.unwrap();
    let failed = results.iter().filter(|result| result.is_err()).count();
    let expected = if cluster.rank() == 0 { (40, 8) } else { (0, 0) };
    assert_eq!((results.len(), failed), expected);
    for (position, result) in results.into_iter().enumerate() {
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
    let failures = |count: usize, messages: Vec<String>| {
        assert_eq!(messages.len(), if cluster.rank() == 0 { count } else { 0 });
        assert!(messages.iter().all(|message| message.contains("decoded")), "{messages:?}");
    };
    let items = cluster.map([OneWay(1), OneWay(2)], |item| item.0).unwrap();
    failures(2, items.into_iter().map(|result| result.unwrap_err().message).collect());
    let results = cluster.map(0..4u8, OneWay).unwrap();
    failures(4, results.into_iter().map(|result| result.unwrap_err().message).collect());
}

/// Values that do not encode on one rank, or decode on any, are errors on all of them; the next
/// call has its own values.
fn out_of_step() {
    let cluster = cluster();
    let last = cluster.size() - 1;
    let decoded = cluster.all_gather(OneWay(7)).err().unwrap().to_string();
    assert!(decoded.contains("could not be decoded"), "{decoded}");
    match cluster.all_gather(Stuck(cluster.rank() == last)) {
        Err(Error::Codec { action: "encoded", .. }) if cluster.rank() == last => {}
        Err(Error::RankFailed { rank, message, .. }) => {
            assert_eq!(rank, last);
            assert!(message.contains("could not be encoded"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let ranks = cluster.all_gather(cluster.rank()).unwrap();
    assert_eq!(ranks, (0..cluster.size()).collect::<Vec<_>>());
}

/// The caller takes much longer for a result than its item. If ranks got items only when all
/// results are taken, they would have some 200 when a hundred are.
fn taken_slowly() {
    let cluster = cluster();
    let given = std::cell::Cell::new(0);
    let items = (0u64..).inspect(|_| given.set(given.get() + 1));
    let mut results = cluster.imap_unordered(items, |n| n).unwrap();
    for _ in 0..100 {
        let Some(done) = results.next() else { break };
        assert_eq!(done.result, Ok(done.position as u64));
        if given.get() >= 1000 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(cluster.rank() > 0 || given.get() >= 1000, "{}", given.get());
}

fn exhausted() {
    let cluster = cluster();
    let mut results = cluster.imap_unordered(0..30u64, |n| n).unwrap();
    let mut count = 0;
    for done in results.by_ref() {
        assert_eq!(done.result, Ok(done.position as u64));
        if count == 0 {
            // The other ranks are in the farm, so this call is refused without them.
            assert!(matches!(cluster.all_gather(0), Err(Error::InvalidArgument { .. })));
            let refused = cluster.factorial(3).err();
            assert!(matches!(refused, Some(Error::InvalidArgument { .. })));
        }
        count += 1;
    }
    assert_eq!(cluster.all_gather(count).unwrap()[0], 30);
    assert!(results.next().is_none() && results.next().is_none());
    assert_eq!(cluster.all_gather(count).unwrap().len(), cluster.size());
}

/// The second item is there when the first has run. The first takes longer than the items that
/// it gave may wait.
fn slow() {
    let cluster = cluster();
    let path = std::env::temp_dir().join(format!("brigade-mpi-slow-{}", std::process::id()));
    let text = path.to_str().unwrap().to_owned();
    let items = (0..8).map(|n| {
        if n == 0 {
            std::thread::sleep(std::time::Duration::from_millis(25));
            return text.clone();
        }
        while !path.exists() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        String::new()
    });
    let write = |path: String| path.is_empty() || std::fs::write(path, "").is_ok();
    let written = values(cluster.map(items, write).unwrap());
    if cluster.rank() == 0 {
        std::fs::remove_file(&path).unwrap();
        assert_eq!(written, [true; 8]);
    }
}

/// Does not encode if it is true.
#[derive(Debug, serde::Deserialize)]
struct Stuck(bool);

impl serde::Serialize for Stuck {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0 { Err(serde::ser::Error::custom("stuck")) } else { to.serialize_bool(false) }
    }
}

fn unencodable() {
    let cluster = cluster();
    let mut results =
        cluster.imap_unordered(std::iter::repeat_with(|| Stuck(true)), |_| ()).unwrap();
    if cluster.rank() == 0 {
        for position in 0..3 {
            let done = results.next().unwrap();
            assert_eq!(done.position, position);
            assert!(done.result.unwrap_err().message.contains("encoded"));
        }
    }
    drop(results);
    assert_eq!(cluster.all_gather(()).unwrap().len(), cluster.size());
}

fn items_panicking() {
    Job::new(2).run().expect_failure(&["rank 0 on", "has panicked in a call of map"]);
}

fn items_panic() {
    let cluster = cluster();
    let items = (0..100u32).inspect(|n| assert!(*n < 50, "the panic of the test"));
    let call = std::panic::AssertUnwindSafe(|| cluster.map(items, |n| n).map(|_| ()));
    let _ = std::panic::catch_unwind(call);
    drop(cluster.all_gather(()));
}

fn large() {
    let cluster = cluster();
    // Two batches for each rank, each cut after its first item.
    let taken = std::cell::Cell::new(0);
    let items = (0..40).map(|_| {
        taken.set(taken.get() + 1);
        vec![7u8; 4 << 20]
    });
    let mut results = cluster.imap_unordered(items, |bytes: Vec<u8>| bytes.len()).unwrap();
    if let Some(done) = results.next() {
        assert_eq!(done.result, Ok(4 << 20));
        assert!(taken.get() <= 2 * cluster.size(), "{} were taken", taken.get());
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

fn long() {
    each(1..=2);
    Job::new(3).env("BRIGADE_MPI_PIECE_BYTES", 100_000).succeed();
}

/// Items on both sides of the length from which they travel by themselves, in one batch and
/// without processes too.
fn long_items() {
    let len = |n: usize| if n.is_multiple_of(3) { (256 << 10) - 6 + n % 12 } else { 10 * n };
    let text = |n: usize| -> String {
        (0..len(n)).map(|i| char::from(b'a' + u8::try_from((i * n + n) % 26).unwrap())).collect()
    };
    let hash = |text: String| text.bytes().fold(7u64, |h, b| (h ^ u64::from(b)).wrapping_mul(31));
    let cluster = cluster();
    let results = values(cluster.map((0..60).map(text), hash).unwrap());
    let expected: Vec<u64> = (0..60).map(|n| hash(text(n))).collect();
    assert_eq!(results, if cluster.rank() == 0 { expected } else { Vec::new() });
}

/// Rank 1 has no memory for long items. They are errors, and what follows them runs.
fn no_memory() {
    let cluster = cluster();
    if cluster.rank() == 1 {
        brigade::set_memory_limit(0);
    }
    let items = (0..12).map(|n| "x".repeat(if n % 2 == 0 { 6 << 20 } else { n }));
    let results = cluster.map(items, |text: String| text.len()).unwrap();
    let mut failures = 0;
    for (n, result) in results.into_iter().enumerate() {
        let Err(failure) = result else { continue };
        failures += 1;
        assert!(n.is_multiple_of(2) && failure.rank == 1, "{failure}");
        assert_eq!(failure.host, cluster.hosts()[1]);
        assert!(failure.message.contains("the cap set by the program"), "{failure}");
    }
    assert!(failures > 0 || cluster.rank() > 0);
    assert_eq!(cluster.all_gather(()).unwrap().len(), 2);
}

/// Workers may have 256 MiB, and two tasks ask for more.
fn task_memory() {
    let cluster = Cluster::new(Pool::builder().workers(2).memory_hard_bytes(256 << 20)).unwrap();
    let ask =
        |n: usize| if n % 10 == 3 { std::hint::black_box(vec![1u8; 512 << 20]).len() } else { n };
    for (n, result) in cluster.map(0..20, ask).unwrap().into_iter().enumerate() {
        match result {
            Ok(value) => assert_eq!((value, n % 10 == 3), (n, false)),
            Err(failure) => {
                assert!(n % 10 == 3 && failure.host == cluster.hosts()[failure.rank]);
                assert_eq!(failure.death.unwrap().reason, ExitReason::Signal(libc::SIGABRT));
            }
        }
    }
}
