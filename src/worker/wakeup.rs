//! The words on which a worker and the driver sleep.
//!
//! Each wake-up is a Dekker pair: both sides store to their own word, execute a SeqCst fence, and
//! then load the other side's word. One of the two fences comes first, so at least one side sees
//! the other's store (fact M4 of `docs/internals/assumptions.md`).
//!
//! | sleeper | stores               | then loads   | the other side stores | then loads           |
//! |---------|----------------------|--------------|-----------------------|----------------------|
//! | worker  | `ParkWord` = 1       | claim word   | claim word (an offer) | `ParkWord`           |
//! | worker  | `waiting`, then      | room in its  | room (a drain)        | `waiting`, then      |
//! |         | `ParkWord` = 1       | byte ring    |                       | `ParkWord`           |
//! | driver  | `DriverWord` = kind  | result words | result (a commit)     | `DriverWord`         |
//! | driver  | `DriverWord` = kind  | `waiting`    | `waiting`             | `DriverWord`         |
//!
//! A worker that dies between the swap of the driver word and its wake-up has woken no thread. The
//! supervisor notices the death and calls [`DriverWord::wake_joiner_anyway`].

use std::time::Duration;

use crate::atomics::{AtomicU32, Ordering, fence};
#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
use crate::sys::futex;

/// The word on which a worker sleeps.
///
/// | value | meaning                          | written by                  | if the writer dies    |
/// |-------|----------------------------------|-----------------------------|-----------------------|
/// | 0     | the worker is awake, or is woken | worker; host when it wakes  | a new one replaces it |
/// | 1     | it sleeps, or is about to        | worker                      | a new one replaces it |
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct ParkWord(AtomicU32);

impl ParkWord {
    #[cfg(loom)]
    pub(crate) fn new() -> ParkWord {
        ParkWord(AtomicU32::new(0))
    }

    /// Worker: sleeps until `is_ready`, or for about `timeout`; returns whether it is ready.
    /// `before_sleep` is called before each sleep.
    pub(crate) fn park(
        &self,
        is_ready: impl Fn() -> bool,
        mut before_sleep: impl FnMut(),
        timeout: Option<Duration>,
    ) -> bool {
        loop {
            // Relaxed: ordered by the fence.
            self.0.store(1, Ordering::Relaxed);
            // SeqCst: pairs with the fence in `wake`.
            fence(Ordering::SeqCst);
            if !is_ready() {
                before_sleep();
                futex::wait(&self.0, 1, timeout);
            }
            let ready = is_ready();
            if ready || timeout.is_some() {
                self.0.store(0, Ordering::Relaxed);
                return ready;
            }
        }
    }

    /// Host: wakes the worker if it sleeps. The caller has made the worker's condition true before.
    #[inline]
    pub(crate) fn wake(&self) {
        // SeqCst: pairs with the fence in `park`. Either the worker sees its condition true, or
        // this load sees that it has parked.
        fence(Ordering::SeqCst);
        if self.is_parked() && self.0.swap(0, Ordering::Relaxed) == 1 {
            futex::wake(&self.0, 1);
        }
    }

    /// Host: wakes the worker if it has set `waiting` and sleeps. The caller has made room before.
    pub(crate) fn wake_if_waiting(&self, waiting: &AtomicU32) {
        // SeqCst: pairs with the fence in `park`, before which the worker sets `waiting`.
        fence(Ordering::SeqCst);
        if waiting.load(Ordering::Relaxed) == 1 {
            self.wake();
        }
    }

    /// Host: wakes the worker even if the word says that it is awake, which may be wrong.
    pub(crate) fn wake_anyway(&self) {
        // Relaxed: the worker checks its condition when it wakes.
        self.0.store(0, Ordering::Relaxed);
        futex::wake(&self.0, 1);
    }

    /// Whether the worker sleeps, or is about to.
    pub(crate) fn is_parked(&self) -> bool {
        // Relaxed: ordered by the fence in `wake`; elsewhere a hint.
        self.0.load(Ordering::Relaxed) == 1
    }
}

/// The thread that must be woken to drive the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Driver {
    /// A thread reads the results; no wake-up is needed.
    Awake = 0,
    /// A joining thread sleeps on the word.
    Joiner = 1,
    /// The supervisor sleeps on its eventfd.
    Supervisor = 2,
}

impl Driver {
    /// The protocol writes no other value; another one is read as no sleeper.
    fn from_word(word: u32) -> Driver {
        match word {
            1 => Driver::Joiner,
            2 => Driver::Supervisor,
            _ => Driver::Awake,
        }
    }
}

/// The word that names the [`Driver`] that workers have to wake.
///
/// | written by          | read by | guard                  | if the writer dies                     |
/// |---------------------|---------|------------------------|----------------------------------------|
/// | host, under mutex   | all     | Dekker with the commit | all end with the host                  |
/// | workers, to `Awake` | all     | swap                   | the supervisor wakes the joiner anyway |
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct DriverWord(AtomicU32);

impl DriverWord {
    #[cfg(loom)]
    pub(crate) fn new() -> DriverWord {
        DriverWord(AtomicU32::new(0))
    }

    pub(crate) fn get(&self) -> Driver {
        // Relaxed: a worker that swaps it to `Awake` then wakes the sleeper.
        Driver::from_word(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, driver: Driver) {
        // Relaxed: ordered by the fence in `arm`, or by the host's mutex.
        self.0.store(driver as u32, Ordering::Relaxed);
    }

    /// Host: requests that workers wake `driver` at their next awaited commit. The caller has
    /// stored which commits are awaited. If `has_result` finds one already, resets the word and
    /// returns false: then no worker wakes the driver.
    pub(crate) fn arm(&self, driver: Driver, has_result: impl FnOnce() -> bool) -> bool {
        self.set(driver);
        // SeqCst: pairs with the fence in `take_after_commit`.
        fence(Ordering::SeqCst);
        let is_armed = !has_result();
        if !is_armed {
            self.set(Driver::Awake);
        }
        is_armed
    }

    /// Worker, after a commit: the driver to wake, if the commit `is_awaited`.
    #[inline]
    pub(crate) fn take_after_commit(&self, is_awaited: impl FnOnce() -> bool) -> Driver {
        // SeqCst: pairs with the fence in `arm`. Either the driver sees the commit, or this thread
        // sees that it sleeps and which commits it awaits.
        fence(Ordering::SeqCst);
        if is_awaited() { self.take() } else { Driver::Awake }
    }

    /// Worker: takes the driver to wake; no other worker gets it.
    pub(crate) fn take(&self) -> Driver {
        // Relaxed: the word carries no data; the fences order everything else.
        if self.get() == Driver::Awake {
            return Driver::Awake;
        }
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::WorkerBeforeRing);
        let driver = Driver::from_word(self.0.swap(Driver::Awake as u32, Ordering::Relaxed));
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::WorkerMidRing);
        driver
    }

    /// Joining thread, after [`arm`](DriverWord::arm): sleeps until it is woken, or for `timeout`.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) {
        futex::wait(&self.0, Driver::Joiner as u32, timeout);
    }

    /// Worker: wakes the joining thread that [`take`](DriverWord::take) returned.
    pub(crate) fn wake_taken_joiner(&self) {
        futex::wake(&self.0, 1);
    }

    /// Host: wakes the joining thread even if the word says that none sleeps: a worker that died
    /// between its swap and its wake-up has changed the word and woken no thread.
    pub(crate) fn wake_joiner_anyway(&self) {
        self.set(Driver::Awake);
        futex::wake(&self.0, 1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::atomics::mortal::live_for;
    use loom::sync::Mutex;
    use loom::thread;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    /// A word of the other side: an offer, a result, room.
    fn flag() -> AtomicU32 {
        AtomicU32::new(0)
    }

    fn is_set(flag: &AtomicU32) -> bool {
        flag.load(Ordering::Acquire) == 1
    }

    fn set(flag: &AtomicU32) {
        flag.store(1, Ordering::Release);
    }

    fn parked_worker_gets_an_offer(wake: fn(&ParkWord)) {
        let shared = Arc::new((ParkWord::new(), flag()));
        let worker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || assert!(shared.0.park(|| is_set(&shared.1), || (), None)))
        };
        set(&shared.1);
        wake(&shared.0);
        worker.join().unwrap();
    }

    #[test]
    fn loom_a_worker_that_parks_misses_no_offer() {
        loom::model(|| parked_worker_gets_an_offer(ParkWord::wake));
    }

    // The negative control: without the fence the host can miss that the worker has parked.
    #[test]
    #[should_panic(expected = "deadlock")]
    fn loom_without_its_fence_the_host_misses_a_parked_worker() {
        fn wake_without_fence(word: &ParkWord) {
            if word.is_parked() && word.0.swap(0, Ordering::Relaxed) == 1 {
                futex::wake(&word.0, 1);
            }
        }
        loom::model(|| parked_worker_gets_an_offer(wake_without_fence));
    }

    /// A worker waits for room, as in `WorkerSide::write_to_ring`, but without a timeout.
    fn waiting_worker_gets_room(wake: fn(&ParkWord, &AtomicU32)) {
        let shared = Arc::new((ParkWord::new(), flag(), flag()));
        let worker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (parked, waiting, room) = &*shared;
                waiting.store(1, Ordering::Relaxed);
                assert!(parked.park(|| is_set(room), || (), None));
                waiting.store(0, Ordering::Relaxed);
            })
        };
        let (parked, waiting, room) = &*shared;
        set(room);
        wake(parked, waiting);
        worker.join().unwrap();
    }

    #[test]
    fn loom_a_worker_that_waits_for_room_misses_no_drain() {
        loom::model(|| waiting_worker_gets_room(ParkWord::wake_if_waiting));
    }

    // The negative control: the fence in `wake` is too late for the load of `waiting`.
    #[test]
    #[should_panic(expected = "deadlock")]
    fn loom_without_its_fence_the_host_misses_a_worker_that_waits_for_room() {
        loom::model(|| {
            waiting_worker_gets_room(|parked, waiting| {
                if waiting.load(Ordering::Relaxed) == 1 {
                    parked.wake();
                }
            });
        });
    }

    /// The words of a driver and a worker: the host's mutex, the driver word, the awaited commit,
    /// the result, and whether the supervisor has noticed the worker's death.
    struct WakeupModel {
        mutex: Mutex<()>,
        driver: DriverWord,
        wake_at: AtomicU32,
        result: AtomicU32,
        death: AtomicU32,
    }

    impl WakeupModel {
        fn new() -> Arc<WakeupModel> {
            let [wake_at, result, death] = std::array::from_fn(|_| flag());
            let (mutex, driver) = (Mutex::new(()), DriverWord::new());
            Arc::new(WakeupModel { mutex, driver, wake_at, result, death })
        }

        fn is_over(&self) -> bool {
            is_set(&self.result) || is_set(&self.death)
        }

        /// The driver's side, as in `Core::sleep`.
        fn join(&self) {
            loop {
                let state = self.mutex.lock().unwrap();
                self.driver.set(Driver::Awake);
                if self.is_over() {
                    return;
                }
                self.wake_at.store(1, Ordering::Relaxed);
                let is_armed = self.driver.arm(Driver::Joiner, || self.is_over());
                drop(state);
                if is_armed {
                    self.driver.sleep(None);
                }
            }
        }

        /// The worker's side, as in `WorkerSide::commit`.
        fn commit(&self, take: fn(&WakeupModel) -> Driver) {
            set(&self.result);
            if take(self) == Driver::Joiner {
                self.driver.wake_taken_joiner();
            }
        }

        fn is_awaited(&self) -> bool {
            self.wake_at.load(Ordering::Relaxed) == 1
        }

        fn take(&self) -> Driver {
            self.driver.take_after_commit(|| self.is_awaited())
        }

        fn take_without_fence(&self) -> Driver {
            if self.is_awaited() { self.driver.take() } else { Driver::Awake }
        }
    }

    fn a_commit_wakes_a_sleeping_driver(take: fn(&WakeupModel) -> Driver) {
        let shared = WakeupModel::new();
        let driver = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.join())
        };
        shared.commit(take);
        driver.join().unwrap();
    }

    #[test]
    fn loom_a_driver_that_sleeps_misses_no_commit() {
        loom::model(|| a_commit_wakes_a_sleeping_driver(WakeupModel::take));
    }

    // The negative control: without the fence the worker can miss that the driver has armed.
    #[test]
    #[should_panic(expected = "deadlock")]
    fn loom_without_its_fence_a_worker_misses_a_sleeping_driver() {
        loom::model(|| a_commit_wakes_a_sleeping_driver(WakeupModel::take_without_fence));
    }

    /// A worker fills its ring with a result that no thread awaits, and waits for room. The driver
    /// sleeps, or is about to; it makes room when it has seen the result. Before it sleeps it
    /// checks `needs_drain` of the result and of `waiting`, as `State::arm` does.
    fn a_worker_without_room_wakes_the_driver(
        ring: fn(&DriverWord),
        needs_drain: fn(&AtomicU32, &AtomicU32) -> bool,
    ) {
        let shared = Arc::new((WakeupModel::new(), ParkWord::new(), flag(), flag()));
        let worker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (model, parked, waiting, room) = &*shared;
                set(&model.result);
                assert_eq!(model.driver.take_after_commit(|| false), Driver::Awake);
                waiting.store(1, Ordering::Relaxed);
                assert!(parked.park(|| is_set(room), || ring(&model.driver), None));
            })
        };
        let (model, parked, waiting, room) = &*shared;
        while !is_set(&model.result) {
            if model.driver.arm(Driver::Joiner, || needs_drain(&model.result, waiting)) {
                model.driver.sleep(None);
            }
            model.driver.set(Driver::Awake);
        }
        set(room);
        parked.wake_if_waiting(waiting);
        worker.join().unwrap();
    }

    fn ring(word: &DriverWord) {
        if word.take() == Driver::Joiner {
            word.wake_taken_joiner();
        }
    }

    /// As `HostSide::is_without_room`.
    fn is_without_room(result: &AtomicU32, waiting: &AtomicU32) -> bool {
        is_set(result) && waiting.load(Ordering::Relaxed) == 1
    }

    #[test]
    fn loom_a_worker_that_waits_for_room_leaves_no_driver_asleep() {
        loom::model(|| a_worker_without_room_wakes_the_driver(ring, is_without_room));
    }

    // The negative control: the driver waits for a later result, and the worker for the driver.
    #[test]
    #[should_panic(expected = "deadlock")]
    fn loom_a_worker_that_waits_for_room_and_does_not_ring_waits_for_ever() {
        loom::model(|| a_worker_without_room_wakes_the_driver(|_| (), is_without_room));
    }

    // The negative control: the worker rings before the driver is armed, and is not seen.
    #[test]
    #[should_panic(expected = "deadlock")]
    fn loom_a_driver_that_does_not_look_for_a_worker_without_room_sleeps_for_ever() {
        loom::model(|| a_worker_without_room_wakes_the_driver(ring, |_, _| false));
    }

    /// Kills a worker before each operation of its commit. The supervisor, here the main thread,
    /// notices the death and calls `wake`.
    fn deaths_in_a_commit(wake: fn(&DriverWord)) {
        let mut operations = 0;
        let has_died = Arc::new(AtomicBool::new(true));
        while has_died.swap(false, Ordering::Relaxed) {
            let has_died = Arc::clone(&has_died);
            loom::model(move || {
                let shared = WakeupModel::new();
                let [driver, worker] = [Arc::clone(&shared), Arc::clone(&shared)];
                let driver = thread::spawn(move || driver.join());
                let commit = move || worker.commit(WakeupModel::take);
                let worker = thread::spawn(move || live_for(operations, commit).is_none());
                if worker.join().unwrap() {
                    has_died.store(true, Ordering::Relaxed);
                    let _state = shared.mutex.lock().unwrap();
                    set(&shared.death);
                    wake(&shared.driver);
                }
                driver.join().unwrap();
            });
            operations += 1;
        }
        assert!(operations > 3, "a commit has several operations");
    }

    #[test]
    fn loom_a_worker_that_dies_in_its_commit_leaves_no_driver_asleep() {
        deaths_in_a_commit(DriverWord::wake_joiner_anyway);
    }

    // The negative control: the word already says `Awake` if the worker died after its swap.
    #[test]
    #[should_panic(expected = "deadlock")]
    fn loom_a_supervisor_that_trusts_the_word_leaves_a_driver_asleep() {
        deaths_in_a_commit(|word| {
            if word.take() == Driver::Joiner {
                word.wake_taken_joiner();
            }
        });
    }
}
