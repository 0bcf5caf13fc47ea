//! Tests of the ring.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::prelude::*;

use super::header::RingHeader;
use super::record;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};
use crate::sync::{MessageBatch, Owner, OwnerTable, Ring, Timeout, Watch};

const TABLE_BYTES: usize = 1024;

/// A ring on the heap, with its own table.
struct Fixture {
    place: NonNull<u8>,
    layout: Layout,
    owner: Option<Owner>,
}

impl Fixture {
    fn new(capacity_bytes: usize) -> (Fixture, Ring) {
        let bytes = TABLE_BYTES + Ring::size_bytes(capacity_bytes).unwrap();
        let layout = Layout::from_size_align(bytes, Ring::ALIGN).unwrap();
        // SAFETY: the layout is not empty.
        let place = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
        // SAFETY: aligned and large enough, and alive until the fixture is dropped.
        let table = unsafe { OwnerTable::create(place, 4, 16, place, bytes) }.unwrap();
        let owner = Owner::claim(&table, Watch::Waiters).unwrap();
        let fixture = Fixture { place, layout, owner: Some(owner) };
        // SAFETY: the rest of the allocation is for the ring.
        let ring = unsafe { Ring::create(fixture.ring_place(), capacity_bytes, fixture.owner()) };
        (fixture, ring.unwrap())
    }

    fn ring_place(&self) -> NonNull<u8> {
        // SAFETY: within the allocation.
        unsafe { self.place.add(TABLE_BYTES) }
    }

    fn owner(&self) -> &Owner {
        self.owner.as_ref().unwrap()
    }

    fn attach(&self, room: usize) -> Result<Ring> {
        assert!(room <= self.layout.size() - TABLE_BYTES);
        // SAFETY: valid for that many bytes, alive until the fixture is dropped.
        unsafe { Ring::attach(self.ring_place(), room, self.owner()) }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.owner = None;
        // SAFETY: allocated with this layout; rings made of it are no longer used.
        unsafe { dealloc(self.place.as_ptr(), self.layout) };
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(Vec<u8>),
    PushBatch(Vec<Vec<u8>>),
    Reserve(Vec<u8>, bool),
    Pop,
    PopBatch(usize),
    Read(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let message = || proptest::collection::vec(any::<u8>(), 0..40);
    proptest::collection::vec(
        prop_oneof![
            message().prop_map(Step::Push),
            proptest::collection::vec(message(), 0..6).prop_map(Step::PushBatch),
            (message(), any::<bool>()).prop_map(|(m, commit)| Step::Reserve(m, commit)),
            Just(Step::Pop),
            (0usize..6).prop_map(Step::PopBatch),
            any::<bool>().prop_map(Step::Read),
        ],
        0..200,
    )
}

/// The expected behaviour: messages in order, as many as fit.
struct Oracle {
    messages: VecDeque<Vec<u8>>,
    data_bytes: u64,
}

impl Oracle {
    fn push(&mut self, message: &[u8]) -> bool {
        let used: u64 = self.messages.iter().map(|m| record::record_bytes(m.len() as u64)).sum();
        let fits = used + record::record_bytes(message.len() as u64) <= self.data_bytes;
        if fits {
            self.messages.push_back(message.to_vec());
        }
        fits
    }
}

fn take_step(ring: &Ring, oracle: &mut Oracle, batch: &mut MessageBatch, step: Step) {
    match step {
        Step::Push(message) => {
            let fits = oracle.push(&message);
            match ring.push(message.clone(), Timeout::Now) {
                Ok(()) => assert!(fits),
                Err(refused) => {
                    assert!(!fits && matches!(refused.error, Error::Full { .. }));
                    assert_eq!(refused.value, message, "the message comes back");
                }
            }
        }
        Step::PushBatch(messages) => {
            let expected = messages.iter().take_while(|message| oracle.push(message)).count();
            match ring.push_batch(&messages, Timeout::Now) {
                Ok(()) => assert_eq!(messages.len(), expected),
                Err(batch) => {
                    assert_eq!(batch.pushed, expected);
                    assert!(matches!(batch.error, Error::Full { .. }));
                }
            }
        }
        Step::Reserve(message, commit) => {
            let Ok(mut reserved) = ring.reserve(message.len() + 3, Timeout::Now) else { return };
            let (first, second) = message.split_at(message.len() / 2);
            reserved.write_at(first.len(), second);
            // SAFETY: this ring's bytes are not written otherwise.
            let (one, two) = unsafe { reserved.as_mut_slices() };
            for (byte, from) in one.iter_mut().chain(two).zip(first) {
                *byte = *from;
            }
            if commit {
                reserved.commit_first(message.len());
                assert!(oracle.push(&message));
            }
        }
        Step::Pop => match (ring.pop(Timeout::Now), oracle.messages.pop_front()) {
            (Ok(message), Some(expected)) => assert_eq!(message, expected),
            (Err(Error::Empty { .. }), None) => {}
            (got, expected) => panic!("{got:?} where {expected:?} was due"),
        },
        Step::PopBatch(most) => {
            let outcome = ring.pop_batch(batch, most, Timeout::Now);
            let count = most.min(oracle.messages.len());
            assert_eq!(outcome.is_ok(), count > 0 || most == 0);
            let expected: Vec<Vec<u8>> = oracle.messages.drain(..count).collect();
            assert_eq!(batch.iter().collect::<Vec<_>>(), expected);
        }
        Step::Read(consume) => match ring.read(Timeout::Now) {
            Ok(message) => {
                let expected = &oracle.messages[0];
                let mut copy = vec![0; message.length()];
                message.read_at(0, &mut copy);
                assert_eq!(&copy, expected);
                // SAFETY: this ring's bytes are not written otherwise.
                let (first, second) = unsafe { message.as_slices() };
                assert_eq!(&[first, second].concat(), expected);
                if consume {
                    message.consume();
                    oracle.messages.pop_front();
                }
            }
            Err(error) => {
                assert!(oracle.messages.is_empty() && matches!(error, Error::Empty { .. }));
            }
        },
    }
}

proptest! {
    #[test]
    fn a_ring_is_a_bounded_queue(capacity in 1usize..300, lap in any::<u64>(), steps in steps()) {
        let (_fixture, ring) = Fixture::new(capacity);
        // Start at any position, so that positions wrap around 2^64 too.
        let start = lap & !7;
        let (head, tail) = (&ring.header().head, &ring.header().tail);
        for position in [&head.0, &tail.0, &ring.push.seen, &ring.pop.seen] {
            position.store(start, Ordering::Relaxed);
        }
        let mut oracle = Oracle { messages: VecDeque::new(), data_bytes: ring.data_bytes };
        let mut batch = MessageBatch::new();
        for step in steps {
            let too_large = |m: &Vec<u8>| m.len() as u64 + 3 > ring.capacity_bytes();
            let skip = match &step {
                Step::Push(m) | Step::Reserve(m, _) => too_large(m),
                Step::PushBatch(messages) => messages.iter().any(too_large),
                _ => false,
            };
            if !skip {
                take_step(&ring, &mut oracle, &mut batch, step);
            }
        }
    }

    #[test]
    fn overwritten_words_are_reported_and_never_a_wrong_length(
        lengths in proptest::collection::vec(0usize..50, 1..8),
        overwrites in proptest::collection::vec((0usize..170, any::<u64>(), any::<bool>()), 1..4),
    ) {
        let (fixture, ring) = Fixture::new(512);
        let mut pushed = Vec::new();
        for length in lengths {
            ring.push(vec![1; length], Timeout::Now).unwrap();
            pushed.push(length);
        }
        let words = fixture.ring_place().cast::<AtomicU64>();
        for (index, value, is_small) in overwrites {
            // Not the shared line: its words are geometry that was read at the start, or close the
            // ring.
            let index = 16 + index % (size_of::<RingHeader>() / 8 + 64 - 16);
            if index == 16 || index == 48 {
                // The locks: an unknown holder is treated as a dead one, which takes a slice.
                continue;
            }
            // SAFETY: within the header and its first 512 bytes of data.
            let word = unsafe { words.add(index) };
            // SAFETY: all atomics.
            let word = unsafe { word.as_ref() };
            word.store(if is_small { value % 1024 } else { value }, Ordering::Relaxed);
        }
        let mut outcome = Ok(Vec::new());
        let mut popped = 0;
        while popped <= 64 {
            outcome = ring.pop(Timeout::Now);
            match &outcome {
                Ok(message) => prop_assert!(pushed.contains(&message.len())),
                Err(_) => break,
            }
            popped += 1;
        }
        let is_known = matches!(outcome, Err(Error::Empty { .. } | Error::Corrupt { .. }));
        prop_assert!(is_known, "{outcome:?}");
        let refused = ring.push([0; 400], Timeout::Now);
        let is_known = match &refused {
            Ok(()) => true,
            Err(refused) => matches!(refused.error, Error::Full { .. } | Error::Corrupt { .. }),
        };
        prop_assert!(is_known, "{refused:?}");
    }

    #[test]
    fn attaching_to_random_bytes_is_an_error_or_a_ring_that_fits(
        words in proptest::collection::vec(any::<u64>(), 8), room in 0usize..2000,
    ) {
        let (fixture, ring) = Fixture::new(1000);
        let cold = &ring.header().common.0;
        if words[0] % 2 == 0 {
            cold.magic.store(words[1], Ordering::Relaxed);
        }
        cold.data_bytes.store(words[2] >> (words[3] % 64), Ordering::Relaxed);
        match fixture.attach(room.min(1024 + 640)) {
            Ok(ring) => assert!(ring.data_bytes + 640 <= room as u64),
            Err(error) => assert!(matches!(error, Error::Layout { .. })),
        }
    }
}

#[test]
fn messages_of_every_producer_come_out_once_and_in_its_order() {
    const EACH: u32 = 5_000;
    let (_fixture, ring) = Fixture::new(512);
    let taken: Vec<Vec<(u32, u32)>> = std::thread::scope(|scope| {
        let ring = &ring;
        let producers = [0u32, 1, 2].map(|producer| {
            scope.spawn(move || {
                for number in 0..EACH {
                    let mut message = [producer.to_le_bytes(), number.to_le_bytes()].concat();
                    message.resize(8 + number as usize % 30, 7);
                    if number % 5 == 0 {
                        ring.push_batch(&[message], Timeout::Never).unwrap();
                    } else {
                        ring.push(message, Timeout::Never).unwrap();
                    }
                }
            })
        });
        let consumers = [0, 1].map(|consumer| {
            scope.spawn(move || {
                let (mut taken, mut batch) = (Vec::new(), MessageBatch::new());
                loop {
                    let most = 1 + 6 * consumer;
                    match ring.pop_batch(&mut batch, most, Timeout::Never) {
                        Ok(()) => {}
                        Err(Error::Closed { .. }) => return taken,
                        Err(error) => panic!("{error}"),
                    }
                    for message in batch.iter() {
                        let word =
                            |at: usize| u32::from_le_bytes(message[at..at + 4].try_into().unwrap());
                        assert_eq!(message.len(), 8 + word(4) as usize % 30);
                        taken.push((word(0), word(4)));
                    }
                }
            })
        });
        for producer in producers {
            producer.join().unwrap();
        }
        ring.close().unwrap();
        consumers.map(|consumer| consumer.join().unwrap()).into()
    });
    for consumer in &taken {
        for producer in 0..3 {
            let numbers: Vec<u32> =
                consumer.iter().filter(|(p, _)| *p == producer).map(|(_, n)| *n).collect();
            assert!(numbers.is_sorted(), "each consumer sees a producer's messages in order");
        }
    }
    let mut all: Vec<(u32, u32)> = taken.concat();
    all.sort_unstable();
    let expected: Vec<(u32, u32)> = (0..3).flat_map(|p| (0..EACH).map(move |n| (p, n))).collect();
    assert_eq!(all, expected);
}

#[test]
fn a_ring_that_was_closed_gives_out_its_messages_and_then_is_closed() {
    let (_fixture, ring) = Fixture::new(100);
    ring.push(b"last", Timeout::Never).unwrap();
    ring.close().unwrap();
    assert!(matches!(ring.push(b"no", Timeout::Now).unwrap_err().error, Error::Closed { .. }));
    assert_eq!(ring.pop(Timeout::Never).unwrap(), b"last");
    assert!(matches!(ring.pop(Timeout::Never), Err(Error::Closed { .. })));
    assert!(matches!(ring.pop(Timeout::Now), Err(Error::Closed { .. })));
}

#[test]
fn a_ring_that_was_closed_at_once_gives_out_no_message() {
    let (_fixture, ring) = Fixture::new(100);
    ring.push(b"lost", Timeout::Never).unwrap();
    ring.close_now();
    assert!(matches!(ring.pop(Timeout::Now), Err(Error::Closed { .. })));
    assert!(ring.is_closed());
}

#[test]
fn closing_wakes_the_waiters_of_both_sides() {
    for now in [false, true] {
        let (_one, full) = Fixture::new(8);
        let (_two, empty) = Fixture::new(8);
        full.push([0; 8], Timeout::Never).unwrap();
        std::thread::scope(|scope| {
            let producer =
                scope.spawn(|| full.push([1; 8], Timeout::Never).map_err(|refused| refused.error));
            let consumer = scope.spawn(|| empty.pop(Timeout::Never));
            let asleep = 1 << 31;
            let words = [&full.header().common.0.drained, &empty.header().common.0.filled];
            for word in words.map(|word| NonNull::from(word).cast::<AtomicU32>()) {
                // SAFETY: an event count is its atomic word.
                while unsafe { word.as_ref() }.load(Ordering::Relaxed) & asleep == 0 {
                    std::thread::yield_now();
                }
            }
            for ring in [&full, &empty] {
                if now { ring.close_now() } else { ring.close().unwrap() }
            }
            assert!(matches!(producer.join().unwrap(), Err(Error::Closed { .. })));
            assert!(matches!(consumer.join().unwrap(), Err(Error::Closed { .. })));
        });
    }
}

#[test]
fn a_message_that_can_never_fit_is_refused_at_once_and_comes_back() {
    let (_fixture, ring) = Fixture::new(56);
    assert_eq!(ring.capacity_bytes(), 56);
    let refused = ring.push(vec![5; 57], Timeout::Never).unwrap_err();
    assert_eq!(refused.value, vec![5; 57]);
    assert!(matches!(refused.error, Error::TooLarge { size_bytes: 57, limit_bytes: 56, .. }));
    ring.push(vec![6; 56], Timeout::Never).unwrap();
    assert_eq!(ring.pop(Timeout::Never).unwrap(), vec![6; 56]);
    let partly =
        ring.push_batch(&[vec![1; 8], vec![2; 57], vec![3; 8]], Timeout::Never).unwrap_err();
    assert_eq!(partly.pushed, 1);
    assert!(matches!(partly.error, Error::TooLarge { .. }));
}

#[test]
fn waits_for_room_and_for_messages_time_out() {
    let (_fixture, ring) = Fixture::new(8);
    let short = Duration::from_millis(1);
    assert!(matches!(ring.pop(short), Err(Error::TimedOut { .. })));
    ring.push([0; 8], short).unwrap();
    assert!(matches!(ring.push([1; 8], short).unwrap_err().error, Error::TimedOut { .. }));
    assert!(matches!(ring.reserve(8, short), Err(Error::TimedOut { .. })));
    let batch = ring.push_batch(&[[2; 8]], short).unwrap_err();
    assert!(batch.pushed == 0 && matches!(batch.error, Error::TimedOut { .. }));
    ring.read(short).unwrap().consume();
    assert!(matches!(
        ring.pop_batch(&mut MessageBatch::new(), 3, short),
        Err(Error::TimedOut { .. })
    ));
}

#[test]
fn a_lock_that_stays_held_times_out_even_for_a_try() {
    let (_fixture, ring) = Fixture::new(64);
    ring.push([1], Timeout::Never).unwrap();
    let _reserved = ring.reserve(4, Timeout::Never).unwrap();
    let _message = ring.read(Timeout::Never).unwrap();
    assert!(matches!(ring.push([1], Timeout::Now).unwrap_err().error, Error::TimedOut { .. }));
    assert!(matches!(ring.pop(Timeout::Now), Err(Error::TimedOut { .. })));
}

#[test]
fn an_attached_ring_is_the_same_ring() {
    let (fixture, ring) = Fixture::new(200);
    let other = fixture.attach(640 + 256).unwrap();
    ring.push(b"over there", Timeout::Never).unwrap();
    assert_eq!(other.pop(Timeout::Never).unwrap(), b"over there");
    assert!(ring.is_empty());
    assert!(matches!(fixture.attach(640 + 255), Err(Error::Layout { .. })));
    assert!(matches!(fixture.attach(639), Err(Error::Layout { .. })));
}

#[test]
fn a_capacity_out_of_range_is_refused() {
    for capacity in [0, (1 << 31) + 1, usize::MAX] {
        let refused = Ring::size_bytes(capacity);
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{capacity}");
    }
}

#[test]
fn a_reader_survives_a_mutator_that_flips_words() {
    const ROUNDS: u32 = 30_000;
    const LENGTH: usize = 24;
    let (fixture, ring) = Fixture::new(1000);
    let ring = &ring;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let place = fixture.ring_place().as_ptr().expose_provenance();
        let stop = &stop;
        scope.spawn(move || {
            let mut random = 1u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                // Head, tail, and data, but neither geometry nor locks: those are other tests.
                let index = match random >> 60 {
                    0 => 32,
                    1 => 64,
                    _ => 80 + (random >> 40) % 128,
                };
                let index = usize::try_from(index).unwrap();
                let word = std::ptr::with_exposed_provenance::<AtomicU64>(place + index * 8);
                // SAFETY: within the ring, all atomics.
                let word = unsafe { &*word };
                word.fetch_xor(1 << (random >> 33 & 63), Ordering::Relaxed);
            }
        });
        let mut message = Vec::new();
        for _ in 0..ROUNDS {
            let _ = ring.push([3; LENGTH], Timeout::Now);
            if ring.pop_into(&mut message, Timeout::Now).is_ok() {
                assert_eq!(message.len(), LENGTH);
            } else {
                // Start over: what the mutator broke stays broken.
                ring.header().head.0.store(0, Ordering::Relaxed);
                ring.header().tail.0.store(0, Ordering::Relaxed);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
