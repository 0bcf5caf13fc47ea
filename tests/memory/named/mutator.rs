//! A process that overwrites a ring while another uses it.

use std::ptr::NonNull;
use std::time::Duration;

use brigade::sync::{Owner, OwnerTable, Ring, Watch};
use brigade::{Error, NamedArray, SharedArray};

use super::parts::{Part, say};
use crate::common::alone::{alone_in_turn, progress};
use crate::common::unique;

const CAPACITY_BYTES: usize = 2000;
const RING_OFFSET: usize = 1024;
const HEADER_WORDS: usize = 80;
const WORDS: usize = 512;
/// Tells the reader that the test is over.
const OVER: usize = WORDS;
/// The rounds that the reader has completed.
const ROUND: usize = WORDS + 1;
/// The number of bursts in which the mutator writes a few words.
const BURSTS: u64 = 300;
/// How long one call may take. A lock that seems to be held is checked again every 50 ms.
const PATIENCE: Duration = Duration::from_millis(20);

/// Runs the part that `words` name, if it is one of these.
pub(crate) fn part(words: &[&str]) -> bool {
    let ["mutate", name] = *words else { return false };
    let mut memory = SharedArray::<u64>::open(name).unwrap();
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    say("mutating");
    for _ in 0..BURSTS {
        let round = memory.get([ROUND]);
        for _ in 0..4 {
            flip(&mut memory, &mut numbers);
            std::thread::yield_now();
        }
        // The reader goes on meanwhile, but it should see most of what is written.
        while memory.get([ROUND]) == round {
            std::thread::yield_now();
        }
    }
    memory.set([OVER], 1).unwrap();
    true
}

fn flip(memory: &mut NamedArray<u64>, numbers: &mut Numbers) {
    // Half of them in the ring's header, where positions and locks are.
    let (first, words) =
        if numbers.next().is_multiple_of(2) { (RING_OFFSET / 8, HEADER_WORDS) } else { (0, WORDS) };
    let at = first + usize::try_from(numbers.next()).unwrap() % words;
    let old = memory.get([at]).unwrap();
    let new = match numbers.next() % 4 {
        0 => numbers.next(),
        1 => old ^ (1 << (numbers.next() % 64)),
        2 => numbers.next() % 64,
        _ => old.wrapping_add(8),
    };
    memory.set([at], new).unwrap();
}

/// Numbers that are the same in each run: xorshift.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A new table and a new ring in the memory of an array.
fn make(memory: &mut NamedArray<u64>) -> (Owner, Ring) {
    let bytes = WORDS * 8;
    // SAFETY: no slice of it is kept; only the pointer is used, by atomics.
    let start = NonNull::from(unsafe { memory.as_mut_slice() }).cast::<u8>();
    // SAFETY: elements begin at a page; the memory outlives what the test makes in it, and all
    // other writers use atomics.
    let table = unsafe { OwnerTable::create(start, 8, 16, start, bytes) }.unwrap();
    // The mutator may have filled the table before it is used.
    let owner = loop {
        if let Ok(owner) = Owner::claim(&table, Watch::Waiters) {
            break owner;
        }
        // SAFETY: as above.
        unsafe { OwnerTable::create(start, 8, 16, start, bytes) }.unwrap();
    };
    loop {
        // SAFETY: within the memory.
        let place = unsafe { start.add(RING_OFFSET) };
        // SAFETY: aligned, and the rest of the memory is the ring's.
        match unsafe { Ring::create(place, CAPACITY_BYTES, &owner) } {
            Ok(ring) => return (owner, ring),
            // SAFETY: as above; the directory may be full of what the mutator wrote.
            Err(_) => drop(unsafe { OwnerTable::create(start, 8, 16, start, bytes) }.unwrap()),
        }
    }
}

#[test]
fn a_ring_that_another_process_writes_over_answers_and_returns_no_wrong_length() {
    alone_in_turn(|| {
        let name = unique("mutated");
        let mut memory = SharedArray::<u64>::create(&name, [WORDS + 2]).unwrap();
        let (mut owner, mut ring) = make(&mut memory);
        let mut mutator = Part::start("mutate", &[&name]);
        mutator.expect("mutating");
        let (mut pushed, mut popped, mut corrupt) = (0u64, 0u64, 0u64);
        let mut round = 0;
        while memory.get([OVER]) == Some(0) {
            progress();
            round += 1;
            memory.set([ROUND], round).unwrap();
            // Lengths that are one more than a multiple of 7.
            let message = [7; 400];
            let length = usize::try_from(round % 50).unwrap() * 7 + 1;
            let put = ring.push(&message[..length], PATIENCE).map_err(|e| e.error);
            pushed += u64::from(put.is_ok());
            let got = ring.pop(PATIENCE);
            if let Ok(message) = &got {
                assert_eq!(message.len() % 7, 1, "a message of {} bytes", message.len());
                popped += 1;
            }
            for outcome in [put.err(), got.err()].into_iter().flatten() {
                match outcome {
                    Error::TimedOut { .. } | Error::Empty { .. } | Error::Full { .. } => {}
                    Error::Corrupt { .. } | Error::Closed { .. } => corrupt += 1,
                    other => panic!("{other:?}"),
                }
                drop(ring);
                drop(owner);
                (owner, ring) = make(&mut memory);
            }
        }
        drop(ring);
        drop(owner);
        mutator.succeeds();
        assert!(popped > 0 && corrupt > 0, "{pushed} pushed, {popped} popped, {corrupt} corrupt");
        println!("{pushed} pushed, {popped} popped, {corrupt} corrupt");
    });
}
