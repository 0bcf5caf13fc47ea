//! Task descriptors, results and messages that anybody may have written.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use super::queue_pair::{ByteRing, Place, ResultMeta, TaskMeta, load_words};
use crate::process::function::FunctionOffset;
use crate::process::message::{Report, Request};

/// Words are refused, or a payload is read of exactly the length that they say.
pub(crate) fn task(bytes: &[u8]) {
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
        read(task.place, task.len);
    }
    if let Ok(result) = ResultMeta::unpack(meta, place) {
        read(result.place, result.len);
    }
    let slots: Vec<AtomicU64> = words.map(AtomicU64::new).collect();
    let (mut out, len) = (Vec::new(), slots.len() * 8);
    load_words(&slots, len, &mut out);
    assert_eq!(out.len(), len);
}

fn read(place: Place, len: usize) {
    static RING: OnceLock<Box<ByteRing>> = OnceLock::new();
    let Place::Ring(position) = place else { return };
    let mut out = Vec::new();
    if RING.get_or_init(ByteRing::zeroed).read(position, len, &mut out).is_ok() {
        assert_eq!(out.len(), len);
    }
}
