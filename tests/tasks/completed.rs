//! Waiting for several tasks at once.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::alone::{alone, progress};
use crate::common::tasks::{hanging, panics, same, with};
use crate::common::time::{ThreadId, wait_for};
use brigade::{Error, Handle, Pool, ReturnWhen, Start, Waited, as_completed, wait};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const NOW: Option<Duration> = Some(Duration::ZERO);

fn one() -> Pool {
    with(1).grace(Duration::from_millis(50)).build().unwrap()
}

#[test]
fn wait_returns_with_exactly_the_sets_that_were_asked_for() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let hangs = hanging(&pool);
        let done = pool.submit(same, 1).unwrap();
        let failed = pool.submit(panics, 2).unwrap();
        wait_for(|| done.is_finished() && failed.is_finished());
        let queued = [pool.submit(same, 3).unwrap()];
        wait_for(|| queued[0].is_finished());
        let all = [&hangs, &done, &failed, &queued[0], &done, &hangs];
        let sets = |when, timeout| wait(all, when, timeout);
        let expected = Waited { done: vec![1, 2, 3], pending: vec![0] };
        assert_eq!(sets(ReturnWhen::FirstCompleted, None).unwrap(), expected);
        assert_eq!(sets(ReturnWhen::FirstError, None).unwrap(), expected);
        let late = sets(ReturnWhen::All, Some(Duration::from_millis(20))).unwrap_err();
        assert_eq!(late.sets, expected);
        assert!(late.to_string().contains("1 of 4 tasks unfinished"), "{late}");
        assert!(matches!(Error::from(late), Error::Unfinished { unfinished: 1, total: 4, .. }));
        // Without a failure, it waits for the end of all.
        let none_failed = [&hangs, &done];
        assert!(wait(none_failed, ReturnWhen::FirstError, NOW).is_err());
        assert!(wait([&hangs], ReturnWhen::FirstCompleted, NOW).is_err());
        hangs.kill(Duration::ZERO).unwrap();
        let both = wait(none_failed, ReturnWhen::FirstError, None).unwrap();
        assert_eq!(both, Waited { done: vec![0, 1], pending: vec![] });
        let none: [&Handle<u32>; 0] = [];
        assert_eq!(wait(none, ReturnWhen::All, None).unwrap(), Waited::default());
    });
}

#[test]
fn wait_wakes_when_the_first_task_ends_or_fails() {
    alone(|| {
        for pools in 1..3 {
            // If all tasks belong to one pool, the waiting thread drives it; otherwise the
            // supervisor does.
            let pools: Vec<_> = (0..pools).map(|_| with(2).build().unwrap()).collect();
            let hangs = hanging(&pools[0]);
            let last = pools.last().unwrap();
            // Ends when the waiting thread sleeps and has to be woken.
            let slow = |(n, waiting): (u32, ThreadId)| {
                waiting.wait_until_blocked();
                assert!(n != 1, "one");
                n
            };
            for (n, when) in [
                (0, ReturnWhen::FirstCompleted),
                (1, ReturnWhen::FirstError),
                (1, ReturnWhen::FirstCompleted),
            ] {
                let handles = [&hangs, &last.submit(slow, (n, ThreadId::current())).unwrap()];
                assert_eq!(wait(handles, when, None).unwrap().done, [1]);
            }
            let handles = [&hangs, &last.submit(slow, (2, ThreadId::current())).unwrap()];
            let (start, short) = (Instant::now(), Duration::from_millis(100));
            let late = wait(handles, ReturnWhen::FirstError, Some(short)).unwrap_err();
            assert!(start.elapsed() >= short);
            assert_eq!(late.sets, Waited { done: vec![1], pending: vec![0] });
            hangs.kill(Duration::ZERO).unwrap();
            progress();
        }
    });
}

#[test]
fn waiting_takes_no_processor_time() {
    alone(|| {
        let pools = [one(), one()];
        let hang = [&hanging(&pools[0]), &hanging(&pools[1])];
        let used = || {
            let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
            let time = usage.user_time() + usage.system_time();
            Duration::from_micros(time.num_microseconds().cast_unsigned())
        };
        let before = used();
        let late = Some(Duration::from_millis(400));
        assert!(wait(hang, ReturnWhen::FirstCompleted, late).is_err());
        assert!(wait([hang[0]], ReturnWhen::FirstCompleted, late).is_err());
        assert!(used() - before < Duration::from_millis(200), "{:?}", used() - before);
    });
}

#[test]
fn as_completed_yields_each_task_once_as_it_ends() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let handles: Vec<_> = (0..3000u32).map(|n| pool.submit(same, n).unwrap()).collect();
        let mut seen = BTreeSet::new();
        for completed in as_completed(handles, None) {
            let (position, value) = completed.unwrap();
            assert_eq!(value.unwrap() as usize, position);
            assert!(seen.insert(position), "{position} twice");
        }
        assert_eq!(seen.len(), 3000);
        // A task that ends early is returned before one that was given first.
        let hangs = hanging(&pool);
        let fast = pool.submit(same, 1).unwrap();
        let mut both = as_completed([hangs, fast], None);
        assert_eq!(both.next().unwrap().unwrap().0, 1);
        let rest = both.into_pending();
        assert_eq!(rest[0].0, 0);
        rest[0].1.kill(Duration::ZERO).unwrap();
    });
}

#[test]
fn as_completed_over_several_pools_in_and_out_of_processes() {
    alone(|| {
        let pools = [one(), one(), Pool::builder().start(Start::InProcess).build().unwrap()];
        let handles: Vec<_> =
            (0..300u32).map(|n| pools[n as usize % 3].submit(same, n).unwrap()).collect();
        let sum: u32 = as_completed(handles, None).map(|done| done.unwrap().1.unwrap()).sum();
        assert_eq!(sum, 299 * 300 / 2);
    });
}

#[test]
fn as_completed_that_runs_out_of_time_delivers_what_is_done_and_counts_the_rest() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let mut handles = vec![hanging(&pool)];
        handles.extend((0..4).map(|n| pool.submit(same, n).unwrap()));
        let mut completed = as_completed(handles, Some(Duration::from_millis(300)));
        let done: BTreeSet<_> = completed.by_ref().take(4).map(|done| done.unwrap().0).collect();
        assert!(done.into_iter().eq(1..5));
        let late = completed.next().unwrap().unwrap_err();
        assert!(late.to_string().starts_with("1 of 5 tasks unfinished"), "{late}");
        assert!(completed.next().is_none());
        let mut rest = completed.into_pending();
        let (position, hangs) = rest.remove(0);
        assert_eq!((position, rest.len()), (0, 0));
        hangs.kill(Duration::ZERO).unwrap();
        assert!(hangs.join().is_err());
    });
}

#[test]
fn the_memory_of_what_as_completed_has_yielded_is_free_again() {
    alone(|| {
        let pool = one();
        let large = |n: u32| vec![n; 4 << 20];
        // Together they would need more than the limit.
        brigade::set_memory_limit(256 << 20);
        let mut handles = Vec::new();
        let mut sum = 0;
        for n in 0..60 {
            handles.push(pool.submit(large, n).unwrap());
            if handles.len() == 4 {
                for completed in as_completed(std::mem::take(&mut handles), None) {
                    sum += completed.unwrap().1.unwrap()[0];
                }
                progress();
            }
        }
        assert_eq!(sum, 59 * 60 / 2);
    });
}

#[test]
fn many_threads_wait_for_the_same_tasks() {
    alone(|| {
        let pool = with(2).build().unwrap();
        for _ in 0..20 {
            let handles: Vec<_> = (0..50u32).map(|n| pool.submit(same, n).unwrap()).collect();
            let barrier = Barrier::new(4);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        barrier.wait();
                        wait(&handles, ReturnWhen::FirstCompleted, None).unwrap();
                        assert_eq!(wait(&handles, ReturnWhen::All, None).unwrap().done.len(), 50);
                    });
                }
            });
            for (n, handle) in (0..).zip(handles) {
                assert_eq!(handle.join().unwrap(), n);
            }
            progress();
        }
    });
}
