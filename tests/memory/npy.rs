//! `.npy` files in and out of arrays.

#![allow(unsafe_code)]

mod targets;

use crate::common::alone::alone;
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::common::Directory;
use brigade::{Complex, Error, Pool, SharedArray};
use proptest::prelude::*;

/// A version 1.0 file in NumPy's layout: the header is padded to 64 bytes.
fn npy(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    while (10 + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn i32s(range: std::ops::Range<i32>) -> Vec<u8> {
    range.flat_map(i32::to_le_bytes).collect()
}

#[test]
fn an_array_comes_back_from_its_file() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("a.npy");
        let array =
            SharedArray::from_fn([3, 4, 5], |[i, j, k]| (100 * i + 10 * j + k) as f64).unwrap();
        array.to_npy(&path).unwrap();
        assert!(SharedArray::<f64>::from_npy(&path).unwrap() == array);
        assert_eq!(fs::metadata(&path).unwrap().len(), 4096 + 60 * 8);
        let names: Vec<_> = fs::read_dir(&directory.0).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file remains");
    });
}

#[test]
fn a_file_large_enough_for_several_threads_comes_back() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("large.npy");
        let array = SharedArray::from_fn([3_000_017], |[i]| i as u64 * 2_654_435_761).unwrap();
        array.to_npy(&path).unwrap();
        assert!(SharedArray::<u64>::from_npy(&path).unwrap() == array);
    });
}

#[test]
fn fortran_order_is_transposed_while_reading() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("f.npy");
        // Stored by columns: [[0, 2, 4], [1, 3, 5]].
        fs::write(&path, npy("<i4", "True", "(2, 3)", &i32s(0..6))).unwrap();
        let array = SharedArray::<i32>::from_npy(&path).unwrap();
        assert_eq!(
            (array.shape().dims(), array.as_slice()),
            (&[2, 3][..], &[0, 2, 4, 1, 3, 5][..])
        );
        // SAFETY: nothing else uses the path.
        let mapped = unsafe { SharedArray::<i32>::map_npy(&path) };
        assert!(matches!(mapped, Err(Error::Layout { .. })), "in place it would be wrong");
    });
}

#[test]
fn the_other_byte_order_is_swapped_while_reading() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("b.npy");
        let data: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|x| x.to_be_bytes()).collect();
        fs::write(&path, npy(">f8", "False", "(2,)", &data)).unwrap();
        assert_eq!(SharedArray::<f64>::from_npy(&path).unwrap().as_slice(), [1.5, -2.0]);
        let data: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|x| x.to_be_bytes()).collect();
        fs::write(&path, npy(">c8", "False", "(1,)", &data)).unwrap();
        assert_eq!(SharedArray::<[f32; 2]>::from_npy(&path).unwrap().as_slice(), [[1.5, -2.0]]);
        let complex = SharedArray::<Complex<f32>>::from_npy(&path).unwrap();
        assert_eq!(complex.as_slice(), [Complex::new(1.5, -2.0)]);
        let refused = SharedArray::<Complex<f64>>::from_npy(&path).unwrap_err().to_string();
        assert!(refused.contains("Complex<f32>") && refused.contains("<c16"), "{refused}");
        // SAFETY: nothing else uses the path.
        let mapped = unsafe { SharedArray::<[f32; 2]>::map_npy(&path) };
        assert!(matches!(mapped, Err(Error::Layout { .. })), "in place it would be wrong");
    });
}

#[test]
fn every_wrong_file_is_named_in_its_error() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("bad.npy");
        let good = npy("<i4", "False", "(3,)", &i32s(0..3));
        let files = [
            ("empty", Vec::new()),
            ("text", b"not an array at all".to_vec()),
            ("cut in its header", good[..50].to_vec()),
            ("cut in its data", good[..good.len() - 1].to_vec()),
            ("another dtype", npy("<f4", "False", "(3,)", &i32s(0..3))),
            ("negative", npy("<i4", "False", "(-3,)", &i32s(0..3))),
            ("objects", npy("|O", "False", "(3,)", &i32s(0..3))),
            ("huge", npy("<i4", "False", "(4611686018427387904,)", &i32s(0..3))),
            ("huge and truncated", npy("<i4", "False", "(1000000000000,)", &i32s(0..3))),
        ];
        for (label, bytes) in files {
            fs::write(&path, bytes).unwrap();
            let Err(error) = SharedArray::<i32>::from_npy(&path) else {
                panic!("{label} was read")
            };
            assert!(matches!(error, Error::Layout { .. }), "{label}: {error}");
            assert!(error.to_string().contains("bad.npy"), "{label}: {error}");
        }
        let missing = SharedArray::<i32>::from_npy(directory.0.join("none.npy"));
        assert!(matches!(missing, Err(Error::NotFound { .. })));
        assert!(matches!(SharedArray::<i32>::from_npy(&directory.0), Err(Error::Layout { .. })));
    });
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing() {
    alone(|| {
        let directory = Directory::new();
        let array = SharedArray::<u8>::zeroed([100]).unwrap();
        let nowhere = array.to_npy(directory.0.join("no/such/directory.npy"));
        assert!(matches!(nowhere, Err(Error::NotFound { .. })), "{nowhere:?}");
        let taken = directory.0.join("taken");
        fs::create_dir(&taken).unwrap();
        let refused = array.to_npy(&taken).unwrap_err();
        assert!(matches!(refused, Error::Os { call: "open", .. }), "{refused:?}");
        // The system's message is part of the error, because not every program prints causes.
        assert!(refused.to_string().contains("(os error "), "{refused}");
        assert!(matches!(array.to_npy("/"), Err(Error::InvalidArgument { .. })));
        let names: Vec<_> =
            fs::read_dir(&directory.0).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(names, [taken]);
    });
}

#[test]
fn a_mapped_file_is_read_and_written_in_place() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("m.npy");
        SharedArray::from_slice(&[1i64, 2, 3]).unwrap().to_npy(&path).unwrap();
        {
            // SAFETY: nothing else uses the path.
            let mut mapped = unsafe { SharedArray::<i64>::map_npy_mut(&path) }.unwrap();
            assert_eq!((mapped.len(), mapped.as_slice()), (3, &[1, 2, 3][..]));
            mapped.as_mut_slice()[1] = 20;
        }
        // SAFETY: nothing else uses the path, and the mutable mapping is gone.
        let mapped = unsafe { SharedArray::<i64>::map_npy(&path) }.unwrap();
        assert_eq!(mapped.as_slice(), [1, 20, 3]);
        assert_eq!(SharedArray::<i64>::from_npy(&path).unwrap().as_slice(), [1, 20, 3]);
    });
}

#[test]
fn a_new_mapped_file_is_written_by_workers_and_replaces_nothing() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("new.npy");
        let pool = Pool::builder().workers(2).build().unwrap();
        {
            // SAFETY: nothing else uses the path.
            let mut mapped = unsafe { SharedArray::<u32>::create_npy(&path, [100, 1000]) }.unwrap();
            // A file whose space is reserved has all of its blocks before they are written.
            let found = fs::metadata(&path).unwrap();
            assert!(found.blocks() * 512 >= 400_000 + 4096, "{} blocks", found.blocks());
            assert!(mapped.as_slice().iter().all(|&element| element == 0));
            let chunks = pool.par_chunks_mut(&mut mapped, 7000).enumerate();
            chunks
                .for_each(|(chunk, elements)| {
                    let first = u32::try_from(chunk).unwrap() * 7000;
                    elements.iter_mut().zip(first..).for_each(|(element, n)| *element = n);
                })
                .unwrap();
            mapped.sync().unwrap();
        }
        let read = SharedArray::<u32>::from_npy(&path).unwrap();
        assert_eq!(read.shape().dims(), [100, 1000]);
        assert!(read.as_slice().iter().zip(0..).all(|(&element, value)| element == value));

        let link = directory.0.join("link.npy");
        std::os::unix::fs::symlink(directory.0.join("nothing"), &link).unwrap();
        for taken in [&path, &link, &directory.0] {
            // SAFETY: nothing is mapped.
            let refused = unsafe { SharedArray::<u32>::create_npy(taken, [5]) };
            assert!(matches!(refused, Err(Error::NameTaken { .. })), "{refused:?}");
        }
        assert_eq!(SharedArray::<u32>::from_npy(&path).unwrap().len(), 100_000, "untouched");
        // SAFETY: nothing is mapped.
        let nowhere = unsafe { SharedArray::<u8>::create_npy(path.join("below"), [5]) };
        assert!(matches!(nowhere, Err(Error::Os { .. })), "{nowhere:?}");
        // SAFETY: nothing is mapped.
        let nowhere = unsafe { SharedArray::<u8>::create_npy(directory.0.join("no/a"), [5]) };
        assert!(matches!(nowhere, Err(Error::NotFound { .. })), "{nowhere:?}");
        let empty = directory.0.join("empty.npy");
        // SAFETY: nothing else uses the path.
        let mapped = unsafe { SharedArray::<f64>::create_npy(&empty, [0, 4]) }.unwrap();
        assert!(mapped.is_empty());
        drop(mapped);
        assert_eq!(SharedArray::<f64>::from_npy(&empty).unwrap().shape().dims(), [0, 4]);
    });
}

#[test]
fn fortran_files_of_any_shape_equal_a_naive_transposition() {
    alone(|| {
        let config = ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() };
        proptest!(config, |(
        dims in prop::collection::vec(0usize..7, 0..5)
        )| {
        let directory = Directory::new();
        let path = directory.0.join("f.npy");
        let shape = brigade::Shape::from(dims.clone());
        let len = shape.len_elements().unwrap();
        let shown: String = dims.iter().map(|d| format!("{d},")).collect();
        let data = i32s(0..i32::try_from(len).unwrap());
        fs::write(&path, npy("<i4", "True", &format!("({shown})"), &data)).unwrap();
        let array = SharedArray::<i32>::from_npy(&path).unwrap();
        // The oracle: visits all indices, the first one fastest.
        let mut index = vec![0usize; dims.len()];
        for stored in 0..len {
            let offset = shape.offset(&index).unwrap();
            prop_assert_eq!(array.as_slice()[offset], i32::try_from(stored).unwrap());
            for axis in 0..dims.len() {
                index[axis] += 1;
                if index[axis] < dims[axis] { break; }
                index[axis] = 0;
            }
        }
        });
    });
}

// A device was replaced by a file, for example /dev/null for all programs of the machine.
#[test]
fn what_is_no_regular_file_is_written_to_and_a_link_stays_a_link() {
    alone(|| {
        let directory = Directory::new();
        let array = SharedArray::from_fn([3, 5], |[i, j]| (10 * i + j) as f32).unwrap();
        let [pipe, file, link] =
            ["pipe", "file.npy", "link.npy"].map(|name| directory.0.join(name));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        array.to_npy(&pipe).unwrap();
        let piped = reader.join().unwrap();
        assert!(!fs::symlink_metadata(&pipe).unwrap().is_file());
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        array.to_npy(&link).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), piped);
        assert_eq!(SharedArray::<f32>::from_npy(&file).unwrap(), array);
    });
}

#[test]
fn a_pipe_is_read_array_by_array_from_where_it_stands() {
    alone(|| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut all = npy("<i4", "True", "(2, 3)", &i32s(0..6));
        all.extend(npy(">i4", "False", "(2,)", &[0, 0, 0, 7, 0, 0, 0, 8]));
        all.extend(npy("<i4", "False", "(3,)", &i32s(0..2)));
        std::io::Write::write_all(&mut writer, &all).unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let first = SharedArray::<i32>::from_npy(&path).unwrap();
        assert_eq!(
            (first.shape().dims(), first.as_slice()),
            (&[2, 3][..], &[0, 2, 4, 1, 3, 5][..])
        );
        assert_eq!(SharedArray::<i32>::from_npy(&path).unwrap().as_slice(), [7, 8]);
        let cut = SharedArray::<i32>::from_npy(&path);
        assert!(matches!(&cut, Err(Error::Layout { .. })), "{cut:?}");
        // SAFETY: refused before anything is mapped.
        let mapped = unsafe { SharedArray::<i32>::map_npy(&path) };
        assert!(mapped.unwrap_err().to_string().contains("from_npy"));
    });
}

#[test]
fn a_file_as_a_descriptor_is_read_from_where_it_stands() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("two.npy");
        let [one, two] = [0..3, 3..7].map(|range| {
            let shape = format!("({},)", range.len());
            npy("<i4", "False", &shape, &i32s(range))
        });
        fs::write(&path, [one, two].concat()).unwrap();
        let file = fs::File::open(&path).unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        assert_eq!(SharedArray::<i32>::from_npy(&path).unwrap().as_slice(), [0, 1, 2]);
        assert_eq!(SharedArray::<i32>::from_npy(&path).unwrap().as_slice(), [3, 4, 5, 6]);
    });
}

#[test]
fn a_refused_file_says_what_it_is_and_what_to_save_instead() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("bad.npy");
        let dims = "1, ".repeat(33);
        for (descr, shape, words) in [
            ("<f4", "(3,)", &["<f4", "<i4", "SharedArray::<f32>", "a.astype('<i4')"][..]),
            ("<f2", "(3,)", &["<f2", "a.astype('f4')"]),
            ("|b1", "(3,)", &["|b1", "a.view('u1')"]),
            ("<M8[ns]", "(3,)", &["<M8[ns]", "a.view('i8')"]),
            ("<U5", "(3,)", &["<U5", "a.view('u4')"]),
            ("|O", "(3,)", &["|O", "a.astype('f8')"]),
            ("<i4", "[3]", &["a shape that is not a tuple", "'shape': [3]"]),
            ("<i4", &format!("({dims})"), &["33 dimensions", "at most 32"]),
        ] {
            fs::write(&path, npy(descr, "False", shape, &i32s(0..3))).unwrap();
            let error = SharedArray::<i32>::from_npy(&path).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{descr} {shape}: {word:?} is missing in {error}");
            }
        }
    });
}
