//! What one-off processes return, and what their errors contain.

use std::fs;
use std::thread;

use brigade::{Error, ExitReason, Frozen, OwnedChunk, Phase, Process, SharedArray, TaskError};
use nix::sys::signal::Signal;

use crate::common::alone::alone;
use crate::common::tasks::{forever, raise, tally};
use crate::death;

#[test]
fn a_process_that_exits_has_exactly_that_code_and_no_value() {
    alone(|| {
        for code in [0, 1, 8, 255] {
            let exits = Process::spawn(|code: i32| -> u8 { std::process::exit(code) }, code);
            let exits = exits.unwrap();
            assert_eq!(exits.wait().unwrap(), ExitReason::Code(code));
            let died = death(exits.join().unwrap_err());
            assert_eq!((died.reason, died.phase), (ExitReason::Code(code), Phase::Running));
        }
    });
}

#[test]
fn a_panic_is_an_error_with_message_and_location_and_exit_code_101() {
    alone(|| {
        let panics = Process::spawn(|n: u32| -> u32 { panic!("number {n}") }, 7).unwrap();
        assert_eq!(panics.wait().unwrap(), ExitReason::Code(101));
        match panics.join().unwrap_err() {
            Error::Task(TaskError::Panicked { message, location, .. }) => {
                assert_eq!(message, "number 7");
                assert!(location.contains("outcome.rs"), "{location}");
            }
            other => panic!("{other}"),
        }
    });
}

#[test]
fn every_crash_is_named_with_its_crash_message() {
    fn deep(n: u64) -> u64 {
        let page = std::hint::black_box([n; 512]);
        if n == u64::MAX { 0 } else { deep(n + 1) + page[1] }
    }
    alone(|| {
        let overflow = death(Process::spawn(deep, 0).unwrap().join().unwrap_err());
        assert_eq!(overflow.reason, ExitReason::Signal(6));
        assert!(overflow.crash_message.unwrap().contains("stack overflow"));
        // SAFETY: it is not sound; the process is to crash.
        let wild = |at: usize| unsafe { (at as *const u8).read_volatile() };
        let fault = death(Process::spawn(wild, 8).unwrap().join().unwrap_err());
        assert_eq!(fault.reason, ExitReason::Signal(11));
        assert!(fault.crash_message.unwrap().contains("not mapped"));
        let twice = |()| {
            struct Bomb;
            impl Drop for Bomb {
                fn drop(&mut self) {
                    panic!("second");
                }
            }
            let _bomb = Bomb;
            panic!("first");
        };
        let twice: Process<()> = Process::spawn(twice, ()).unwrap();
        let died = death(twice.join().unwrap_err());
        assert_eq!(died.reason, ExitReason::Signal(6));
        assert!(died.crash_message.is_some());
        // A panic that was caught is not the cause of the death.
        let caught = |()| {
            let _ = std::panic::catch_unwind(|| panic!("caught"));
            raise(Signal::SIGKILL);
        };
        assert_eq!(
            death(Process::spawn(caught, ()).unwrap().join().unwrap_err()).crash_message,
            None
        );
    });
}

#[test]
fn a_write_to_an_input_is_a_death_and_leaves_the_data_intact() {
    alone(|| {
        let array = SharedArray::from_fn([1000], |[i]| i as u64).unwrap().freeze();
        let writes = |array: Frozen<u64>| {
            let at = array.as_slice().as_ptr().cast_mut();
            // SAFETY: it is not sound; the mapping is read-only.
            unsafe { at.write_volatile(7) };
        };
        let died = death(Process::spawn(writes, array.clone()).unwrap().join().unwrap_err());
        assert_eq!(died.reason, ExitReason::Signal(11));
        assert!(died.crash_message.unwrap().contains("wrote to an input"));
        assert_eq!(array.as_slice()[0], 0);
    });
}

#[test]
fn arrays_cross_to_a_process_and_back_without_a_copy() {
    alone(|| {
        let frozen = SharedArray::from_fn([100_000], |[i]| i as u64).unwrap().freeze();
        let sums = |array: Frozen<u64>| (array.as_slice().iter().sum::<u64>(), array);
        let (sum, back) = Process::spawn(sums, frozen.clone()).unwrap().join().unwrap();
        assert_eq!(sum, 99_999 * 50_000);
        assert_eq!(back.as_slice().as_ptr(), frozen.as_slice().as_ptr());

        let chunks = SharedArray::from_slice(&[5u32, 6, 7, 8]).unwrap().into_chunks(2).unwrap();
        let reverses = |mut chunk: OwnedChunk<u32>| {
            chunk.as_mut_slice().reverse();
            chunk
        };
        let processes: Vec<_> =
            chunks.into_iter().map(|chunk| Process::spawn(reverses, chunk).unwrap()).collect();
        let chunks: Vec<_> = processes.into_iter().map(|p| p.join().unwrap()).collect();
        assert_eq!(SharedArray::from_chunks(chunks).unwrap().as_slice(), [6, 5, 8, 7]);
    });
}

#[test]
fn values_of_any_size_arrive_whole() {
    alone(|| {
        for len in [0, 1, 4000, 4096, 4097, 100_000, 20 << 20] {
            let bytes: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0] ^ 7).collect();
            let echo = Process::spawn(|bytes: Vec<u8>| bytes, bytes.clone()).unwrap();
            assert!(echo.join().unwrap() == bytes, "{len}");
        }
    });
}

#[test]
fn values_that_cannot_be_passed_are_errors_that_say_so() {
    #[derive(Debug)]
    struct Shy(u8);
    impl serde::Serialize for Shy {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                1 => Err(serde::ser::Error::custom("not today")),
                n => serializer.serialize_u8(n),
            }
        }
    }
    impl<'de> serde::Deserialize<'de> for Shy {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Shy, D::Error> {
            match u8::deserialize(from)? {
                2 => Err(serde::de::Error::custom("not here")),
                n => Ok(Shy(n)),
            }
        }
    }
    alone(|| {
        let refused = Process::spawn(|_: Shy| (), Shy(1)).unwrap_err();
        assert!(matches!(refused, Error::Task(TaskError::Codec { what: "argument", .. })));
        let undecoded = Process::spawn(|_: Shy| (), Shy(2)).unwrap();
        assert_eq!(undecoded.wait().unwrap(), ExitReason::Code(125));
        let error = undecoded.join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::Codec { what: "argument", .. })), "{error}");
        let error = Process::spawn(|()| Shy(1), ()).unwrap().join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::Codec { what: "result", .. })), "{error}");
        let error = Process::spawn(|()| Shy(2), ()).unwrap().join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::Codec { what: "result", .. })), "{error}");
    });
}

#[test]
fn what_a_process_printed_is_flushed_when_it_ends() {
    alone(|| {
        let path = tally("printed");
        let prints = |path: String| {
            let file = fs::File::create(path).unwrap();
            nix::unistd::dup2_stdout(&file).unwrap();
            // A thread that holds the stream for ever does not delay the end.
            print!("without an end of line");
        };
        Process::spawn(prints, path.clone()).unwrap().join().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "without an end of line");
        let hoards = |()| {
            let (has, taken) = std::sync::mpsc::channel();
            thread::spawn(move || {
                let _held = std::io::stdout().lock();
                has.send(()).unwrap();
                forever();
            });
            taken.recv().unwrap();
            7
        };
        assert_eq!(Process::spawn(hoards, ()).unwrap().join().unwrap(), 7);
        // A thread that releases it changes nothing.
        let shares = |path: String| {
            let file = fs::File::create(path).unwrap();
            nix::unistd::dup2_stdout(&file).unwrap();
            thread::spawn(forever);
            print!("beside a thread");
        };
        Process::spawn(shares, path.clone()).unwrap().join().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "beside a thread");
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn the_end_of_captured_standard_error_is_in_the_error_and_can_be_asked_for() {
    alone(|| {
        let complains = |n: u32| {
            eprintln!("the disk is {n} % full");
            std::process::abort();
        };
        let process: Process<()> =
            Process::builder().capture_stderr().spawn(complains, 99).unwrap();
        process.wait().unwrap();
        assert_eq!(process.stderr_tail().as_deref(), Some("the disk is 99 % full\n"));
        let error = process.join().unwrap_err();
        assert!(error.to_string().contains("the disk is 99 % full"), "{error}");
        assert!(error.death().unwrap().stderr_tail.is_some());

        let fine = Process::builder().capture_stderr().spawn(|()| eprintln!("fine"), ()).unwrap();
        fine.wait().unwrap();
        assert_eq!(fine.stderr_tail().as_deref(), Some("fine\n"));
        let plain = Process::spawn(|()| (), ()).unwrap();
        assert_eq!(plain.stderr_tail(), None);
        plain.join().unwrap();
    });
}

#[test]
fn a_process_that_writes_without_end_to_captured_standard_error_neither_blocks_nor_keeps_others() {
    alone(|| {
        let floods = |lines: u32| {
            let line = "x".repeat(99);
            for _ in 0..lines {
                eprintln!("{line}");
            }
            eprintln!("done");
        };
        let endless = Process::builder().capture_stderr().spawn(floods, u32::MAX).unwrap();
        let bounded = Process::builder().capture_stderr().spawn(floods, 100_000).unwrap();
        bounded.wait().unwrap();
        assert!(bounded.stderr_tail().unwrap().ends_with("x\ndone\n"));
        assert!(bounded.stderr_tail().unwrap().len() <= 8 << 10);
        assert_eq!(Process::spawn(|n: u8| n, 3).unwrap().join().unwrap(), 3);
        endless.kill().unwrap();
        assert_eq!(endless.wait().unwrap(), ExitReason::Signal(9));
        // A process that closes it, and one whose child keeps it.
        let closes = |()| {
            // SAFETY: the descriptor is not used afterwards.
            unsafe { libc::close(2) };
            // SAFETY: the process has one thread, so the child may call anything.
            if unsafe { nix::unistd::fork() }.unwrap().is_child() {
                forever();
            }
        };
        let closes = Process::builder().capture_stderr().spawn(closes, ()).unwrap();
        closes.join().unwrap();
    });
}

#[test]
fn a_process_that_closes_what_it_does_not_know_returns_a_large_result_all_the_same() {
    alone(|| {
        let closes = |len: usize| {
            for fd in 3..20 {
                // SAFETY: brigade's descriptors have higher numbers, and there are no others.
                unsafe { libc::close(fd) };
            }
            let _files: Vec<_> = (0..20).map(|_| fs::File::open("/dev/null").unwrap()).collect();
            vec![7u8; len]
        };
        assert_eq!(Process::spawn(closes, 100_000).unwrap().join().unwrap().len(), 100_000);
    });
}
