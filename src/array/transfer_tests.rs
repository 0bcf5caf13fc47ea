//! Tests of handles that travel between host and worker.

use std::rc::Rc;

use std::sync::{Arc, PoisonError};

use crate::array::wire_handle::WireHandle;
use crate::array::{Frozen, OwnedChunk, SharedArray};
use crate::object::transfer::*;
use crate::region::arena::Arena;
use crate::region::windows::Windows;
use serde::{Deserialize, Serialize};

/// Serialises tests that count live handles: the count is one number for the whole test process.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker's windows on the host's arena, attached as a worker would.
fn worker_windows() -> Windows {
    let arena = Arena::host().unwrap();
    let fd = arena.fd().try_clone_to_owned().unwrap();
    Windows::attach(fd, arena.id(), arena.size_bytes()).unwrap()
}

/// Runs `body` in this scope.
fn within<R>(_scope: Scope, body: impl FnOnce() -> R) -> R {
    body()
}

fn wires(leases: &[Lease]) -> Vec<WireLease> {
    leases.iter().map(Lease::wire).collect()
}

fn pack<T: Serialize>(value: &T) -> Result<(Vec<u8>, LeaseList), postcard::Error> {
    encode(|| postcard::to_allocvec(value))
}

fn unpack<T: for<'de> Deserialize<'de>>(
    windows: &Windows,
    leases: &[WireLease],
    bytes: &[u8],
) -> Result<T, postcard::Error> {
    within(decoding(windows, leases), || postcard::from_bytes(bytes))
}

fn chunks_of(elements: &[u64], chunk_len: usize) -> Vec<OwnedChunk<u64>> {
    SharedArray::from_slice(elements).unwrap().into_chunks(chunk_len).unwrap()
}

#[test]
fn a_frozen_array_is_read_in_a_worker_without_a_copy() {
    let _alone = alone();
    let frozen = SharedArray::from_fn([3, 5], |[i, j]| 10 * i + j).unwrap().freeze();
    // The same array twice is one lease.
    let (bytes, leases) = pack(&(&frozen, &frozen)).unwrap();
    assert_eq!(leases.len(), 1);
    let windows = worker_windows();
    let (first, second): (Frozen<usize>, Frozen<usize>) =
        unpack(&windows, &wires(&leases), &bytes).unwrap();
    assert_eq!(first.as_slice(), frozen.as_slice());
    assert_eq!(first.as_slice().as_ptr(), second.as_slice().as_ptr());
    assert_ne!(first.as_slice().as_ptr(), frozen.as_slice().as_ptr(), "it has windows of its own");
    assert_eq!((first.shape(), live_handles()), (frozen.shape(), 2));
    drop((first, second));
    assert_eq!(live_handles(), 0);
}

#[test]
fn a_chunk_goes_to_a_worker_and_back_with_what_it_wrote() {
    let _alone = alone();
    let mut chunks = chunks_of(&[1, 2, 3, 4, 5], 2);
    let middle = chunks.remove(1);
    let (bytes, leases) = pack(&middle).unwrap();
    assert!(middle.is_moved());
    let windows = worker_windows();
    let mut inside: OwnedChunk<u64> = unpack(&windows, &wires(&leases), &bytes).unwrap();
    assert_eq!(inside.offset(), 2);
    assert_eq!(inside.as_slice(), [3, 4]);
    inside.as_mut_slice().fill(9);
    let back = within(encoding_back(), || postcard::to_allocvec(&inside)).unwrap();
    assert!(inside.is_moved());
    drop(inside);
    assert_eq!(live_handles(), 0);
    let returned: OwnedChunk<u64> =
        within(redeeming(leases), || postcard::from_bytes(&back)).unwrap();
    chunks.push(returned);
    assert_eq!(SharedArray::from_chunks(chunks).unwrap().as_slice(), [1, 2, 9, 9, 5]);
    assert!(middle.is_moved(), "the right is in the returned handle");
}

#[test]
fn no_handle_is_serialised_outside_of_a_task() {
    let frozen = SharedArray::from_slice(&[1u8]).unwrap().freeze();
    let mut chunk = chunks_of(&[1], 1).remove(0);
    let message = serde_json::to_string(&frozen).unwrap_err().to_string();
    assert!(message.contains("task"), "{message}");
    assert!(serde_json::to_string(&chunk).is_err());
    assert_eq!(chunk.as_slice(), [1], "a rejected chunk stays in its handle");
    assert!(serde_json::from_str::<Frozen<u8>>("[0,0,[1],0]").is_err());
}

#[test]
fn a_chunk_is_moved_once_even_through_shared_handles() {
    let chunk = Rc::new(chunks_of(&[1, 2], 2).remove(0));
    let (_, leases) = pack(&*chunk).unwrap();
    assert!(pack(&*chunk).is_err());
    // The same chunk twice in one message is also an error, and a failed message returns
    // everything.
    drop(leases);
    assert!(pack(&(&*chunk, &*chunk)).is_err());
    assert!(!chunk.is_moved());
}

#[test]
#[should_panic(expected = "moved into a task")]
fn a_moved_chunk_cannot_be_accessed() {
    let mut chunk = chunks_of(&[1, 2], 2).remove(0);
    let _leases = pack(&chunk).unwrap();
    let _ = chunk.as_mut_slice();
}

#[test]
fn a_chunk_whose_lease_ends_is_back_in_its_handle() {
    let mut chunk = chunks_of(&[1, 2], 2).remove(0);
    let (_, leases) = pack(&chunk).unwrap();
    drop(leases);
    assert_eq!(chunk.as_slice(), [1, 2]);
}

// A lease returns its chunk, and releases the chunk's place a moment later. Reassembling the chunks
// in that moment panicked.
#[test]
fn a_lease_that_has_given_its_chunk_back_keeps_no_chunks_apart() {
    let chunks = chunks_of(&[1, 2, 3], 2);
    let (_, leases) = pack(&chunks[0]).unwrap();
    let Some(Right::Owned { owner_cell, .. }) = &leases[0].right else {
        panic!("a chunk is owned")
    };
    let place = Arc::clone(owner_cell);
    drop(leases);
    assert_eq!(SharedArray::from_chunks(chunks).unwrap().as_slice(), [1, 2, 3]);
    drop(place);
}

#[test]
fn chunks_are_back_in_their_handles_when_encoding_panics() {
    struct Bomb;
    impl Serialize for Bomb {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("on purpose")
        }
    }
    let mut chunk = chunks_of(&[7], 1).remove(0);
    let attempt = std::panic::AssertUnwindSafe(|| drop(pack(&(&chunk, Bomb))));
    assert!(std::panic::catch_unwind(attempt).is_err());
    assert_eq!(chunk.as_slice(), [7]);
    assert!(serde_json::to_string(&chunk).is_err(), "there is no context any more");
}

#[test]
fn an_owned_slot_is_taken_once() {
    let _alone = alone();
    let chunk = chunks_of(&[1, 2], 2).remove(0);
    let (bytes, leases) = pack(&chunk).unwrap();
    let twice = [bytes.clone(), bytes.clone()].concat();
    let windows = worker_windows();
    type Two = (OwnedChunk<u64>, OwnedChunk<u64>);
    assert!(unpack::<Two>(&windows, &wires(&leases), &twice).is_err());
    assert_eq!(live_handles(), 0);
    assert!(within(redeeming(leases), || postcard::from_bytes::<Two>(&twice)).is_err());
}

#[test]
fn hostile_leases_and_tickets_are_errors() {
    let _alone = alone();
    let frozen = SharedArray::from_slice(&[1u64, 2]).unwrap().freeze();
    let (bytes, leases) = pack(&frozen).unwrap();
    let (good, windows) = (leases[0].wire(), worker_windows());
    let size = Arena::host().unwrap().size_bytes() as u64;
    let bad = [
        WireLease { arena_id: good.arena_id ^ 1, ..good },
        WireLease { offset: size - 8, ..good },
        WireLease { offset: u64::MAX - 4, ..good },
        WireLease { offset: good.offset + 1, ..good },
        WireLease { len_bytes: 8, ..good },
        WireLease { len_bytes: u64::MAX, ..good },
        WireLease { element_bytes: 4, ..good },
        WireLease { kind: KIND_OWNED, ..good },
        WireLease { kind: 77, ..good },
    ];
    for lease in bad {
        assert!(unpack::<Frozen<u64>>(&windows, &[lease], &bytes).is_err(), "{lease:?}");
    }
    assert!(unpack::<Frozen<u64>>(&windows, &[], &bytes).is_err(), "no such slot");
    assert!(unpack::<Frozen<i64>>(&windows, &[good], &bytes).is_err(), "another type");
    assert!(unpack::<OwnedChunk<u64>>(&windows, &[good], &bytes).is_err(), "another kind");
    assert!(unpack::<Frozen<u64>>(&windows, &[good], &bytes).is_ok());
    for dims in [vec![3], vec![1], vec![u64::MAX, 2], vec![1; 33]] {
        let wire = WireHandle { dims, ..WireHandle::new::<u64>(0, 0, &[]) };
        let bytes = postcard::to_allocvec(&wire).unwrap();
        assert!(unpack::<Frozen<u64>>(&windows, &[good], &bytes).is_err(), "{wire:?}");
    }
    assert_eq!(live_handles(), 0);
}

#[test]
fn a_handle_of_an_earlier_task_cannot_be_returned() {
    let _alone = alone();
    let frozen = SharedArray::from_slice(&[1u64, 2]).unwrap().freeze();
    let (bytes, leases) = pack(&frozen).unwrap();
    let windows = worker_windows();
    let hidden: Frozen<u64> = unpack(&windows, &wires(&leases), &bytes).unwrap();
    let _current: Frozen<u64> = unpack(&windows, &wires(&leases), &bytes).unwrap();
    assert_eq!(live_handles(), 2);
    assert!(within(encoding_back(), || postcard::to_allocvec(&hidden)).is_err());
    // It cannot be lent to a pool inside the worker either, and what was made inside cannot be
    // returned.
    assert!(pack(&hidden).is_err());
    assert!(within(encoding_back(), || postcard::to_allocvec(&frozen)).is_err());
}

#[test]
fn a_frozen_array_comes_back_as_the_same_array() {
    let _alone = alone();
    let frozen = SharedArray::from_slice(&[1u64, 2]).unwrap().freeze();
    let address = frozen.as_slice().as_ptr();
    let (bytes, leases) = pack(&frozen).unwrap();
    drop(frozen);
    let inside: Frozen<u64> = unpack(&worker_windows(), &wires(&leases), &bytes).unwrap();
    let back = within(encoding_back(), || postcard::to_allocvec(&inside)).unwrap();
    drop(inside);
    let returned: Frozen<u64> = within(redeeming(leases), || postcard::from_bytes(&back)).unwrap();
    assert_eq!(returned.as_slice().as_ptr(), address);
    assert_eq!(returned.thaw().unwrap().as_slice().as_ptr(), address, "and is the last handle");
}

#[test]
fn an_empty_array_crosses() {
    let _alone = alone();
    let frozen = SharedArray::<f64>::zeroed([3, 0]).unwrap().freeze();
    let (bytes, leases) = pack(&frozen).unwrap();
    let inside: Frozen<f64> = unpack(&worker_windows(), &wires(&leases), &bytes).unwrap();
    assert_eq!((inside.len(), inside.shape().dims()), (0, &[3, 0][..]));
}

/// A handle of a memory, like those of primitives.
struct Handle(crate::object::Memory);

impl serde::Serialize for Handle {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        serialize_object(&self.0, serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Handle {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Handle, D::Error> {
        deserialize_object(deserializer, crate::object::Kind::Event, 7).map(Handle)
    }
}

#[test]
fn a_primitive_with_a_name_crosses_by_it_and_one_without_only_in_a_task() {
    use crate::object::{Kind, Memory, Spec};
    let _alone = alone();
    let name = format!("brigade-test-crossing-{}", std::process::id());
    let spec = Spec { kind: Kind::Event, tag: 7, entries: 1, body_bytes: 64 };
    let ((), memory) = Memory::create_named(&name, &spec, |_| Ok(())).unwrap();
    let bytes = postcard::to_allocvec(&Handle(memory.clone())).unwrap();
    let Handle(crossed) = postcard::from_bytes(&bytes).unwrap();
    assert!(crossed.is_same(&memory));
    memory.unlink().unwrap();
    assert!(postcard::from_bytes::<Handle>(&bytes).is_err(), "the name is gone");
    let ((), nameless) = Memory::create(&spec, |_| Ok(())).unwrap();
    assert!(postcard::to_allocvec(&Handle(nameless)).is_err());
}

#[test]
fn an_array_that_a_task_returns_is_taken_once_and_as_it_is() {
    type Two = (SharedArray<u64>, SharedArray<u64>);
    let array = SharedArray::from_fn([100, 100], |[i, j]| (i * j) as u64).unwrap();
    let returned = || encode_result(|| postcard::to_allocvec(&array)).unwrap();
    let (bytes, leases) = returned();
    assert!(bytes.len() < 100, "its elements are in a span");
    assert!(postcard::from_bytes::<SharedArray<u64>>(&bytes).is_err(), "there is no call");
    let back: SharedArray<u64> =
        within(redeeming(leases), || postcard::from_bytes(&bytes)).unwrap();
    assert_eq!(back, array);
    assert_ne!(back.as_slice().as_ptr(), array.as_slice().as_ptr());
    let (bytes, leases) = returned();
    let twice = [bytes.clone(), bytes.clone()].concat();
    assert!(within(redeeming(leases), || postcard::from_bytes::<Two>(&twice)).is_err());
    let (_, leases) = returned();
    assert!(
        within(redeeming(leases), || postcard::from_bytes::<SharedArray<i64>>(&bytes)).is_err()
    );
    // The bytes of another call, which has no span there.
    let (_, leases) = encode_result(|| postcard::to_allocvec(&1u8)).unwrap();
    assert!(
        within(redeeming(leases), || postcard::from_bytes::<SharedArray<u64>>(&bytes)).is_err()
    );
    assert!(pack(&array).is_err(), "it is no argument");
}
