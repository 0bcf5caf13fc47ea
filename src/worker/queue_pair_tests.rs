//! Tests that packed words keep their values.

use super::*;
use proptest::prelude::*;

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![
        Just(Place::Inline),
        any::<u64>().prop_map(Place::Ring),
        any::<u64>().prop_map(Place::Span)
    ]
}

proptest! {
    #[test]
    fn packed_words_keep_their_values(
        place in places(), len in 0usize..1 << 32, leases in 0usize..1 << 20,
        elapsed_ns: u64, leave in 0usize..4, status in 0usize..5,
    ) {
        let task = TaskMeta { len, leases, place };
        let (meta, at) = task.pack();
        prop_assert_eq!(TaskMeta::unpack(meta, at).unwrap(), task);
        let status = [Status::Value, Status::Panicked, Status::ArgumentCodec,
            Status::ResultCodec, Status::Skipped][status];
        let leaving =
            [None, Some(LeaveReason::Tasks), Some(LeaveReason::Memory), Some(LeaveReason::Unclean)]
                [leave];
        let elapsed_ns = elapsed_ns >> (len % 64);
        let result = ResultMeta { status, leaving, elapsed_ns, len: len & 0xffff_ffff, place };
        let long = ResultMeta { len: result.len | 0x5 << 32, ..result };
        prop_assert_eq!(long.pack(), result.pack(), "a length leaves the other fields alone");
        let (meta, at) = result.pack();
        let found = ResultMeta::unpack(meta, at).unwrap();
        let most = elapsed_ns.min((1 << 50) - 1);
        prop_assert!(found.elapsed_ns <= most && most - found.elapsed_ns <= most >> 18);
        prop_assert_eq!(ResultMeta { elapsed_ns, ..found }, result);
    }

    #[test]
    fn a_payload_in_a_ring_neither_wraps_nor_meets_unread_bytes(
        tail in 0u64..1 << 40,
        used in 0u64..RING_BYTES as u64,
        len in 0..=RING_PAYLOAD_BYTES_MAX,
    ) {
        let (tail, used) = (tail & !7, used & !7);
        if let Some((start, end)) = ByteRing::place(tail + used, tail, len) {
            prop_assert!(start >= tail + used && end >= start + len as u64);
            prop_assert!(end - tail <= RING_BYTES as u64);
            prop_assert!(start % RING_BYTES as u64 + (len as u64) <= RING_BYTES as u64);
        } else {
            prop_assert!(used > 0, "an empty ring takes the largest payload");
        }
    }

    #[test]
    fn hostile_words_are_refused_or_harmless(meta: u64, place: u64) {
        let _ = TaskMeta::unpack(meta, place);
        let _ = ResultMeta::unpack(meta, place);
    }
}

#[test]
fn bytes_survive_the_way_through_words() {
    let words: Vec<AtomicU64> = (0..4).map(|_| AtomicU64::new(u64::MAX)).collect();
    for len in 0..=32usize {
        let bytes: Vec<u8> = (1..=u8::try_from(len).unwrap()).collect();
        store_words(&words, &bytes);
        let mut out = vec![99];
        load_words(&words, len, &mut out);
        assert_eq!(out[1..], bytes[..]);
    }
}
