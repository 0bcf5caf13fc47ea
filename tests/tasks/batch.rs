//! Batches: outcomes, journals, reruns, limits.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::Directory;
use crate::common::alone::alone;
use crate::common::tasks::{count, counted, forever, with};
use crate::common::time::{spend_millis, wait_for};
use brigade::batch::{Batch, Interrupt, Key, KeyOutcome};
use brigade::shared::Lock;
use brigade::{Error, ExitReason, Phase};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Enough for every key but one that hangs, also on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_secs(3);

/// The lines of a journal, without its header.
pub(crate) fn lines(journal: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(journal).unwrap();
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How often each key has run, by a file that its function appends to.
pub(crate) fn run_count(folder: &Path, key: &str) -> usize {
    counted(folder.join(key).to_str().unwrap())
}

fn length(key: &Key) -> Result<u64, String> {
    Ok(key.as_bytes().len() as u64)
}

/// Does what its key says.
fn obey(key: &Key) -> Result<u64, String> {
    match key.as_str().unwrap_or_default() {
        "fails" => Err("no such \"thing\"\nanywhere".to_owned()),
        "panics" => panic!("a panic"),
        "aborts" => std::process::abort(),
        "hangs" => {
            forever();
            Ok(0)
        }
        _ => Ok(7),
    }
}

#[test]
fn every_way_to_fail_costs_its_key_alone_and_is_named_with_its_cause() {
    alone(|| {
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let pool = with(2).build().unwrap();
        let works = (0..50).map(|n| format!("works {n}"));
        let fails = ["fails", "panics", "aborts", "hangs"].map(String::from);
        let batch = Batch::new(&pool).journal(&journal).timeout(HANG_TIMEOUT);
        let summary = batch.run(fails.into_iter().chain(works), obey).unwrap();
        assert_eq!((summary.done, summary.bytes, summary.exit_code()), (50, 350, 1));
        let by_key: BTreeMap<_, _> =
            summary.failed.iter().map(|report| (report.key.to_string(), report)).collect();
        assert_eq!(by_key.len(), 4);
        let error = |key: &str| by_key[key].error.clone().unwrap();
        assert_eq!(by_key["fails"].outcome, KeyOutcome::Failed);
        assert_eq!(error("fails"), "no such \"thing\"\nanywhere");
        assert_eq!(by_key["panics"].outcome, KeyOutcome::Failed);
        assert!(error("panics").contains("a panic"));
        assert_eq!(by_key["hangs"].outcome, KeyOutcome::TimedOut);
        assert!(error("hangs").contains("3s"));
        let aborts = by_key["aborts"];
        assert_eq!((aborts.outcome, aborts.attempt), (KeyOutcome::Quarantined, 2));
        let death = aborts.death.as_ref().unwrap();
        assert_eq!((death.reason, death.phase), (ExitReason::Signal(6), Phase::Running));
        assert!(death.task.contains("obey") && error("aborts").contains("SIGABRT"));
        let text = summary.to_string();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(
            text.contains("fails: failed at attempt 1: no such \"thing\"\\nanywhere"),
            "{text}"
        );

        let lines = lines(&journal);
        assert_eq!(lines.len(), 55);
        let of = |key: &str| lines.iter().filter(|line| line["key"] == key).collect::<Vec<_>>();
        let outcomes: Vec<_> = of("aborts").iter().map(|line| line["outcome"].clone()).collect();
        assert_eq!(outcomes, ["died", "quarantined"]);
        let death = &of("aborts")[1]["death"];
        assert_eq!((&death["signal"], &death["phase"]), (&6.into(), &"running".into()));
        assert!(death["peak_rss_bytes"].as_u64().unwrap() > 0);
        assert_eq!(of("works 7")[0]["bytes"], 7);
    });
}

#[test]
fn a_rerun_does_what_is_new_and_with_retry_failed_what_has_failed() {
    alone(|| {
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let pool = with(2).build().unwrap();
        let batch = || Batch::new(&pool).journal(&journal).timeout(HANG_TIMEOUT);
        let keys = ["fails", "aborts", "hangs", "works"];
        assert_eq!(batch().run(keys, obey).unwrap().failed.len(), 3);
        let before = fs::read(&journal).unwrap();
        let again = batch().run(keys, length).unwrap();
        assert_eq!((again.done, again.skipped, again.failed.len()), (0, 1, 3));
        assert!(again.failed.iter().all(|report| report.error.is_some()));
        assert_eq!(fs::read(&journal).unwrap(), before);
        // Those that are not asked for are not named.
        let fewer = batch().run(["works", "hangs", "new"], length).unwrap();
        assert_eq!((fewer.done, fewer.skipped, fewer.failed.len()), (1, 1, 1));
        let retried = batch().retry_failed().run(keys, length).unwrap();
        assert_eq!((retried.done, retried.skipped, retried.failed.len()), (3, 1, 0));
        let attempts: BTreeSet<_> =
            lines(&journal).iter().map(|line| line["attempt"].as_u64().unwrap()).collect();
        assert_eq!(attempts, [1, 2, 3].into());
        assert_eq!(batch().run(keys, obey).unwrap().skipped, 4);
    });
}

#[test]
fn keys_of_any_bytes_are_the_same_keys_in_the_next_run() {
    alone(|| {
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let pool = with(2).build().unwrap();
        let all: Vec<u8> = (0..=255).collect();
        let names: Vec<Vec<u8>> = vec![
            b"new\nline".to_vec(),
            b"caf\xe9".to_vec(),
            "caf\u{fffd}".into(),
            "\u{1f980}\"\\".into(),
            all,
            Vec::new(),
            b" ".to_vec(),
        ];
        let keys = || names.iter().map(|name| PathBuf::from(OsString::from_vec(name.clone())));
        let run = || Batch::new(&pool).journal(&journal).run(keys(), length).unwrap();
        let summary = run();
        assert_eq!((summary.done, summary.failed.len()), (7, 0));
        assert_eq!(summary.bytes, names.iter().map(|name| name.len() as u64).sum::<u64>());
        let again = run();
        assert_eq!((again.done, again.skipped), (0, 7));
        assert_eq!(lines(&journal).len(), 7);
    });
}

#[test]
fn a_key_that_is_given_twice_runs_once() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let summary = Batch::new(&pool).run(["a", "b", "a", "a"], length).unwrap();
        assert_eq!((summary.done, summary.repeated, summary.bytes), (2, 2, 2));
    });
}

#[test]
fn keys_are_not_taken_from_the_iterator_before_workers_get_free() {
    alone(|| {
        let directory = Directory::new();
        let go = directory.0.join("go");
        let pool = with(2).build().unwrap();
        let taken = Cell::new(0);
        let keys = (0..5000).map(|n| n.to_string()).inspect(|_| taken.set(taken.get() + 1));
        let waits = |go: &PathBuf, _: &Key| {
            wait_for(|| go.exists());
            Ok::<u64, String>(1)
        };
        let batch = Batch::new(&pool).on_progress(|progress| {
            if progress.done == 0 {
                assert_eq!((progress.running, taken.get()), (4, 4));
                fs::write(&go, "").unwrap();
            }
        });
        assert_eq!(batch.with(go.clone()).run(keys, waits).unwrap().done, 5000);
    });
}

#[test]
fn tiny_keys_are_taken_as_workers_get_free_and_all_are_done() {
    alone(|| {
        const KEYS: usize = 20_000;
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let pool = with(2).build().unwrap();
        let taken = Cell::new(0);
        let keys = (0..KEYS).map(|n| format!("a/path/of/usual/length/{n:08}.jpg"));
        let keys = keys.inspect(|_| taken.set(taken.get() + 1));
        let batch = Batch::new(&pool).journal(&journal).on_progress(|progress| {
            let ended = progress.done + progress.failed;
            assert!(progress.running <= 2 * 64, "{progress:?}");
            assert!(taken.get() <= ended + progress.running + 1, "{} {progress:?}", taken.get());
        });
        let summary = batch.run(keys, length).unwrap();
        assert_eq!((summary.done, taken.get()), (KEYS, KEYS));
        let named: BTreeSet<_> =
            lines(&journal).iter().map(|line| line["key"].to_string()).collect();
        assert_eq!(named.len(), KEYS);
    });
}

/// Notes how many run at once: `[now, most]`.
fn enter(crowd: &Lock<[u32; 2]>, change: i32) {
    let mut crowd = crowd.lock().unwrap();
    crowd[0] = crowd[0].wrapping_add_signed(change);
    crowd[1] = crowd[1].max(crowd[0]);
}

fn crowd(crowd: &Lock<[u32; 2]>, _: &Key) -> Result<u64, String> {
    enter(crowd, 1);
    spend_millis(5);
    enter(crowd, -1);
    Ok(1)
}

#[test]
fn no_more_tasks_run_at_once_than_there_is_memory_for() {
    alone(|| {
        let pool = with(4).build().unwrap();
        let most = |free_bytes: u64| {
            let counts = Lock::new([0u32; 2]).unwrap();
            brigade::set_available_memory(free_bytes);
            let batch = Batch::new(&pool).memory_per_task(100 << 20).with(counts.clone());
            let summary = batch.run((0..24).map(|n| n.to_string()), crowd).unwrap();
            brigade::set_available_memory(u64::MAX);
            assert_eq!((summary.done, summary.failed.len()), (24, 0));
            counts.lock().unwrap()[1]
        };
        assert_eq!(most(270 << 20), 2);
        assert_eq!(most(50 << 20), 1);
        assert!(most(8 << 30) > 2);
    });
}

#[test]
fn the_first_key_tells_how_much_memory_a_key_needs() {
    alone(|| {
        let pool = with(4).build().unwrap();
        let counts = Lock::new([0u32; 2]).unwrap();
        let needs = |counts: &Lock<[u32; 2]>, _: &Key| {
            enter(counts, 1);
            let used = vec![1u8; 100 << 20];
            spend_millis(5);
            enter(counts, -1);
            Ok::<u64, String>(u64::from(used[50 << 20]))
        };
        brigade::set_available_memory(270 << 20);
        let batch = Batch::new(&pool).measure_memory().with(counts.clone());
        let summary = batch.run((0..12).map(|n| n.to_string()), needs).unwrap();
        brigade::set_available_memory(u64::MAX);
        assert_eq!(summary.done, 12);
        assert!(counts.lock().unwrap()[1] <= 2);
    });
}

#[test]
fn an_interrupted_batch_finishes_what_runs_and_a_rerun_does_the_rest() {
    alone(|| {
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let pool = with(2).build().unwrap();
        let keys = || (0..200).map(|n| n.to_string());
        let runs = |folder: &PathBuf, key: &Key| {
            count(folder.join(key.as_path()).to_str().unwrap());
            spend_millis(2);
            Ok::<u64, String>(1)
        };
        let interrupt = Interrupt::new();
        let batch = Batch::new(&pool).journal(&journal).interrupt(&interrupt);
        let batch = batch.on_progress(|_| interrupt.request()).with(directory.0.clone());
        let first = batch.run(keys(), runs).unwrap();
        assert!(first.is_interrupted && first.exit_code() == 130);
        assert!(first.done > 0 && first.done < 200, "{first}");
        assert_eq!(lines(&journal).len(), first.done);
        let batch = Batch::new(&pool).journal(&journal).with(directory.0.clone());
        let second = batch.run(keys(), runs).unwrap();
        assert_eq!((second.skipped, second.done + second.skipped), (first.done, 200));
        assert!(keys().all(|key| run_count(&directory.0, &key) == 1));
    });
}

#[test]
fn a_second_run_on_a_journal_is_refused_while_the_first_goes_on() {
    alone(|| {
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let pool = with(1).build().unwrap();
        let refused = Cell::new(0);
        let batch = Batch::new(&pool).journal(&journal).on_progress(|progress| {
            if !progress.is_over {
                let second = Batch::new(&pool).journal(&journal).run(["b"], length).unwrap_err();
                assert!(matches!(second, Error::InvalidArgument { .. }), "{second}");
                refused.set(refused.get() + 1);
            }
        });
        assert_eq!(batch.run(["a"], length).unwrap().done, 1);
        assert!(refused.get() > 0);
        assert_eq!(lines(&journal).len(), 1);
    });
}

#[test]
fn a_disk_that_is_full_is_an_error_and_what_was_not_written_runs_again() {
    alone(|| {
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let pool = with(2).build().unwrap();
        let keys = || (0..40).map(|n| n.to_string());
        let runs = |folder: &PathBuf, key: &Key| {
            count(folder.join(key.as_path()).to_str().unwrap());
            Ok::<u64, String>(1)
        };
        let run = || {
            let batch = Batch::new(&pool).journal(&journal).with(directory.0.clone());
            batch.run(keys(), runs)
        };
        // The workers were forked before.
        let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, 1000, hard).unwrap();
        let error = run().unwrap_err();
        setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
        assert!(matches!(error, Error::Os { call: "write", .. }), "{error}");
        assert!(error.to_string().contains(journal.to_str().unwrap()), "{error}");
        let whole = lines(&journal).len();
        assert!(whole < 40 && fs::read(&journal).unwrap().ends_with(b"\n"));
        let rest = run().unwrap();
        assert_eq!((rest.skipped, rest.done + rest.skipped), (whole, 40));
        let named = lines(&journal);
        assert_eq!(named.len(), 40);
        for line in &named[..whole] {
            assert_eq!(run_count(&directory.0, line["key"].as_str().unwrap()), 1);
        }
    });
}

#[test]
fn a_pool_that_ends_ends_the_batch_with_an_error() {
    alone(|| {
        let pool = with(1).build().unwrap();
        pool.terminate().unwrap();
        let error = Batch::new(&pool).run(["a"], length).unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let keys = || (0..100).map(|n| n.to_string());
        let slow = |_: &Key| {
            spend_millis(5);
            Ok::<u64, String>(1)
        };
        let killed = with(2).build().unwrap();
        let batch = Batch::new(&killed).journal(&journal);
        let batch = batch.on_progress(|progress| {
            if progress.done > 0 {
                killed.kill().unwrap();
            }
        });
        let error = batch.run(keys(), slow).unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        let done = lines(&journal);
        assert!(done.iter().all(|line| line["outcome"] == "done") && done.len() < 100);
        let other = with(2).build().unwrap();
        let rest = Batch::new(&other).journal(&journal).run(keys(), slow).unwrap();
        assert_eq!((rest.skipped, rest.done + rest.skipped), (done.len(), 100));
        // With nothing left to submit, too.
        let killed = with(2).build().unwrap();
        let hung = |_: &Key| {
            forever();
            Ok::<u64, String>(1)
        };
        let batch = Batch::new(&killed).on_progress(|_| killed.kill().unwrap());
        let error = batch.run(["a", "b"], hung).unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        let none = Batch::new(&pool).run(Vec::<String>::new(), length).unwrap();
        assert_eq!((none.done, none.exit_code()), (0, 0));
    });
}
