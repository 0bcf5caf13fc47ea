//! Batches over ranks: their journal, and what a rerun does.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade::Pool;
use brigade::batch::{Batch, Interrupt, Key, KeyOutcome};
use brigade_mpi::{Cluster, Error};

use crate::Test;
use crate::job::Job;

pub(crate) const TESTS: &[Test] = &[
    ("a_rerun_after_a_rank_was_killed_does_what_is_left", killed, counts),
    ("keys_that_fail_or_kill_their_worker_are_named_with_their_rank", failing, fails),
    ("a_key_that_lacked_memory_runs_again_alone", lacking, lacks),
    ("a_journal_that_cannot_be_used_is_an_error_on_every_rank", refused, refuses),
    ("an_interrupted_batch_ends_what_runs", interrupted, interrupts),
];

/// The directory of a test, from its variable.
const DIRECTORY: &str = "BRIGADE_MPI_DIRECTORY";

/// Keys of the first test, and those that are done before the rank is killed.
const KEYS: usize = 200;
const FIRST: usize = 60;

fn directory() -> PathBuf {
    let name = format!("brigade-mpi-batch-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir(&path).unwrap();
    path
}

fn cluster() -> Cluster {
    Cluster::new(Pool::builder().workers(2).capture_stderr()).unwrap()
}

/// The directory of the test, in one of its ranks.
fn place() -> PathBuf {
    PathBuf::from(std::env::var(DIRECTORY).unwrap())
}

fn job(ranks: usize, directory: &Path) -> Job {
    Job::new(ranks).env(DIRECTORY, directory.display())
}

fn done(journal: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    let done = text.lines().filter(|line| line.contains("\"outcome\":\"done\""));
    done.map(|line| line.split('"').nth(3).unwrap().to_owned()).collect()
}

/// How often each key has begun to run.
fn runs(directory: &Path) -> BTreeMap<String, usize> {
    let mut runs = BTreeMap::new();
    for key in std::fs::read_to_string(directory.join("runs")).unwrap().lines() {
        *runs.entry(key.to_owned()).or_insert(0) += 1;
    }
    runs
}

fn killed() {
    let directory = directory();
    let journal = directory.join("journal");
    let mut first = job(2, &directory).start();
    // The others wait in their tasks, so exactly these are done.
    first.wait_for(|| done(&journal).len() == FIRST);
    let pid: i32 = std::fs::read_to_string(directory.join("pid")).unwrap().parse().unwrap();
    // SAFETY: a plain system call; the rank belongs to this test's job.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    first.wait().expect_failure(&[]);
    let before = runs(&directory);
    std::fs::write(directory.join("go"), "").unwrap();
    let output = job(2, &directory).succeed();
    let left = KEYS - FIRST;
    assert!(output.contains(&format!("{left} done (")), "{output}");
    assert!(output.contains(&format!("{FIRST} done before, 0 failed")), "{output}");
    assert_eq!(done(&journal).len(), KEYS);
    let after = runs(&directory);
    assert_eq!(after.len(), KEYS);
    for (key, count) in after {
        let again = before.contains_key(&key) && key.parse::<usize>().unwrap() >= FIRST;
        assert_eq!(count, 1 + usize::from(again), "{key}");
    }
    // Those that waited in the workers.
    assert!((1..=4).contains(&(before.len() - FIRST)), "{}", before.len());
    std::fs::remove_dir_all(directory).unwrap();
}

fn counts() {
    let cluster = cluster();
    let directory = place();
    if cluster.rank() == 1 {
        let draft = directory.join("draft");
        std::fs::write(&draft, std::process::id().to_string()).unwrap();
        std::fs::rename(&draft, directory.join("pid")).unwrap();
    }
    cluster.all_gather(()).unwrap();
    let batch = Batch::new(cluster.pool()).journal(directory.join("journal"));
    let keys = (0..KEYS).map(|number| number.to_string());
    let summary = cluster.run_batch(batch, keys, |key: &Key| -> std::io::Result<u64> {
        let directory = place();
        let mut runs =
            std::fs::File::options().append(true).create(true).open(directory.join("runs"))?;
        let number = key.as_str().unwrap();
        runs.write_all(format!("{number}\n").as_bytes())?;
        while number.parse::<usize>().unwrap() >= FIRST && !directory.join("go").exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(1)
    });
    match summary.unwrap() {
        Some(summary) => println!("{summary}"),
        None => assert_eq!(cluster.rank(), 1),
    }
}

fn failing() {
    let directory = directory();
    for ranks in 1..=3 {
        job(ranks, &directory).succeed();
        std::fs::remove_file(directory.join("journal")).unwrap();
    }
    std::fs::remove_dir_all(directory).unwrap();
}

fn fails() {
    let cluster = cluster();
    let run = |retries: bool| {
        let batch = Batch::new(cluster.pool()).journal(place().join("journal"));
        let batch = if retries { batch.retry_failed() } else { batch };
        let keys = ["a", "wrong", "b", "crash", "a", "c"];
        let run = |key: &Key| match key.as_str() {
            Some("wrong") => Err("it is wrong"),
            Some("crash") => std::process::abort(),
            _ => Ok(5),
        };
        cluster.run_batch(batch, keys, run).unwrap()
    };
    for (retries, done, attempts) in [(false, 3, [1, 2]), (false, 0, [1, 2]), (true, 0, [2, 4])] {
        let Some(mut summary) = run(retries) else { continue };
        let skipped = 3 - done;
        assert_eq!((summary.done, summary.skipped, summary.repeated), (done, skipped, 1));
        summary.failed.sort_by_key(|report| report.outcome != KeyOutcome::Failed);
        let [wrong, crash] = &summary.failed[..] else { panic!("{summary}") };
        let (outcome, error) = (wrong.outcome, wrong.error.as_deref());
        assert_eq!((outcome, error), (KeyOutcome::Failed, Some("it is wrong")));
        assert_eq!(crash.outcome, KeyOutcome::Quarantined);
        let error = crash.error.as_deref().unwrap();
        let is_named = (0..cluster.size())
            .any(|rank| error.contains(&format!("on rank {rank} ({})", cluster.hosts()[rank])));
        assert!(is_named && error.contains("SIGABRT"), "{error}");
        assert_eq!([wrong.attempt, crash.attempt], attempts);
    }
}

fn lacking() {
    let directory = directory();
    job(2, &directory).succeed();
    std::fs::remove_dir_all(directory).unwrap();
}

/// The first attempt asks for more memory than its process may have.
fn lacks() {
    let pool = Pool::builder().workers(2).capture_stderr().memory_hard_bytes(256 << 20);
    let cluster = Cluster::new(pool).unwrap();
    let batch = Batch::new(cluster.pool()).journal(place().join("journal"));
    let keys = (0..20).map(|number| number.to_string());
    let summary = cluster.run_batch(batch, keys, |key: &Key| -> std::io::Result<u64> {
        let (directory, is_large) = (place(), key.as_str() == Some("7"));
        if is_large && !directory.join("met").exists() {
            std::fs::write(directory.join("met"), "")?;
            std::hint::black_box(vec![1u8; 512 << 20]);
        }
        Ok(1)
    });
    let Some(summary) = summary.unwrap() else { return };
    assert_eq!((summary.done, summary.failed.len()), (20, 0), "{summary}");
    let text = std::fs::read_to_string(place().join("journal")).unwrap();
    assert_eq!(text.matches("\"outcome\":\"out_of_memory\"").count(), 1, "{text}");
}

fn refused() {
    let directory = directory();
    job(3, &directory).succeed();
    std::fs::remove_dir_all(directory).unwrap();
}

fn refuses() {
    let cluster = cluster();
    let refusal = |batch: Batch<'_>, word: &str| {
        let result = cluster.run_batch(batch, ["a"], |_: &Key| Ok::<u64, String>(0));
        match (cluster.rank(), result) {
            (0, Err(Error::Brigade(error))) => assert!(error.to_string().contains(word), "{error}"),
            (1.., Err(Error::RankFailed { rank: 0, message, .. })) => {
                assert!(message.contains(word), "{message}");
            }
            (_, other) => panic!("{other:?}"),
        }
    };
    let batch = || Batch::new(cluster.pool());
    refusal(batch().journal("/nowhere/journal"), "/nowhere");
    refusal(batch().timeout(Duration::from_secs(1)), "timeout");
    refusal(batch().memory_per_task(1), "memory");
    refusal(batch().journal(place()), "journal");
    assert_eq!(cluster.all_gather(()).unwrap().len(), 3);
}

fn interrupted() {
    let directory = directory();
    job(2, &directory).succeed();
    std::fs::remove_dir_all(directory).unwrap();
}

fn interrupts() {
    let cluster = cluster();
    let interrupt = Interrupt::new();
    let run = |own: &Interrupt| {
        let batch = Batch::new(cluster.pool()).journal(place().join("journal"));
        let keys = (0..1000).map(|number: u32| number.to_string()).inspect(|key| {
            if key == "100" {
                interrupt.request();
            }
        });
        let none = |_: &Key| Ok::<u64, String>(1);
        cluster.run_batch(batch.interrupt(own), keys, none).unwrap()
    };
    if let Some(summary) = run(&interrupt) {
        assert!(summary.is_interrupted && summary.done == 100, "{summary}");
    }
    if let Some(summary) = run(&Interrupt::new()) {
        assert_eq!((summary.done, summary.skipped), (900, 100));
    }
}
