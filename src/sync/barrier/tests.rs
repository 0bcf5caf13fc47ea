//! Tests of the barrier.
#![allow(unsafe_code)]

use std::time::Duration;

use super::*;
use crate::atomics::AtomicU32;
use crate::sync::test_memory::TestMemory;

fn with_barrier(parties: u32, test: impl FnOnce(&TestMemory, &RawBarrier)) {
    let memory = TestMemory::new();
    // SAFETY: the place is in the memory, aligned and large enough for a few members.
    let barrier = unsafe { RawBarrier::create(memory.place(), parties, &memory.owner()) };
    test(&memory, &barrier.unwrap());
}

#[test]
fn no_member_continues_before_all_have_arrived() {
    with_barrier(3, |_, barrier| {
        let arrivals = AtomicU32::new(0);
        let leaders = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut member = barrier.join().unwrap();
                    for phase in 1..=2000 {
                        arrivals.fetch_add(1, Ordering::Relaxed);
                        if member.wait(Timeout::Never).unwrap().unwrap() {
                            leaders.fetch_add(1, Ordering::Relaxed);
                        }
                        assert!(arrivals.load(Ordering::Relaxed) >= 3 * phase);
                    }
                });
            }
        });
        assert_eq!(leaders.load(Ordering::Relaxed), 2000, "one is the last of each phase");
    });
}

#[test]
fn a_barrier_of_one_never_waits() {
    with_barrier(1, |_, barrier| {
        assert!(barrier.join().unwrap().wait(Timeout::Never).unwrap().unwrap())
    });
}

#[test]
fn a_full_barrier_takes_no_member_until_one_leaves() {
    with_barrier(1, |_, barrier| {
        let member = barrier.join().unwrap();
        assert!(matches!(barrier.join(), Err(Error::Full { .. })));
        drop(member);
        assert!(barrier.join().is_ok());
    });
}

#[test]
fn a_member_that_gives_up_breaks_the_barrier_until_it_is_reset() {
    with_barrier(2, |_, barrier| {
        let (mut one, mut two) = (barrier.join().unwrap(), barrier.join().unwrap());
        let refused = one.wait(Timeout::after(Duration::from_millis(1)));
        assert_eq!(refused.unwrap(), None);
        assert!(barrier.is_broken());
        assert!(matches!(two.wait(Timeout::Never), Err(Error::Broken { .. })));
        barrier.reset();
        std::thread::scope(|scope| {
            scope.spawn(|| one.wait(Timeout::Never).unwrap());
            two.wait(Timeout::Never).unwrap();
        });
    });
}

#[test]
fn aborting_and_resetting_release_waiters_with_an_error() {
    for reset in [false, true] {
        with_barrier(2, |_, barrier| {
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| barrier.join().unwrap().wait(Timeout::Never));
                while barrier.slot_table.state().load(Ordering::Relaxed) & ARRIVED == 0 {
                    std::thread::yield_now();
                }
                if reset {
                    barrier.reset()
                } else {
                    barrier.abort()
                }
                assert!(matches!(waiter.join().unwrap(), Err(Error::Broken { .. })));
                assert_eq!(barrier.is_broken(), !reset);
            });
        });
    }
}

#[test]
fn a_dead_member_breaks_the_barrier_and_a_reset_makes_room_for_another() {
    with_barrier(2, |memory, barrier| {
        let dead = memory.dead_owner();
        let theirs = memory.attach_barrier(&dead);
        std::mem::forget(theirs.join().unwrap());
        let mut member = barrier.join().unwrap();
        assert!(
            matches!(member.wait(Timeout::Never), Err(Error::Broken { .. })),
            "found by the waiter"
        );
        assert!(matches!(barrier.join(), Err(Error::Full { .. })));
        barrier.reset();
        let mut other = barrier.join().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| other.wait(Timeout::Never).unwrap());
            member.wait(Timeout::Never).unwrap().unwrap();
        });
    });
}

#[test]
fn a_phase_counter_that_wraps_is_a_phase_counter() {
    with_barrier(1, |_, barrier| {
        barrier.slot_table.state().store(PHASES, Ordering::Relaxed);
        let mut member = barrier.join().unwrap();
        assert!(
            member.wait(Timeout::Never).unwrap().unwrap()
                && member.wait(Timeout::Never).unwrap().unwrap()
        );
        assert_eq!(barrier.slot_table.state().load(Ordering::Relaxed), ONE_PHASE);
    });
}

#[test]
fn attaching_to_other_bytes_is_a_layout_error() {
    with_barrier(2, |memory, _| {
        let owner = memory.owner();
        let attach = |room| {
            // SAFETY: the place is in the memory, and has that much room.
            unsafe { RawBarrier::attach(memory.place(), room, &owner) }
        };
        assert_eq!(attach(32).unwrap().parties(), 2);
        assert!(matches!(attach(31), Err(Error::Layout { .. })));
        assert!(matches!(attach(8), Err(Error::Layout { .. })));
        // SAFETY: within the barrier: the number of its members.
        let parties = unsafe { memory.place().cast::<AtomicU32>().add(2) };
        // SAFETY: all users access it as an atomic.
        unsafe { parties.as_ref() }.store(u32::MAX, Ordering::Relaxed);
        assert!(matches!(attach(64), Err(Error::Layout { .. })));
    });
}

#[test]
fn a_waiter_that_has_not_joined_is_a_member_during_its_wait() {
    with_barrier(3, |_, barrier| {
        let (arrivals, leaders) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            // Twice as many as the barrier has members: any three that meet continue.
            for _ in 0..6 {
                scope.spawn(|| {
                    while arrivals.fetch_add(1, Ordering::Relaxed) < 3000 {
                        if barrier.wait(Timeout::Never).unwrap().unwrap() {
                            leaders.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(leaders.load(Ordering::Relaxed), 1000);
        assert_eq!(barrier.waiting(), 0);
        let timeout = Duration::from_millis(1);
        assert!(matches!(barrier.wait(Timeout::after(timeout)), Ok(None)));
        assert!(matches!(barrier.wait(Timeout::Never), Err(Error::Broken { .. })));
    });
}
