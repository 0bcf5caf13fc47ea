//! Tests of the arena and of a worker's windows on it.

use super::*;
use crate::region::windows::Windows;

/// A separate arena, so that tests do not see each other's spans.
fn arena() -> Arc<Arena> {
    Arc::new(Arena::new().unwrap())
}

fn fill(span: &Span, byte: u8) {
    // SAFETY: the span is live and that long, and no other test uses it.
    unsafe { span.as_ptr().write_bytes(byte, span.len_bytes()) };
}

fn is_all(span: &Span, byte: u8) -> bool {
    // SAFETY: the span is live and that long, initialised, and not written meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(span.as_ptr(), span.len_bytes()) };
    bytes.iter().all(|&b| b == byte)
}

#[test]
fn spans_are_aligned_by_their_size() {
    let arena = arena();
    for len in [0, 1, 64, 65, 4096, LARGE_BYTES - 1] {
        let span = arena.reserve(len, Contents::Zeroed).unwrap();
        assert_eq!((span.as_ptr().addr() % 64, span.len_bytes()), (0, len));
    }
    for len in [LARGE_BYTES, 3 << 20] {
        let span = arena.reserve(len, Contents::Zeroed).unwrap();
        assert_eq!(span.as_ptr().addr() % HUGE_BYTES, 0);
    }
}

#[test]
fn zeroed_is_zero_again_when_memory_is_reused() {
    let arena = arena();
    for len in [1usize, 100, 5000, LARGE_BYTES, 5 << 20, PARALLEL_ZERO_BYTES + 4097] {
        let first = arena.reserve(len, Contents::Zeroed).unwrap();
        let reserved_bytes = arena.reserved_bytes();
        fill(&first, 0xa5);
        drop(first);
        let second = arena.reserve(len, Contents::Zeroed).unwrap();
        assert_eq!(arena.reserved_bytes(), reserved_bytes, "freed spans are reused");
        assert!(is_all(&second, 0), "{len} bytes");
    }
}

#[test]
fn as_much_of_reused_memory_is_zero_as_was_requested() {
    let arena = arena();
    for (len, end) in [(100usize, 64), (5000, 0), (LARGE_BYTES, 4097), (100, 1000)] {
        let first = arena.reserve(len, Contents::Zeroed).unwrap();
        fill(&first, 0xa5);
        drop(first);
        let second = arena.reserve(len, Contents::ZeroedUpTo(end)).unwrap();
        let bytes = second.load(len);
        let end = end.min(len);
        assert!(bytes[..end].iter().all(|&byte| byte == 0), "{end} of {len} bytes");
        assert!(bytes[end..].iter().all(|&byte| byte == 0xa5), "the rest of {len} bytes");
    }
}

#[test]
fn stale_spans_keep_their_pages() {
    let arena = arena();
    let span = arena.reserve(4 << 20, Contents::Zeroed).unwrap();
    fill(&span, 7);
    drop(span);
    let span = arena.reserve(4 << 20, Contents::Stale).unwrap();
    assert!(is_all(&span, 7));
}

#[test]
fn free_spans_are_punched_out_above_the_limit() {
    let mut arena = Arena::new().unwrap();
    arena.cache_bytes_default = 4 << 20;
    let arena = Arc::new(arena);
    let span = arena.reserve(16 << 20, Contents::Zeroed).unwrap();
    fill(&span, 1);
    drop(span);
    assert_eq!(arena.reserved_bytes(), 4 << 20);
    assert_eq!(memfd::size_and_use_bytes(arena.fd()).unwrap().1, 4 << 20);
    let span = arena.reserve(16 << 20, Contents::Zeroed).unwrap();
    assert!(is_all(&span, 0));
}

#[test]
fn unused_free_spans_are_punched_out_step_by_step() {
    let mut arena = Arena::new().unwrap();
    arena.cache_bytes_default = u64::MAX;
    let arena = Arc::new(arena);
    let used_bytes = || memfd::size_and_use_bytes(arena.fd()).unwrap().1;
    let span = arena.reserve(8 << 20, Contents::Zeroed).unwrap();
    fill(&span, 1);
    let step_bytes = usize::try_from(DECAY_STEP_BYTES).unwrap();
    let large = arena.reserve(step_bytes, Contents::Stale).unwrap();
    let (start, decay_time) = (clock::now_ns(), u64::try_from(DECAY_TIME.as_nanos()).unwrap());
    // Live spans stay, however long they are unused.
    assert_eq!(arena.decay(start + decay_time), DECAY_TIME);
    drop((span, large));
    let last_use = arena.last_use_ns.load(Ordering::Relaxed);
    assert_eq!(arena.decay(last_use + decay_time / 3), DECAY_TIME - DECAY_TIME / 3);
    assert_eq!((arena.reserved_bytes(), used_bytes()), (DECAY_STEP_BYTES + (8 << 20), 8 << 20));
    assert_eq!(arena.decay(last_use + decay_time), Duration::ZERO);
    assert_eq!(arena.reserved_bytes(), 8 << 20);
    assert_eq!(arena.decay(last_use + decay_time), DECAY_TIME);
    assert_eq!((arena.reserved_bytes(), used_bytes()), (0, 0));
}

#[test]
fn cached_spans_are_punched_out_before_a_request_is_refused() {
    let mut arena = Arena::new().unwrap();
    arena.cache_bytes_default = u64::MAX;
    let arena = Arc::new(arena);
    let most = usize::try_from(limits::memory().unwrap().available_bytes / 10 * 6).unwrap();
    // Both fit only one after the other; no page of them is touched.
    drop(arena.reserve(most, Contents::Stale).unwrap());
    assert!(arena.reserved_bytes() >= most as u64, "the first one is cached");
    drop(arena.reserve(most + HUGE_BYTES, Contents::Stale).unwrap());
}

#[test]
fn absurd_sizes_are_refused_and_change_nothing() {
    let arena = arena();
    for len in [1usize << 62, usize::MAX, usize::MAX - HUGE_BYTES, isize::MAX as usize] {
        let refused = arena.reserve(len, Contents::Zeroed);
        assert!(matches!(refused, Err(Error::NoSpace { .. })), "{len}");
    }
    assert_eq!(arena.reserved_bytes(), 0);
}

#[test]
fn reserved_but_untouched_memory_is_not_granted_twice() {
    let arena = arena();
    let available = limits::memory().unwrap().available_bytes;
    let most = usize::try_from(available / 10 * 6).unwrap();
    let _held = arena.reserve(most, Contents::Stale).unwrap();
    let refused = arena.reserve(most, Contents::Stale);
    assert!(matches!(refused, Err(Error::NoSpace { .. })));
}

#[test]
fn a_worker_reads_and_writes_through_two_windows() {
    let arena = arena();
    let fd = arena.fd().try_clone_to_owned().unwrap();
    let windows = Windows::attach(fd, arena.id(), arena.size_bytes()).unwrap();
    let span = arena.reserve(100, Contents::Zeroed).unwrap();
    let write = windows.write(span.offset(), 100).unwrap();
    let read = windows.read(span.offset(), 100).unwrap();
    assert_ne!(write.cast_const(), read);
    // SAFETY: the span is 100 bytes, live, and used by this test alone.
    unsafe { write.write_volatile(5) };
    // SAFETY: as above.
    assert_eq!(unsafe { read.read_volatile() }, 5);
    // SAFETY: as above.
    assert_eq!(unsafe { span.as_ptr().read_volatile() }, 5);
    assert!(windows.read(arena.size_bytes() as u64, 1).is_err());
    assert!(windows.write(u64::MAX, 1).is_err());
    assert!(windows.read(1, usize::MAX).is_err());
}

#[test]
fn an_arena_of_another_size_is_not_attached() {
    let arena = arena();
    let fd = || arena.fd().try_clone_to_owned().unwrap();
    let refused = Windows::attach(fd(), arena.id(), HUGE_BYTES);
    assert!(matches!(refused, Err(Error::Corrupt { .. })));
    // A file of the right size that could still shrink.
    let unsealed = tempfile_of(HUGE_BYTES as u64);
    assert!(matches!(Windows::attach(unsealed, 1, HUGE_BYTES), Err(Error::Corrupt { .. })));
}

fn tempfile_of(size_bytes: u64) -> OwnedFd {
    let path = std::env::temp_dir().join(format!("brigade-unsealed-{}", std::process::id()));
    let file = std::fs::File::create_new(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.set_len(size_bytes).unwrap();
    file.into()
}

#[test]
fn the_arena_of_a_host_is_one_while_it_is_held() {
    let first = Arena::host().unwrap();
    let second = Arena::host().unwrap();
    assert_eq!(first.id(), second.id());
}

#[test]
fn many_threads_reserve_and_free_without_overlap() {
    let arena = arena();
    std::thread::scope(|scope| {
        for mark in 1..=4u8 {
            let arena = &arena;
            scope.spawn(move || {
                let mut held = Vec::new();
                for round in 0..200usize {
                    let len = (round * 7919 * usize::from(mark)) % 9000 + round / 190 * LARGE_BYTES;
                    let span = arena.reserve(len, Contents::Zeroed).unwrap();
                    assert!(is_all(&span, 0));
                    fill(&span, mark);
                    held.push(span);
                    if round % 3 == 0 {
                        let span = held.swap_remove(round / 2 % held.len());
                        assert!(is_all(&span, mark));
                    }
                }
            });
        }
    });
}

#[test]
fn with_strict_commits_pages_are_allocated_at_once() {
    let mut arena = Arena::new().unwrap();
    arena.commits_strictly = true;
    let arena = Arc::new(arena);
    let _span = arena.reserve(6 << 20, Contents::Zeroed).unwrap();
    let (_, touched_bytes) = memfd::size_and_use_bytes(arena.fd()).unwrap();
    assert_eq!((touched_bytes, arena.reserved_bytes()), (6 << 20, 6 << 20));
}

#[test]
fn populating_a_span_touches_it_all_and_no_more() {
    let arena = arena();
    let _before = arena.reserve(2 << 20, Contents::Zeroed).unwrap();
    let span = arena.reserve(5 << 20, Contents::Zeroed).unwrap();
    span.populate().unwrap();
    let (_, touched_bytes) = memfd::size_and_use_bytes(arena.fd()).unwrap();
    assert_eq!(touched_bytes, 6 << 20);
    assert!(is_all(&span, 0));
}
