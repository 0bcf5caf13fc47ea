//! Arrays in anonymous memory, through the public interface.

use crate::common::alone::alone;
use brigade::{Error, SharedArray};
use proptest::prelude::*;

#[test]
fn an_array_is_row_major() {
    alone(|| {
        let array = SharedArray::from_fn([2, 3, 4], |[i, j, k]| 100 * i + 10 * j + k).unwrap();
        assert_eq!((array.len(), array[[1, 2, 3]], array.as_slice()[4]), (24, 123, 10));
        assert_eq!(array.get([1, 2, 3]), Some(&123));
        assert_eq!((array.get([2, 0, 0]), array.get([0, 0])), (None, None));
        assert_eq!(format!("{array:?}"), "SharedArray<usize>[2, 3, 4]");
    });
}

#[test]
fn arrays_without_elements_are_arrays() {
    alone(|| {
        let empty = SharedArray::<f64>::zeroed([3, 0]).unwrap();
        assert!(empty.is_empty() && empty.as_slice().is_empty());
        assert_eq!(SharedArray::from_fn([0, 5], |_| 1u8).unwrap().len(), 0);
        assert_eq!(SharedArray::<u8>::from_slice(&[]).unwrap().len(), 0);
        let chunks = empty.into_chunks(4).unwrap();
        assert_eq!(chunks.len(), 1);
        assert_eq!(SharedArray::from_chunks(chunks).unwrap().shape().dims(), [3, 0]);
        assert!(SharedArray::<f64>::from_chunks(Vec::new()).is_err());
        let scalar = SharedArray::from_fn([], |[]| 7u16).unwrap();
        assert_eq!((scalar.len(), scalar[[]]), (1, 7));
    });
}

#[test]
fn elements_of_no_size_are_elements() {
    alone(|| {
        let array = SharedArray::<[u8; 0]>::zeroed([5]).unwrap();
        assert_eq!((array.len(), array.as_slice().len()), (5, 5));
        let mut chunks = array.into_chunks(2).unwrap();
        let last = chunks.pop().unwrap();
        let refused = SharedArray::from_chunks(chunks).unwrap_err();
        let mut chunks = refused.value;
        chunks.push(last);
        assert_eq!(SharedArray::from_chunks(chunks).unwrap().len(), 5);
    });
}

#[test]
fn a_shape_that_overflows_is_an_invalid_argument() {
    alone(|| {
        for shape in [vec![usize::MAX, 2], vec![1 << 62], vec![usize::MAX, 2, 0], vec![1; 33]] {
            let refused = SharedArray::<f64>::zeroed(shape.clone());
            assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{shape:?}");
        }
    });
}

#[test]
fn more_than_memory_is_no_space_and_harms_nothing() {
    alone(|| {
        let before = SharedArray::from_slice(&[1, 2, 3]).unwrap();
        for len in [1usize << 60, 1 << 50, 1 << 45] {
            let refused = SharedArray::<u8>::zeroed(len);
            let Err(Error::NoSpace { requested_bytes, .. }) = refused else {
                panic!("{refused:?}")
            };
            assert_eq!(requested_bytes, len as u64);
        }
        assert_eq!(before.as_slice(), [1, 2, 3]);
    });
}

#[test]
fn a_reshape_of_another_length_leaves_the_array_as_it_was() {
    alone(|| {
        let mut array = SharedArray::from_slice(&[1, 2, 3, 4, 5, 6]).unwrap();
        assert!(matches!(array.reshape([4, 2]), Err(Error::ShapeMismatch { .. })));
        assert_eq!(array.shape().dims(), [6]);
        array.reshape([3, 2]).unwrap();
        assert_eq!(array[[2, 1]], 6);
    });
}

#[test]
fn indexing_outside_names_index_and_shape() {
    alone(|| {
        let array = SharedArray::<u8>::zeroed([2, 2]).unwrap();
        let panic = std::panic::catch_unwind(|| array[[2, 0]]).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert_eq!(message, "index [2, 0] is outside of an array of shape [2, 2]");
    });
}

#[test]
fn an_incomplete_set_of_chunks_is_given_back() {
    alone(|| {
        let mut chunks = SharedArray::from_slice(&[1, 2, 3, 4, 5]).unwrap().into_chunks(2).unwrap();
        let others = SharedArray::from_slice(&[6, 7]).unwrap().into_chunks(2).unwrap();
        let middle = chunks.remove(1);
        let refused = SharedArray::from_chunks(chunks).unwrap_err();
        assert!(matches!(*refused.error, Error::InvalidArgument { .. }));
        let mut chunks = refused.value;
        chunks.push(middle);
        chunks.extend(others);
        let mut own = SharedArray::from_chunks(chunks).unwrap_err().value;
        // Of the two chunks at offset 0, the one with element 6 is from the other array.
        let stranger = own.iter_mut().position(|chunk| chunk.as_slice()[0] == 6).unwrap();
        let other = vec![own.remove(stranger)];
        assert_eq!(SharedArray::from_chunks(own).unwrap().as_slice(), [1, 2, 3, 4, 5]);
        assert_eq!(SharedArray::from_chunks(other).unwrap().as_slice(), [6, 7]);
    });
}

#[test]
fn a_set_of_which_a_chunk_was_dropped_is_incomplete() {
    alone(|| {
        let mut chunks = SharedArray::from_slice(&[1, 2, 3, 4, 5]).unwrap().into_chunks(2).unwrap();
        drop(chunks.remove(1));
        assert_eq!(SharedArray::from_chunks(chunks).unwrap_err().value.len(), 2);
    });
}

#[test]
fn thawing_copies_while_another_handle_reads() {
    alone(|| {
        let frozen = SharedArray::from_fn([2, 2], |[i, j]| i + j).unwrap().freeze();
        let other = frozen.clone();
        let mut thawed = frozen.thaw().unwrap();
        thawed[[0, 0]] = 9;
        assert_eq!((other.as_slice(), other.get([1, 1])), (&[0, 1, 1, 2][..], Some(&2)));
        assert_eq!((thawed.as_slice(), thawed.shape().dims()), (&[9, 1, 1, 2][..], &[2, 2][..]));
        let address = other.as_slice().as_ptr();
        assert_eq!(
            other.thaw().unwrap().as_slice().as_ptr(),
            address,
            "the last handle needs no copy"
        );
    });
}

#[test]
fn a_large_array_is_zero_again_after_another_was_dropped() {
    alone(|| {
        let keep = SharedArray::<u8>::zeroed(1).unwrap();
        let mut first = SharedArray::<u64>::zeroed(5 << 17).unwrap();
        first.as_mut_slice().fill(u64::MAX);
        drop(first);
        assert!(SharedArray::<u64>::zeroed(5 << 17).unwrap().as_slice().iter().all(|&x| x == 0));
        drop(keep);
    });
}

#[test]
fn arrays_cross_threads() {
    alone(|| {
        fn is_send_and_sync<T: Send + Sync>() {}
        is_send_and_sync::<SharedArray<f64>>();
        is_send_and_sync::<brigade::Frozen<f64>>();
        is_send_and_sync::<brigade::OwnedChunk<f64>>();
        is_send_and_sync::<brigade::NamedArray<f64>>();
        is_send_and_sync::<brigade::MappedArray<f64>>();
        let array =
            std::thread::spawn(|| SharedArray::from_slice(&[1, 2]).unwrap()).join().unwrap();
        assert_eq!(array.as_slice(), [1, 2]);
    });
}

#[test]
fn chunks_in_any_order_make_the_array_again() {
    alone(|| {
        let config = ProptestConfig { failure_persistence: None, ..Default::default() };
        proptest!(config, |(
        elements in prop::collection::vec(any::<u32>(), 0..200),
        chunk_len in 1usize..250,
        swap in any::<u64>()
        )| {
        let array = SharedArray::from_slice(&elements).unwrap();
        let mut chunks = array.into_chunks(chunk_len).unwrap();
        let oracle: Vec<Vec<u32>> = elements.chunks(chunk_len).map(<[u32]>::to_vec).collect();
        for (chunk, oracle) in chunks.iter_mut().zip(&oracle) {
            prop_assert_eq!(chunk.as_slice(), &oracle[..]);
        }
        let count = chunks.len();
        chunks.rotate_left(usize::try_from(swap % count as u64).unwrap());
        let whole = SharedArray::from_chunks(chunks).unwrap();
        prop_assert_eq!(whole.as_slice(), &elements[..]);
        });
    });
}
