//! Locks and similar primitives between unrelated programs.

use crate::common::alone::alone_in_turn;
use crate::common::names::path_of;
use std::process::Command;
use std::time::Duration;

use brigade::shared::{
    Barrier, Condvar, Event, Lock, LockError, Once, ReentrantLock, RwLock, Semaphore, SharedList,
    Value,
};
use brigade::sync::Reset;
use brigade::{Error, LockState, RegionInfo, RegionKind, RegionState};

use super::parts::{Part, say, wait};
use crate::common::{skipped, unique};

/// Long enough that a wait which has not ended by then is a hang.
const LONG: Duration = Duration::from_secs(20);

/// Runs the part that `words` name, if it is one of these.
pub(crate) fn part(words: &[&str]) -> bool {
    match *words {
        ["count", name, times] => {
            let lock = Lock::<[u64; 2]>::create_or_open(name, [0, 0]).unwrap();
            say("counting");
            for _ in 0..times.parse().unwrap() {
                let mut both = lock.lock().unwrap();
                both[0] += 1;
                assert_eq!(both[0], both[1] + 1, "another was inside");
                both[1] += 1;
            }
        }
        ["hold-lock", name] => {
            let lock = Lock::<[u64; 2]>::open(name).unwrap();
            let mut guard = lock.lock().unwrap();
            guard[0] = 77;
            say("holding");
            wait();
        }
        ["hold-all", name] => hold_all(name),
        ["meet", name, event] => {
            let barrier = Barrier::open(name).unwrap();
            barrier.wait().unwrap();
            Event::open(event).unwrap().set().unwrap();
        }
        ["lock-elsewhere", name] => {
            let refused = Lock::<u64>::open(name);
            assert!(matches!(refused, Err(Error::PidNamespace { .. })));
        }
        ["lock-at-another-time", name] => {
            let refused = Lock::<u64>::open(name);
            assert!(matches!(refused, Err(Error::TimeNamespace { .. })), "{refused:?}");
        }
        _ => return false,
    }
    true
}

/// Acquires everything that can be held of the primitives whose names begin with `name`.
fn hold_all(name: &str) {
    let semaphore = Semaphore::open(&format!("{name}-semaphore")).unwrap();
    let rwlock = RwLock::<u64>::open(&format!("{name}-rwlock")).unwrap();
    let reentrant = ReentrantLock::open(&format!("{name}-reentrant")).unwrap();
    let _permit = semaphore.acquire().unwrap();
    let _writer = rwlock.write().unwrap();
    let _guard = reentrant.lock().unwrap();
    say("holding");
    wait();
}

#[test]
fn programs_that_share_a_name_exclude_each_other() {
    alone_in_turn(|| {
        let name = unique("count");
        let lock = Lock::create(&name, [0u64; 2]).unwrap();
        let mut all: Vec<Part> = (0..4).map(|_| Part::start("count", &[&name, "2000"])).collect();
        all.iter_mut().for_each(|part| part.expect("counting"));
        all.into_iter().for_each(Part::succeeds);
        assert_eq!(*lock.lock().unwrap(), [8000, 8000]);
        drop(lock);
        assert!(!path_of(&name).exists());
    });
}

#[test]
fn a_lock_whose_holder_is_killed_reports_it_to_the_next() {
    alone_in_turn(|| {
        let name = unique("holder");
        let lock = Lock::create(&name, [1u64, 1]).unwrap();
        let mut holder = Part::start("hold-lock", &[&name]);
        holder.expect("holding");
        let pid = holder.pid();
        assert!(lock.try_lock().unwrap().is_none());
        assert_eq!(RegionInfo::of(&name).unwrap().locks(), [LockState::Held { pid }]);
        holder.kill();
        let orphaned = RegionInfo::of(&name).unwrap();
        assert_eq!(orphaned.locks(), [LockState::Orphaned { pid: Some(pid) }]);
        assert_eq!(orphaned.state(), RegionState::Live, "this process has it");
        match lock.lock_timeout(LONG) {
            Err(LockError::OwnerDied(torn)) => {
                let mut value = torn.into_guard();
                assert_eq!(*value, [1, 1], "the dead process did not release what it changed");
                *value = [2, 2];
            }
            Err(LockError::Failed(error)) => panic!("{error}"),
            Ok(guard) => panic!("the death of the holder was not reported: {guard:?}"),
        }
        assert_eq!(*lock.lock_timeout(LONG).unwrap(), [2, 2]);
    });
}

#[test]
fn what_a_killed_process_held_of_any_primitive_comes_free() {
    alone_in_turn(|| {
        let name = unique("held");
        let semaphore = Semaphore::create(&format!("{name}-semaphore"), 1, 1024).unwrap();
        let rwlock = RwLock::create(&format!("{name}-rwlock"), 5u64).unwrap();
        let reentrant = ReentrantLock::create(&format!("{name}-reentrant")).unwrap();
        let mut holder = Part::start("hold-all", &[&name]);
        holder.expect("holding");
        assert!(semaphore.try_acquire().unwrap().is_none());
        assert!(reentrant.try_lock().unwrap().is_none());
        holder.kill();
        assert!(semaphore.acquire_timeout(LONG).unwrap().recovered());
        assert!(matches!(rwlock.read_timeout(LONG), Err(LockError::OwnerDied(_))));
        assert!(reentrant.lock_timeout(LONG).unwrap().recovered());
    });
}

#[test]
fn programs_meet_at_a_barrier_and_wake_each_other_by_an_event() {
    alone_in_turn(|| {
        let (meeting, signal) = (unique("barrier"), unique("event"));
        let barrier = Barrier::create(&meeting, 3).unwrap();
        let event = Event::create(&signal, Reset::Manual).unwrap();
        let parts: Vec<Part> = (0..2).map(|_| Part::start("meet", &[&meeting, &signal])).collect();
        barrier.wait_timeout(LONG).unwrap();
        event.wait_timeout(LONG).unwrap();
        parts.into_iter().for_each(Part::succeeds);
    });
}

#[test]
fn every_primitive_is_made_opened_and_known_by_its_name() {
    alone_in_turn(|| {
        let name = unique("all");
        let mut kinds = Vec::new();
        let mut known = |name: &str| {
            let info = RegionInfo::of(name).unwrap();
            let RegionKind::Primitive { name, .. } = *info.kind() else { panic!("{info:?}") };
            kinds.push(name);
        };
        macro_rules! check {
            ($kind:ty, $($argument:expr),*) => {{
                let made = <$kind>::create(&name, $($argument),*).unwrap();
                assert_eq!(made.name(), Some(name.as_str()));
                let again = <$kind>::create(&name, $($argument),*).map(drop);
                assert!(matches!(again, Err(Error::NameTaken { .. })));
                let either = || <$kind>::create_or_open(&name, $($argument),*);
                assert!(<$kind>::open(&name).is_ok() && either().is_ok());
                known(&name);
                drop(made);
                assert!(matches!(<$kind>::open(&name).map(drop), Err(Error::NotFound { .. })));
                drop(either().unwrap());
                assert!(!path_of(&name).exists());
            }};
        }
        check!(Lock::<u8>, 1);
        check!(RwLock::<u8>, 1);
        check!(Value::<u8>, 1);
        check!(Event, Reset::Manual);
        check!(Semaphore, 2, 1024);
        check!(Barrier, 2);
        check!(Condvar,);
        check!(Once,);
        check!(ReentrantLock,);
        check!(SharedList::<String>, 4, 64);
        let expected = [
            "lock",
            "reader-writer lock",
            "value",
            "event",
            "semaphore",
            "barrier",
            "condition variable",
            "once",
            "reentrant lock",
            "shared list",
        ];
        assert_eq!(kinds, expected);
    });
}

#[test]
fn a_named_event_resets_itself_if_it_was_made_to() {
    alone_in_turn(|| {
        let name = unique("auto");
        let make: [fn(&str, Reset) -> brigade::Result<Event>; 2] =
            [Event::create, Event::create_or_open];
        for make in make {
            for reset in [Reset::Auto, Reset::Manual] {
                let event = make(&name, reset).unwrap();
                event.set().unwrap();
                assert!(event.try_wait().unwrap());
                assert_eq!(event.try_wait().unwrap(), reset == Reset::Manual);
            }
        }
    });
}

#[test]
fn a_primitive_is_not_taken_for_another_or_for_one_of_another_type() {
    alone_in_turn(|| {
        let name = unique("other");
        let lock = Lock::create(&name, 5u64).unwrap();
        let signed = Lock::<i64>::open(&name).map(drop).unwrap_err();
        assert!(matches!(signed, Error::Layout { .. }));
        let text = signed.to_string();
        assert!(
            text.contains("found a lock of type") && text.contains("expected a lock of"),
            "{text}"
        );
        assert!(matches!(Lock::<[u64; 2]>::open(&name).map(drop), Err(Error::Layout { .. })));
        assert!(matches!(RwLock::<u64>::open(&name).map(drop), Err(Error::Layout { .. })));
        let event = Event::create_or_open(&name, Reset::Auto).map(drop).unwrap_err();
        assert_eq!(event.to_string(), format!("{name}: found a lock, but expected an event"));
        lock.keep().unwrap();
        drop(lock);
        let lock = Lock::create_or_open(&name, 6u64).unwrap();
        assert_eq!(*lock.lock().unwrap(), 5, "kept, with its value");
        lock.unlink().unwrap();
        assert!(matches!(lock.unlink(), Err(Error::NotFound { .. })));
        assert!(Lock::new(1u8).unwrap().keep().is_err());
    });
}

#[test]
fn locking_from_another_pid_namespace_says_so() {
    alone_in_turn(|| {
        let launcher = ["unshare", "-pf", "--mount-proc"];
        let probe = Command::new(launcher[0]).args(&launcher[1..]).arg("true").output();
        if !probe.is_ok_and(|output| output.status.success()) {
            skipped("no pid namespaces here");
            return;
        }
        let name = unique("namespace");
        let lock = Lock::create(&name, 5u64).unwrap();
        Part::start_by(&launcher, "lock-elsewhere", &[&name]).succeeds();
        assert_eq!(*lock.lock().unwrap(), 5);
    });
}

// A live holder was declared dead, because start times differ between time namespaces.
#[test]
fn locking_from_another_time_namespace_says_so() {
    alone_in_turn(|| {
        let launcher = ["unshare", "-f", "--time", "--boottime", "100000"];
        let probe = Command::new(launcher[0]).args(&launcher[1..]).arg("true").output();
        if !probe.is_ok_and(|output| output.status.success()) {
            skipped("no time namespaces here");
            return;
        }
        let name = unique("time");
        let lock = Lock::create(&name, 5u64).unwrap();
        let guard = lock.lock().unwrap();
        Part::start_by(&launcher, "lock-at-another-time", &[&name]).succeeds();
        assert_eq!(*guard, 5);
    });
}
