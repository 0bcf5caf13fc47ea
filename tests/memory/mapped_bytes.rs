//! The bytes of any file, mapped.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::common::alone::alone;
use crate::common::unique;
use brigade::{Error, ExitReason, Pool, SharedArray};

fn path() -> PathBuf {
    std::env::temp_dir().join(unique("mapped-bytes"))
}

#[test]
fn a_file_with_a_name_that_is_not_utf8_is_read_by_workers() {
    alone(|| {
        let mut path = path().into_os_string();
        path.push(OsStr::from_bytes(b"-\xff\n"));
        fs::write(&path, "3\n4\n5").unwrap();
        let pool = Pool::builder().workers(2).build().unwrap();
        // SAFETY: nothing else uses the path.
        let text = unsafe { SharedArray::map_bytes(&path) }.unwrap();
        let pieces = pool.par_records(&text, b'\n', 1).map(<[u8]>::len).collect().unwrap();
        assert_eq!((text.as_slice(), pieces), (&b"3\n4\n5"[..], vec![2, 0, 2, 0, 1]));
        fs::remove_file(&path).unwrap();

        SharedArray::from_slice(&[2u16, 3]).unwrap().to_npy(&path).unwrap();
        // SAFETY: nothing else uses the path, and the text is not read any more.
        let array = unsafe { SharedArray::<u16>::map_npy(&path) }.unwrap();
        assert_eq!(pool.sum(&array).unwrap(), 5);
        fs::remove_file(&path).unwrap();
    });
}

#[test]
fn an_empty_file_is_an_empty_array_and_a_folder_an_error() {
    alone(|| {
        let path = path();
        fs::write(&path, "").unwrap();
        let pool = Pool::builder().workers(1).build().unwrap();
        // SAFETY: nothing else uses the path.
        let text = unsafe { SharedArray::map_bytes(&path) }.unwrap();
        assert!(text.is_empty());
        assert_eq!(pool.sum(&text).unwrap(), 0);
        let pieces: Vec<usize> =
            pool.par_records(&text, b'\n', 9).map(<[u8]>::len).collect().unwrap();
        assert!(pieces.is_empty());
        fs::remove_file(&path).unwrap();

        fs::create_dir(&path).unwrap();
        // SAFETY: a folder is not mapped.
        let refused = unsafe { SharedArray::map_bytes(&path) }.unwrap_err();
        assert!(refused.to_string().contains("found a folder"), "{refused}");
        fs::remove_dir(&path).unwrap();
        // SAFETY: nothing is mapped.
        let refused = unsafe { SharedArray::map_bytes(&path) };
        assert!(matches!(refused, Err(Error::NotFound { .. })));
    });
}

#[test]
fn a_file_shortened_while_it_is_read_kills_the_worker_and_the_pool_goes_on() {
    alone(|| {
        let path = path();
        fs::write(&path, vec![1u8; 1 << 20]).unwrap();
        let pool = Pool::builder().workers(2).build().unwrap();
        // SAFETY: nothing else uses the path; that it is shortened is what is tested, and this
        // process does not read it.
        let bytes = unsafe { SharedArray::map_bytes(&path) }.unwrap();
        // One chunk, so that the worker has mapped the file when the function runs.
        let read = pool.par_chunks(&bytes, 1 << 20).with(path.clone()).map(|path, bytes| {
            fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
            bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>()
        });
        let error = read.reduce(0, |a, b| a + b).unwrap_err();
        assert_eq!(error.death().unwrap().reason, ExitReason::Signal(7), "{error}");

        // It is refused before it is mapped, and is read again when it is as long as before.
        let sum = || pool.sum(&bytes);
        let refused = sum().unwrap_err();
        assert!(refused.death().is_none(), "{refused}");
        fs::write(&path, vec![2u8; 1 << 20]).unwrap();
        assert_eq!(sum().unwrap(), 2 << 20);
        fs::remove_file(&path).unwrap();
    });
}
