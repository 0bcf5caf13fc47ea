//! Fuzz targets: readers of bytes that another process wrote.
//!
//! Each function takes arbitrary bytes. It panics if a reader reads out of bounds or returns a
//! wrong length, and hangs if a reader does. `fuzz/` runs them without end; the tests here replay
//! its corpus and a bounded number of mutations of it.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, LinkedList, VecDeque};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::array::codec;
use crate::atomics::{AtomicU64, Ordering};
use crate::object::snapshot;
use crate::process::function::FunctionOffset;
use crate::process::message::{Report, Request};
use crate::region::name::Name;
use crate::region::npy;
use crate::sync::{Owner, OwnerTable, Ring, Timeout, Watch};
use crate::sys::{identity, shm};
use crate::worker::queue_pair::{ByteRing, Place, ResultMeta, TaskMeta, load_words};

/// A header of a `.npy` file or region is rejected, or describes elements that can be addressed.
pub fn header(bytes: &[u8]) {
    let Ok(header) = npy::parse(bytes, "fuzz") else { return };
    let size = header.shape.size_bytes(header.dtype.size_bytes());
    assert_eq!(size, Some(header.data_bytes), "{header:?}");
    assert!(header.data_offset <= bytes.len(), "{header:?}");
    assert!(header.data_offset.checked_add(header.data_bytes).is_some_and(|end| end < 1 << 63));
    if header.data_bytes > isize::MAX.unsigned_abs() - 2 * npy::DATA_OFFSET {
        // The header that this crate writes is longer, and leaves less room for elements.
        return;
    }
    // An accepted header can be written again, with the same meaning.
    let again = npy::encode(header.dtype, &header.shape).expect("at most 32 dimensions");
    let read = npy::parse(&again, "fuzz").expect("what this crate writes");
    assert_eq!((read.dtype, read.shape), (header.dtype, header.shape));
}

/// A name is rejected, or refers to a file directly under `/dev/shm`.
pub fn name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(name) = Name::new(&text) else { return };
    assert_eq!(name.as_str(), text);
    let path = shm::path_of(name.as_str());
    assert_eq!(path.parent(), Some(Path::new(shm::DIRECTORY)), "{text:?}");
    assert_eq!(path.file_name().and_then(|file| file.to_str()), Some(name.as_str()));
}

/// Descriptors of tasks and results, and messages of the fork server, are rejected, or a payload of
/// exactly the stated length is read.
pub fn task(bytes: &[u8]) {
    // The sockets' messages.
    let _ = Request::parse(bytes);
    let _ = Report::parse(bytes);
    let mut words = bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().expect("chunks of eight")));
    let (Some(meta), Some(place)) = (words.next(), words.next()) else { return };
    let _ = FunctionOffset::address(place);
    if let Ok(task) = TaskMeta::unpack(meta, place) {
        assert_eq!(TaskMeta::unpack(task.pack().0, task.pack().1).ok(), Some(task));
        read_payload(task.place, task.len);
    }
    if let Ok(result) = ResultMeta::unpack(meta, place) {
        read_payload(result.place, result.len);
    }
    let slots: Vec<AtomicU64> = words.map(AtomicU64::new).collect();
    let (mut out, len) = (Vec::new(), slots.len() * 8);
    load_words(&slots, len, &mut out);
    assert_eq!(out.len(), len);
}

fn read_payload(place: Place, len: usize) {
    static RING: OnceLock<Box<ByteRing>> = OnceLock::new();
    let Place::Ring(position) = place else { return };
    let mut out = Vec::new();
    if RING.get_or_init(ByteRing::zeroed).read(position, len, &mut out).is_ok() {
        assert_eq!(out.len(), len);
    }
}

/// Offset of the namespace number: the second word of the owner table, which follows the header.
const NAMESPACE_OFFSET: usize = 64 + 8;

/// An object memory is rejected, or its table and directory are read within the bytes.
pub fn object(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    // A corpus cannot know the namespace of the process that replays it: zero stands for it.
    if let Some(word) = bytes.get_mut(NAMESPACE_OFFSET..NAMESPACE_OFFSET + 8)
        && word.iter().all(|&byte| byte == 0)
    {
        let own = identity::namespaces().expect("/proc is mounted");
        word.copy_from_slice(&own.to_ne_bytes());
    }
    // As a whole memory, and as the beginning of a larger one.
    for total_bytes in [bytes.len(), bytes.len() + (1 << 20)] {
        let Ok(found) = snapshot::of_bytes(&bytes, total_bytes) else { continue };
        assert!(found.body_bytes <= total_bytes, "{found:?}");
        if let Some((claimants, _)) = found.users {
            assert!(claimants.len() <= bytes.len() / 16 + 8, "{} claimants", claimants.len());
        }
    }
}

/// Offset of the ring, in bytes.
const RING_OFFSET: usize = 1024;
const PLACE_BYTES: usize = RING_OFFSET + 640 + 1024;
const CAPACITY_BYTES: usize = 600;
/// The most calls that one input can cause.
const STEPS_MAX: usize = 64;

#[repr(C, align(128))]
struct RingPlace([u8; PLACE_BYTES]);

/// Runs an input as steps on a ring: each step pushes, pops, overwrites a word or attaches again.
/// Every call returns, and no message is longer than the ring.
pub fn ring(bytes: &[u8]) {
    let leaked: &'static mut RingPlace = Box::leak(Box::new(RingPlace([0; PLACE_BYTES])));
    let place = NonNull::from(leaked).cast::<u8>();
    play_ring(place, bytes);
    // SAFETY: leaked from a box above; everything in it was dropped by `play_ring`.
    drop(unsafe { Box::from_raw(place.cast::<RingPlace>().as_ptr()) });
}

fn play_ring(place: NonNull<u8>, mut bytes: &[u8]) {
    // SAFETY: aligned, large enough for 4 owners and 16 entries, freed after this returns.
    let table = unsafe { OwnerTable::create(place, 4, 16, place, PLACE_BYTES) }.expect("it fits");
    let owner = Owner::claim(&table, Watch::Waiters).expect("the table is empty");
    // SAFETY: within the place.
    let ring_place = unsafe { place.add(RING_OFFSET) };
    // SAFETY: only the ring uses the rest of the place, which is aligned to 128.
    let made = unsafe { Ring::create(ring_place, CAPACITY_BYTES, &owner) };
    let mut ring = made.expect("it fits");
    for _ in 0..STEPS_MAX {
        let Some((&step, rest)) = bytes.split_first() else { break };
        bytes = rest;
        match step % 4 {
            0 => {
                let (message, rest) = bytes.split_at(bytes.len().min(usize::from(step)));
                bytes = rest;
                let _ = ring.push(message, Timeout::Now);
            }
            1 => {
                if let Ok(message) = ring.pop(Timeout::Now) {
                    assert!(message.len() as u64 <= ring.capacity_bytes(), "{}", message.len());
                }
            }
            2 => {
                let Some((change, rest)) = bytes.split_first_chunk::<9>() else { break };
                bytes = rest;
                let value = u64::from_le_bytes(*change.last_chunk().expect("nine bytes"));
                overwrite_word(ring_place, usize::from(change[0]), value);
            }
            _ => {
                // SAFETY: as for the creation; all users access the words as atomics.
                let again = unsafe { Ring::attach(ring_place, PLACE_BYTES - RING_OFFSET, &owner) };
                // If it is rejected the old handle stays in use.
                ring = again.unwrap_or(ring);
            }
        }
    }
}

fn overwrite_word(ring: NonNull<u8>, word: usize, value: u64) {
    let word = word % ((PLACE_BYTES - RING_OFFSET) / 8);
    // SAFETY: within the place.
    let word = unsafe { ring.cast::<AtomicU64>().add(word) };
    // SAFETY: aligned and within the place; all users access it as an atomic.
    unsafe { word.as_ref() }.store(value, Ordering::Relaxed);
}

/// A recursive type with every kind of serde node.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Newtype(Box<Tree>),
    Tuple(u8, Box<Tree>, ()),
    Struct { left: Option<Box<Tree>>, right: Link },
    Sequence(Vec<Tree>),
    Map(BTreeMap<u16, Tree>),
    Text(String, char),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Link(Option<Box<Link>>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Forest {
    trees: Vec<Forest>,
    by_name: BTreeMap<String, Forest>,
}

/// Collections whose elements take no bytes, alone and nested.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Empty {
    units: Vec<()>,
    arrays: VecDeque<[u64; 0]>,
    markers: LinkedList<PhantomData<u8>>,
    map: BTreeMap<(), ()>,
    nested: Vec<Vec<((), [(); 7])>>,
}

/// Decodes `bytes` as values of types that nest, or whose elements take no bytes.
///
/// # Panics
///
/// If a decoded value cannot be encoded again, or decodes to a different value.
pub fn value(bytes: &[u8]) {
    round_trip::<Tree>(bytes);
    round_trip::<Link>(bytes);
    round_trip::<Forest>(bytes);
    round_trip::<Vec<()>>(bytes);
    round_trip::<Vec<Vec<()>>>(bytes);
    round_trip::<Empty>(bytes);
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok((value, _)) = codec::decode_first::<T>(bytes) else { return };
    let mut again = Vec::new();
    codec::encode_onto(&mut again, &value).expect("a decoded value encodes");
    assert!(codec::decode::<T>(&again).expect("an encoded value decodes") == value);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The mutations of the corpus on which each target is run.
    const MUTATIONS: usize = 3000;

    /// The inputs of a target, in the order of their names.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let entries = fs::read_dir(&directory).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// Numbers that are the same in each run, by xorshift.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, end: usize) -> usize {
            usize::try_from(self.next() % end.max(1) as u64).unwrap()
        }
    }

    /// Changes an input in one way: a bit, a critical word, a cut, a part of another input.
    fn mutate(input: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
        const WORDS: [u64; 8] =
            [0, 1, 7, 0x7fff_ffff, 0xffff_ffff, 1 << 40, i64::MAX as u64, u64::MAX];
        let at = numbers.below(input.len());
        match numbers.next() % 5 {
            0 if !input.is_empty() => input[at] ^= 1 << numbers.below(8),
            1 if !input.is_empty() => input[at] = numbers.next().to_le_bytes()[0],
            2 => {
                let word = WORDS[numbers.below(WORDS.len())].to_le_bytes();
                let end = input.len().min(at + 8);
                input[at..end].copy_from_slice(&word[..end - at]);
            }
            3 => input.truncate(at),
            _ => {
                let from = numbers.below(other.len());
                let end = other.len().min(from + numbers.below(16));
                input.splice(at..at, other[from..end].iter().copied());
            }
        }
    }

    fn attack(target: &str, run: impl Fn(&[u8])) {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "fuzz/corpus/{target} has no input");
        corpus.iter().for_each(|input| run(input));
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for _ in 0..MUTATIONS {
            let mut input = corpus[numbers.below(corpus.len())].clone();
            for _ in 0..=numbers.below(4) {
                let other = &corpus[numbers.below(corpus.len())];
                mutate(&mut input, other, &mut numbers);
            }
            run(&input);
        }
    }

    #[test]
    fn any_header_is_refused_or_describes_what_is_there() {
        attack("header", super::header);
    }

    #[test]
    fn any_name_is_refused_or_stays_in_the_directory() {
        attack("name", super::name);
    }

    #[test]
    fn any_ring_answers_and_returns_no_message_longer_than_itself() {
        attack("ring", super::ring);
    }

    #[test]
    fn any_object_memory_is_refused_or_read_within_its_bytes() {
        attack("object", super::object);
    }

    #[test]
    fn any_value_is_refused_or_decoded_within_bounds_and_then_encoded_again() {
        attack("value", super::value);
    }

    #[test]
    fn any_descriptor_is_refused_or_read_by_its_length() {
        attack("task", super::task);
    }
}
