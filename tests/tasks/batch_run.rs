//! Runs of batches: slow and broken iterators, full queues, interrupts.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::batch::{lines, run_count};
use crate::common::Directory;
use crate::common::alone::alone;
use crate::common::tasks::{count, hanging, with};
use crate::common::time::{spend_millis, wait_for};
use brigade::batch::{Batch, Interrupt, Key};

/// Counts its call and takes a while.
#[expect(clippy::ptr_arg, reason = "the type of the batch's value")]
fn works(folder: &PathBuf, key: &Key) -> Result<u64, String> {
    count(folder.join(key.as_path()).to_str().unwrap());
    spend_millis(20);
    Ok(1)
}

#[test]
fn a_slow_iterator_of_keys_that_are_done_does_not_hold_up_an_interrupt() {
    alone(|| {
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let pool = with(1).build().unwrap();
        let keys = || (0..100).map(|n| n.to_string());
        let quick = |_: &Key| Ok::<u64, String>(1);
        assert_eq!(Batch::new(&pool).journal(&journal).run(keys(), quick).unwrap().done, 100);
        let interrupt = Interrupt::new();
        let batch = Batch::new(&pool).journal(&journal).interrupt(&interrupt);
        let batch = batch.on_progress(|_| interrupt.request());
        let summary = batch.run(keys().inspect(|_| spend_millis(3)), quick).unwrap();
        assert!(summary.is_interrupted && summary.skipped < 100, "{summary}");
    });
}

#[test]
fn an_iterator_that_has_ended_is_not_asked_again() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let mut number = 0;
        // As `Receiver::try_iter` does, it goes on after it has returned `None`.
        let keys = std::iter::from_fn(|| {
            number += 1;
            (number % 4 != 0).then(|| number.to_string())
        });
        let summary = Batch::new(&pool).run(keys, |_: &Key| Ok::<u64, String>(1)).unwrap();
        assert_eq!(summary.done, 3);
    });
}

#[test]
fn a_panic_of_the_iterator_leaves_no_task_behind_and_the_journal_complete() {
    alone(|| {
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let pool = with(2).build().unwrap();
        let keys = ["a", "b", "c"].into_iter().inspect(|&key| assert_ne!(key, "c", "a panic"));
        let batch = Batch::new(&pool).journal(&journal).with(directory.0.clone());
        catch_unwind(AssertUnwindSafe(|| batch.run(keys, works))).unwrap_err();
        let has_run = |key: &&str| directory.0.join(key).exists();
        let ran = ["a", "b", "c"].iter().filter(|&key| has_run(key)).count();
        assert_eq!(lines(&journal).len(), ran);
        let batch = Batch::new(&pool).journal(&journal).with(directory.0.clone());
        let summary = batch.run(["a", "b", "c"], works).unwrap();
        assert_eq!((summary.skipped, summary.done), (ran, 3 - ran));
        assert!(["a", "b", "c"].iter().all(|key| run_count(&directory.0, key) == 1));
    });
}

#[test]
fn a_queue_that_others_keep_full_does_not_hold_up_an_interrupt() {
    alone(|| {
        let pool = with(1).queue_limit(1).build().unwrap();
        let hanging = hanging(&pool);
        let queued = pool.submit(|n: u32| n, 7).unwrap();
        let interrupt = Interrupt::new();
        let batch = Batch::new(&pool).interrupt(&interrupt);
        let batch = batch.on_progress(|_| interrupt.request());
        let summary = batch.run(["a"], |_: &Key| Ok::<u64, String>(1)).unwrap();
        assert!(summary.is_interrupted && summary.done == 0, "{summary}");
        hanging.kill(std::time::Duration::ZERO).unwrap();
        assert_eq!(queued.join().unwrap(), 7);
        assert_eq!(Batch::new(&pool).run(["a"], |_: &Key| Ok::<u64, String>(1)).unwrap().done, 1);
    });
}

#[test]
fn a_key_that_fails_after_the_interrupt_runs_again() {
    alone(|| {
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let pool = with(3).build().unwrap();
        // As one whose child process got the same SIGINT.
        let fails = |go: &PathBuf, key: &Key| {
            wait_for(|| go.exists());
            match key.as_bytes() {
                b"fails" => Err("the program was interrupted"),
                b"panics" => panic!("the program was interrupted"),
                b"dies" => std::process::abort(),
                _ => Ok(1),
            }
        };
        let (go, interrupt) = (directory.0.join("go"), Interrupt::new());
        let batch = Batch::new(&pool).journal(&journal).interrupt(&interrupt);
        let batch = batch.on_progress(|progress| {
            if progress.running == 4 {
                interrupt.request();
                fs::write(&go, "").unwrap();
            }
        });
        let keys = ["fails", "panics", "dies", "works"];
        let summary = batch.with(go.clone()).run(keys, fails).unwrap();
        assert!(summary.is_interrupted && summary.failed.is_empty(), "{summary}");
        assert_eq!(lines(&journal).len(), summary.done);
        let works = |_: &Key| Ok::<u64, String>(1);
        let summary = Batch::new(&pool).journal(&journal).run(keys, works).unwrap();
        assert_eq!(summary.done + summary.skipped, 4);
    });
}

#[test]
fn a_last_key_that_fails_by_the_interrupt_is_left_and_the_summary_says_so() {
    alone(|| {
        let directory = Directory::new();
        let (begun, go) = (directory.0.join("begun"), directory.0.join("go"));
        let pool = with(1).build().unwrap();
        let interrupt = Interrupt::new();
        let fails = |(begun, go): &(PathBuf, PathBuf), _: &Key| {
            fs::write(begun, "").unwrap();
            wait_for(|| go.exists());
            Err::<u64, _>("the program was interrupted")
        };
        let batch = Batch::new(&pool).interrupt(&interrupt).with((begun.clone(), go.clone()));
        let summary = std::thread::scope(|scope| {
            scope.spawn(|| {
                wait_for(|| begun.exists());
                interrupt.request();
                fs::write(&go, "").unwrap();
            });
            batch.run(["a"], fails).unwrap()
        });
        assert!(summary.is_interrupted && summary.failed.is_empty(), "{summary}");
        assert_eq!(summary.exit_code(), 130);
    });
}

#[test]
fn the_error_of_a_key_is_written_with_its_causes() {
    /// Prints its cause only on request.
    struct Chain;
    impl std::fmt::Display for Chain {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no picture")?;
            if f.alternate() { f.write_str(": the file is empty") } else { Ok(()) }
        }
    }
    alone(|| {
        let pool = with(1).build().unwrap();
        let reports = Cell::new(0);
        let batch = Batch::new(&pool).on_progress(|_| reports.set(reports.get() + 1));
        let paths = vec![PathBuf::from("a")];
        let summary = batch.run(&paths, |_: &Key| Err::<u64, _>(Chain)).unwrap();
        assert_eq!(summary.failed[0].error.as_deref(), Some("no picture: the file is empty"));
        assert!(reports.get() > 0);
    });
}
