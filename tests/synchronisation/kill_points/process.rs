//! Locks and rings between processes that are killed or hostile.

use crate::common::alone::alone;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brigade::Error;
#[cfg(feature = "raw-sync")]
use brigade::sync::Ring;
use brigade::sync::{Owner, Timeout, Watch};
use nix::sys::signal::{Signal, raise};

use super::stepping::{Child, Stage};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(20);

/// An owner that itself watches for the deaths of others.
fn unsupervised(stage: &Stage) -> Owner {
    Owner::claim(stage.table(), Watch::Waiters).unwrap()
}

/// A process that claims its own owner, runs `body`, and stops for good.
fn stopped_child(stage: &Stage, body: impl FnOnce(&Owner)) -> Child {
    let child = Child::fork(|| {
        let owner = unsupervised(stage);
        body(&owner);
        raise(Signal::SIGSTOP).unwrap();
    });
    child.wait_until_stopped();
    child
}

#[test]
fn without_a_supervisor_the_next_locker_finds_out_that_the_holder_was_killed() {
    alone(|| {
        let stage = Stage::new();
        let holder = stopped_child(&stage, |owner| std::mem::forget(stage.lock(owner).lock()));
        let owner = unsupervised(&stage);
        let lock = stage.lock(&owner);
        assert!(lock.lock_timeout(Duration::from_millis(120)).is_err(), "stopped is not dead");
        holder.kill();
        assert!(lock.lock_timeout(LONG).unwrap().recovered());
    });
}

#[test]
fn without_a_supervisor_a_sleeper_finds_out_by_itself() {
    alone(|| {
        let stage = Stage::new();
        let holder = stopped_child(&stage, |owner| std::mem::forget(stage.lock(owner).lock()));
        let sleeper = Child::fork(|| {
            assert!(stage.lock(&unsupervised(&stage)).lock().recovered());
            stage.done();
        });
        sleeper.wait_until_asleep();
        holder.kill();
        assert!(stage.is_done_within(LONG));
        sleeper.join();
    });
}

#[test]
fn a_stopped_holder_keeps_its_lock_and_gives_it_up_when_continued() {
    alone(|| {
        let stage = Stage::new();
        let owner = unsupervised(&stage);
        let holder = Child::fork(|| {
            let owner = unsupervised(&stage);
            let lock = stage.lock(&owner);
            let guard = lock.lock();
            raise(Signal::SIGSTOP).unwrap();
            drop(guard);
        });
        holder.wait_until_stopped();
        let lock = stage.lock(&owner);
        let refused = lock.lock_timeout(Duration::from_millis(120));
        assert!(matches!(refused, Err(Error::TimedOut { .. })));
        assert_eq!(stage.table().sweep_dead(), 0);
        holder.signal(Signal::SIGCONT);
        assert!(!lock.lock_timeout(LONG).unwrap().recovered());
        holder.join();
    });
}

#[test]
fn owners_of_dead_processes_are_swept_and_their_entries_used_again() {
    alone(|| {
        let stage = Stage::new();
        // More than the table has entries.
        for _ in 0..20 {
            let child = stopped_child(&stage, |owner| {
                std::mem::forget((owner.clone(), stage.lock(owner).try_lock()));
            });
            child.kill();
        }
        assert_eq!(stage.table().sweep_dead() + stage.table().sweep_dead(), 4, "20 of 8 at a time");
        assert!(stage.lock(&unsupervised(&stage)).try_lock().is_some());
    });
}

#[test]
fn a_full_ring_whose_consumer_is_dead_or_stopped_times_out() {
    alone(|| {
        let stage = Stage::new();
        let owner = stage.owner();
        let ring = stage.ring(&owner, 24);
        ring.push([0; 24], Timeout::Never).unwrap();
        let consumer = stopped_child(&stage, |owner| {
            // Stops with the pop lock held, in the middle of a read.
            let ring = Box::leak(Box::new(stage.attach_ring(owner)));
            std::mem::forget(ring.read(Timeout::Never).unwrap());
        });
        let refused = ring.push([1; 24], SHORT).unwrap_err();
        assert!(matches!(refused.error, Error::TimedOut { .. }));
        assert_eq!(refused.value, [1; 24]);
        consumer.kill();
        assert!(ring.push([1; 24], SHORT).is_err(), "nobody takes anything");
        assert_eq!(stage.table().sweep_dead(), 1);
        assert_eq!(
            ring.pop(Timeout::Now).unwrap(),
            [0; 24],
            "the dead consumer had not consumed it"
        );
    });
}

/// The negative control for the choice of the lock: raw_sync's lock has no owner.
#[cfg(feature = "raw-sync")]
#[test]
fn a_ring_over_raw_sync_whose_producer_is_killed_times_out_for_ever() {
    alone(|| {
        let stage = Stage::new();
        let (place, room) = stage.ring_place();
        // SAFETY: in the stage, which outlives the ring.
        let ring = unsafe { Ring::create_raw_sync(place, 100) }.unwrap();
        let producer = stopped_child(&stage, |_| {
            // SAFETY: in the stage, which outlives the ring.
            let ring = unsafe { Ring::attach_raw_sync(place, room) }.unwrap();
            std::mem::forget(Box::leak(Box::new(ring)).reserve(10, Timeout::Never).unwrap());
        });
        producer.kill();
        stage.table().sweep_dead();
        for _ in 0..3 {
            let refused = ring.push([1], SHORT).unwrap_err();
            assert!(matches!(refused.error, Error::TimedOut { what: "the ring's lock", .. }));
            assert!(matches!(
                ring.push([1], Timeout::Now).unwrap_err().error,
                Error::TimedOut { .. }
            ));
        }
        assert!(matches!(ring.close(), Err(Error::TimedOut { .. })));
        ring.close_now();
        assert!(matches!(ring.pop(Timeout::Never), Err(Error::Closed { .. })));
    });
}

#[test]
fn producers_and_consumers_of_many_processes_lose_and_double_nothing() {
    alone(|| {
        const EACH: u64 = 5_000;
        let stage = Stage::new();
        let ring = stage.ring(&stage.owner(), 1000);
        let results = stage.attach_ring(&stage.owner());
        let producers = [0, 1].map(|producer: u64| {
            let stage = &stage;
            Child::fork(move || {
                let ring = stage.attach_ring(&unsupervised(stage));
                (0..EACH).for_each(|n| {
                    ring.push((producer * EACH + n).to_le_bytes(), Timeout::Never).unwrap()
                });
            })
        });
        let consumer = Child::fork(|| {
            let ring = stage.attach_ring(&unsupervised(&stage));
            let (mut sum, mut count) = (0, 0);
            while count < EACH {
                sum += u64::from_le_bytes(ring.pop(Timeout::Never).unwrap().try_into().unwrap());
                count += 1;
            }
            stage.add(sum);
        });
        let mut sum = 0;
        for _ in 0..EACH {
            sum += u64::from_le_bytes(results.pop(Timeout::Never).unwrap().try_into().unwrap());
        }
        producers.into_iter().chain([consumer]).for_each(Child::join);
        assert_eq!(sum + stage.sum(), (0..2 * EACH).sum());
        assert!(ring.is_empty());
    });
}

#[test]
fn a_reader_survives_a_process_that_writes_over_the_ring_and_never_gets_a_wrong_length() {
    alone(|| {
        const LENGTH: usize = 40;
        let stage = Stage::new();
        let owner = unsupervised(&stage);
        let ring = stage.ring(&owner, 2000);
        let (place, _) = stage.ring_place();
        let mutator = Child::fork(|| {
            let mut random = 1u64;
            loop {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_041);
                // Any word from the push lock on: locks, positions, records.
                let index = usize::try_from((random >> 33) % 300 + 16).unwrap();
                // SAFETY: within the ring.
                let word = unsafe { place.cast::<AtomicU64>().add(index) };
                // SAFETY: all words of the ring are atomics.
                unsafe { word.as_ref() }.fetch_xor(1 << (random >> 58), Ordering::Relaxed);
            }
        });
        let mut message = Vec::new();
        let mut corrupt = 0;
        for _ in 0..10_000_000 {
            if corrupt == 100 {
                break;
            }
            let pushed = ring.push([7; LENGTH], Duration::from_micros(100));
            match ring.pop_into(&mut message, Duration::from_micros(100)) {
                Ok(()) => assert_eq!(message.len(), LENGTH),
                Err(Error::Corrupt { .. }) => corrupt += 1,
                Err(error) => assert!(matches!(error, Error::TimedOut { .. }), "{error}"),
            }
            if let Err(refused) = pushed {
                let error = refused.error;
                assert!(matches!(error, Error::TimedOut { .. } | Error::Corrupt { .. }), "{error}");
            }
            stage.reset_ring_positions();
        }
        mutator.kill();
        assert_eq!(corrupt, 100, "the mutator was seen at work");
    });
}
