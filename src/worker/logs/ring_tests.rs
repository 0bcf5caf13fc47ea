//! Tests and models of the ring of log records.

use super::*;

fn control(watched: u32) -> LogControl {
    LogControl {
        tail: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
        _worker: [0; 14],
        head: AtomicU64::new(0),
        levels: AtomicU32::new(0),
        watched: AtomicU32::new(watched),
        skips: AtomicU32::new(0),
        _host: 0,
    }
}

fn words(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(not(loom))]
mod plain {
    use super::*;

    #[test]
    fn the_writer_learns_that_records_were_skipped() {
        let (control, words) = (control(0), words(64));
        let ring = LogRing { control: &control, words: &words };
        let (mut writer, mut reader) = (LogWriter::default(), LogReader::default());
        writer.push(ring, b"a definition");
        assert!(!writer.host_has_skipped(&control));
        words[1].store(0, Ordering::Relaxed);
        assert_eq!(reader.pop(ring, &mut Vec::new()), Popped::Corrupt);
        assert!(writer.host_has_skipped(&control));
        assert!(!writer.host_has_skipped(&control), "once");
    }

    #[test]
    fn records_of_all_sizes_come_out_as_they_went_in() {
        let (control, words) = (control(0), words(64));
        let ring = LogRing { control: &control, words: &words };
        let (mut writer, mut reader) = (LogWriter::default(), LogReader::default());
        for round in 0..2000usize {
            let record: Vec<u8> =
                (0..round % 300).map(|at| u8::try_from(at * round % 256).unwrap()).collect();
            assert_eq!(writer.push(ring, &record), Push::Stored);
            let mut out = vec![7];
            assert_eq!(reader.pop(ring, &mut out), Popped::Record);
            assert_eq!(out[1..], record);
            assert_eq!(reader.pop(ring, &mut out), Popped::Empty);
        }
    }

    #[test]
    fn a_record_without_room_is_counted_once() {
        let (control, words) = (control(0), words(4));
        let ring = LogRing { control: &control, words: &words };
        let (mut writer, mut reader) = (LogWriter::default(), LogReader::default());
        assert_eq!(writer.push(ring, &[1; 25]), Push::Dropped);
        assert_eq!(writer.push(ring, &[1; 24]), Push::Stored);
        assert_eq!(writer.push(ring, &[]), Push::Dropped);
        assert_eq!(reader.take_dropped(&control), 2);
        assert_eq!(reader.take_dropped(&control), 0);
        assert_eq!(reader.pop(ring, &mut Vec::new()), Popped::Record);
        assert_eq!(writer.push(ring, &[]), Push::Stored);
    }

    #[test]
    fn overwritten_words_are_found_and_the_next_record_is_whole() {
        for place in 0..4 {
            for value in [0, 1, 24, 1 << 40, u64::MAX] {
                let (control, words) = (control(0), words(8));
                let ring = LogRing { control: &control, words: &words };
                let (mut writer, mut reader) = (LogWriter::default(), LogReader::default());
                writer.push(ring, b"abcdefghijklmnopqrstuvwx");
                words[place].store(value, Ordering::Relaxed);
                let mut out = Vec::new();
                assert_eq!(reader.pop(ring, &mut out), Popped::Corrupt, "{place} {value:#x}");
                assert!(out.is_empty());
                writer.push(ring, b"next");
                assert_eq!(reader.pop(ring, &mut out), Popped::Record);
                assert_eq!(out, b"next");
            }
        }
    }

    #[test]
    fn an_impossible_tail_reads_nothing_outside_the_ring() {
        for tail in [9, 1 << 40, u64::MAX] {
            let (control, words) = (control(0), words(8));
            let ring = LogRing { control: &control, words: &words };
            control.tail.store(tail, Ordering::Relaxed);
            let mut reader = LogReader::default();
            assert_eq!(reader.pop(ring, &mut Vec::new()), Popped::Corrupt);
            assert_eq!(reader.pop(ring, &mut Vec::new()), Popped::Empty);
            // A record that begins there, and ends after the largest position.
            place(&words, tail).store(16, Ordering::Relaxed);
            control.tail.store(tail.wrapping_add(5), Ordering::Relaxed);
            assert_eq!(reader.pop(ring, &mut Vec::new()), Popped::Corrupt);
        }
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::atomics::mortal::live_for;
    use loom::sync::Arc;
    use loom::thread;

    /// A ring on the heap, shared by two threads.
    struct Shared {
        control: LogControl,
        words: Vec<AtomicU64>,
    }

    impl Shared {
        fn new(watched: u32) -> Arc<Shared> {
            Arc::new(Shared { control: control(watched), words: words(4) })
        }

        fn ring(&self) -> LogRing<'_> {
            LogRing { control: &self.control, words: &self.words }
        }
    }

    /// Reads until the ring is empty; each record must be whole.
    fn read(reader: &mut LogReader, ring: LogRing<'_>, found: &mut Vec<u8>) {
        loop {
            match reader.pop(ring, found) {
                Popped::Record => {}
                Popped::Empty => return,
                Popped::Corrupt => panic!("a torn record"),
            }
        }
    }

    #[test]
    fn loom_log_records_are_whole_and_in_order_or_counted() {
        loom::model(|| {
            let shared = Shared::new(0);
            let writing = Arc::clone(&shared);
            let writer = thread::spawn(move || {
                let mut writer = LogWriter::default();
                for number in 1..=3u8 {
                    writer.push(writing.ring(), &[number]);
                }
            });
            let (mut reader, mut found) = (LogReader::default(), Vec::new());
            read(&mut reader, shared.ring(), &mut found);
            writer.join().unwrap();
            read(&mut reader, shared.ring(), &mut found);
            assert!(found.is_sorted() && found.len() >= 2);
            assert_eq!(found.len() as u64 + reader.take_dropped(&shared.control), 3);
        });
    }

    #[test]
    fn loom_the_reader_of_log_records_is_notified_or_has_read_them() {
        loom::model(|| {
            let shared = Shared::new(0);
            let writing = Arc::clone(&shared);
            let writer = thread::spawn(move || {
                LogWriter::default().push(writing.ring(), &[1]) == Push::Notify
            });
            let (mut reader, mut found) = (LogReader::default(), Vec::new());
            loop {
                read(&mut reader, shared.ring(), &mut found);
                if reader.watch(&shared.control) {
                    break;
                }
            }
            let is_notified = writer.join().unwrap();
            assert!(is_notified || found == [1], "a record that nobody reads");
        });
    }

    #[test]
    fn loom_a_death_at_any_operation_leaves_whole_log_records() {
        let mut operations = 0;
        loop {
            let has_died = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let died = std::sync::Arc::clone(&has_died);
            loom::model(move || {
                let shared = Shared::new(0);
                let writing = Arc::clone(&shared);
                let writer = thread::spawn(move || {
                    let mut writer = LogWriter::default();
                    live_for(operations, || {
                        writer.push(writing.ring(), &[1]);
                        writer.push(writing.ring(), &[2]);
                    })
                    .is_none()
                });
                let (mut reader, mut found) = (LogReader::default(), Vec::new());
                read(&mut reader, shared.ring(), &mut found);
                let is_dead = writer.join().unwrap();
                read(&mut reader, shared.ring(), &mut found);
                assert!([1, 2].starts_with(&found));
                assert!(is_dead || found.len() == 2);
                died.fetch_or(is_dead, std::sync::atomic::Ordering::Relaxed);
            });
            if !has_died.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
            operations += 1;
        }
        assert!(operations > 6, "each operation was the last one once: {operations}");
    }
}
