//! Tests of operands that workers look up themselves.

use std::time::Instant;

use crate::array::SharedArray;
use crate::error::Error;
use crate::object::source::{REST_TIME, Resolved, Resolver, Source};
use crate::region::arena::Arena;
use crate::region::windows::Windows;
use crate::sys::mmap::Access;

fn windows() -> Windows {
    let arena = Arena::host().unwrap();
    let fd = arena.fd().try_clone_to_owned().unwrap();
    Windows::attach(fd, arena.id(), arena.size_bytes()).unwrap()
}

#[expect(unsafe_code, reason = "reads what was resolved, as a worker does")]
fn read(resolved: &Resolved, len: usize) -> Vec<f64> {
    // SAFETY: the tests resolve `len` elements of f64, which nothing writes meanwhile.
    unsafe { std::slice::from_raw_parts(resolved.as_ptr().cast::<f64>(), len) }.to_vec()
}

#[test]
fn an_operand_is_found_in_the_arena_and_in_a_named_region() {
    let array = SharedArray::from_slice(&[1.0, 2.0]).unwrap();
    let (windows, resolver) = (windows(), Resolver::default());
    let found = resolver.resolve(&windows, &array.source(), Access::ReadOnly).unwrap();
    assert_eq!(read(&found, 2), [1.0, 2.0]);
    let name = format!("brigade-test-source-{}", std::process::id());
    let mut named = SharedArray::<f64>::named(&name, [2]).unwrap();
    named.copy_from_slice(&[3.0, 4.0]).unwrap();
    let wire = postcard::to_allocvec(&named.source()).unwrap();
    let source: Source = postcard::from_bytes(&wire).unwrap();
    let found = resolver.resolve(&windows, &source, Access::ReadWrite).unwrap();
    assert_eq!(read(&found, 2), [3.0, 4.0]);
    // An array that was found before is found again, although the name is gone.
    named.unlink().unwrap();
    assert!(resolver.resolve(&windows, &source, Access::ReadWrite).is_ok());
    let refused = Resolver::default().resolve(&windows, &source, Access::ReadWrite);
    assert!(matches!(refused, Err(Error::NotFound { .. })));
}

#[test]
fn a_name_that_means_another_file_by_now_is_refused() {
    let name = format!("brigade-test-replaced-{}", std::process::id());
    let mut first = SharedArray::<f64>::named(&name, [2]).unwrap();
    let source = first.source();
    first.unlink().unwrap();
    let _second = SharedArray::<f64>::named(&name, [2]).unwrap();
    let refused = Resolver::default().resolve(&windows(), &source, Access::ReadOnly);
    assert!(matches!(refused, Err(Error::Layout { .. })), "{refused:?}");
}

#[test]
fn operands_out_of_bounds_or_of_another_arena_are_refused() {
    let (windows, resolver) = (windows(), Resolver::default());
    let elsewhere = Source::Arena { id: windows.id() ^ 1, offset: 0, len_bytes: 8 };
    let outside = Source::Arena { id: windows.id(), offset: u64::MAX, len_bytes: 8 };
    for source in [elsewhere, outside] {
        let refused = resolver.resolve(&windows, &source, Access::ReadOnly);
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    }
    let name = format!("brigade-test-bounds-{}", std::process::id());
    let named = SharedArray::<f64>::named(&name, [2]).unwrap();
    let Source::Mapped { address, device, inode, offset, .. } = named.source() else {
        panic!("a named array is mapped")
    };
    let len_bytes = u64::MAX - offset;
    let too_long = Source::Mapped { address, device, inode, offset, len_bytes };
    let refused = resolver.resolve(&windows, &too_long, Access::ReadOnly);
    assert!(matches!(refused, Err(Error::Layout { .. })), "{refused:?}");
}

// A file that was rewritten in place, larger, was found too short on every later use.
#[test]
fn a_file_that_was_written_anew_in_place_is_mapped_anew() {
    let path = std::env::temp_dir().join(format!("brigade-test-anew-{}.npy", std::process::id()));
    let (windows, resolver) = (windows(), Resolver::default());
    for len in [2usize, 1000, 3] {
        let array = SharedArray::from_fn([len], |[i]| i as f64).unwrap();
        let whole = path.with_extension("whole");
        array.to_npy(&whole).unwrap();
        std::fs::write(&path, std::fs::read(&whole).unwrap()).unwrap();
        std::fs::remove_file(whole).unwrap();
        #[expect(unsafe_code, reason = "maps a file of this test's")]
        // SAFETY: only this test uses the path.
        let mapped = unsafe { SharedArray::<f64>::map_npy(&path) }.unwrap();
        let found = resolver.resolve(&windows, &mapped.source(), Access::ReadOnly).unwrap();
        assert_eq!(read(&found, len), array.as_slice());
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn mappings_are_unmapped_when_their_names_are_gone_or_they_are_unused() {
    let (windows, resolver) = (windows(), Resolver::default());
    let kept = |resolver: &Resolver| resolver.cache.lock().unwrap().mappings.len();
    let name = |label| format!("brigade-test-rest-{label}-{}", std::process::id());
    let stays = SharedArray::<f64>::named(&name("stays"), [2]).unwrap();
    resolver.resolve(&windows, &stays.source(), Access::ReadOnly).unwrap();
    for round in 0..3 {
        let goes = SharedArray::<f64>::named(&name("goes"), [2]).unwrap();
        resolver.resolve(&windows, &goes.source(), Access::ReadOnly).unwrap();
        assert_eq!(kept(&resolver), 2, "round {round}");
    }
    assert!(resolver.rest().is_some_and(|again| again <= REST_TIME));
    assert_eq!(kept(&resolver), 1, "one has its name");
    resolver.cache.lock().unwrap().last_use = Instant::now().checked_sub(REST_TIME);
    assert_eq!((resolver.rest(), kept(&resolver)), (None, 0));
}
