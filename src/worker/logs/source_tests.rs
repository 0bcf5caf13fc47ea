//! Which thread emits records, and how long others wait for it.

use super::*;
use crate::worker::logs::ring::{LogWriter, Push};

fn source() -> Arc<LogSource> {
    let arena = Arena::host().unwrap();
    LogSource::new(&arena, LogLevel::Info, Some(0), None, &Dispatch::none()).unwrap()
}

/// Writes what is found to be overwritten.
fn push_corrupt(source: &LogSource, writer: &mut LogWriter) {
    assert_ne!(writer.push(source.ring(), b"no record"), Push::Dropped);
}

#[test]
fn what_was_copied_out_is_pending_until_it_is_emitted() {
    let source = source();
    assert!(!source.is_pending());
    push_corrupt(&source, &mut LogWriter::default());
    source.finish();
    assert!(!source.has_news() && source.is_pending());
    source.emit_all();
    assert!(!source.is_pending());
}

#[test]
fn only_a_thread_that_has_waited_marks_a_source_as_slow() {
    let source = source();
    *source.emitting.lock().unwrap() = true;
    source.emit_share();
    assert!(!source.is_slow.load(Ordering::Relaxed));
    assert!(!source.begin_emitting(Duration::from_millis(1)));
    assert!(source.is_slow.load(Ordering::Relaxed));
    source.emit_share();
    assert!(source.is_slow.load(Ordering::Relaxed));
    *source.emitting.lock().unwrap() = false;
    source.emit_share();
    assert!(!source.is_slow.load(Ordering::Relaxed));
}

#[test]
fn a_joining_thread_waits_once_for_all_sources() {
    let sources = [source(), source()];
    for source in &sources {
        *source.emitting.lock().unwrap() = true;
    }
    let end = Instant::now() + Duration::from_millis(20);
    sources.iter().for_each(|source| source.emit_for_joiner(end));
    let is_slow = |source: &Arc<LogSource>| source.is_slow.load(Ordering::Relaxed);
    assert!(is_slow(&sources[0]) && !is_slow(&sources[1]), "there was no time for the second one");
}

#[test]
fn endless_overwritten_records_do_not_hold_up_the_host() {
    let (source, mut writer) = (source(), LogWriter::default());
    push_corrupt(&source, &mut writer);
    push_corrupt(&source, &mut writer);
    let mut incoming = source.lock();
    assert!(incoming.next(&source, &mut 1).is_none());
    assert_eq!(incoming.corrupt, 1, "one look, one record");
    // As after code that has overwritten the counts.
    incoming.dropped = u64::MAX;
    assert!(incoming.has_backlog());
}
