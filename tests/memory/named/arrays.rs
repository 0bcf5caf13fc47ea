//! Named arrays: when a name becomes visible and is removed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use brigade::{Dtype, Error, NamedArray, SharedArray};

use super::parts::{Part, is_root, say, wait};
use crate::common::alone::alone_in_turn;
use crate::common::names::{Removed, path_of};
use crate::common::unique;

/// Rounds of the races. In each, a name is made, seen and removed.
const ROUNDS: u64 = 10_000;

/// Runs the part that `words` name, if it is one of these.
pub(crate) fn part(words: &[&str]) -> bool {
    match *words {
        ["hold", name] => {
            let _array = SharedArray::<u64>::create(name, [4]).unwrap();
            say("holding");
            wait();
        }
        ["open", name] => {
            let _array = SharedArray::<u64>::open(name).unwrap();
            say("holding");
            wait();
        }
        ["look", name] => look_until_told(name),
        ["either", name, rounds] => make_or_open(name, rounds.parse().unwrap()),
        ["refused", name] => {
            let refused = SharedArray::<u64>::open(name);
            assert!(matches!(refused, Err(Error::Os { .. })), "{refused:?}");
            assert!(refused.unwrap_err().to_string().contains("open"));
            let taken = SharedArray::<u64>::create(name, [4]);
            assert!(matches!(taken, Err(Error::NameTaken { .. })), "{taken:?}");
        }
        _ => return false,
    }
    true
}

/// Opens the name as often as possible, until its elements say that the test is over.
fn look_until_told(name: &str) {
    say("looking");
    loop {
        match SharedArray::<u64>::open(name) {
            Err(Error::NotFound { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
            Ok(array) => {
                assert_eq!(array.shape().dims(), [3, 5], "a header that was not complete");
                assert!(!array.is_creator());
                if array.get([0, 0]) == Some(u64::MAX) {
                    return;
                }
            }
        }
    }
}

/// Makes or opens the name repeatedly, while others do the same.
fn make_or_open(name: &str, rounds: u64) {
    say("ready");
    wait();
    for _ in 0..rounds {
        let array = SharedArray::<u64>::create_or_open(name, [3, 5]).unwrap();
        assert_eq!(array.shape().dims(), [3, 5]);
        assert_eq!(fs::metadata(path_of(name)).map(|m| m.len()).unwrap(), 4096 + 15 * 8);
    }
}

#[test]
fn the_last_to_let_go_removes_the_name() {
    alone_in_turn(|| {
        let name = unique("last");
        let first = SharedArray::<u64>::create(&name, [4]).unwrap();
        let second = SharedArray::<u64>::open(&name).unwrap();
        let mut other = Part::start("open", &[&name]);
        other.expect("holding");
        drop(first);
        assert!(path_of(&name).exists(), "two still hold it");
        drop(second);
        assert!(path_of(&name).exists(), "another program still holds it");
        assert_eq!(SharedArray::<u64>::open(&name).unwrap().len(), 4);
        other.go_on();
        other.succeeds();
        assert!(!path_of(&name).exists());
    });
}

#[test]
fn workers_that_an_array_was_lent_to_do_not_keep_its_name() {
    alone_in_turn(|| {
        let name = unique("lent");
        let pool = brigade::Pool::builder().workers(2).build().unwrap();
        let mut array = SharedArray::<u32>::create(&name, [1000]).unwrap();
        // SAFETY: nothing else uses the name.
        let lent = unsafe { array.lend_mut() };
        pool.par_chunks_mut(lent, 10).for_each(|part| part.fill(3)).unwrap();
        assert_eq!(array.get([999]), Some(3));
        drop(array);
        assert!(!path_of(&name).exists());
        assert_eq!(pool.submit(|n: u8| n + 1, 1).unwrap().join().unwrap(), 2);
    });
}

#[test]
fn a_kept_array_stays_until_it_is_unlinked() {
    alone_in_turn(|| {
        let name = unique("kept");
        SharedArray::<u8>::create(&name, [4]).unwrap().keep().unwrap();
        let mut again = SharedArray::<u8>::open(&name).unwrap();
        drop(SharedArray::<u8>::open(&name).unwrap());
        assert!(matches!(SharedArray::<u8>::create(&name, [4]), Err(Error::NameTaken { .. })));
        assert!(!SharedArray::<u8>::create_or_open(&name, [4]).unwrap().is_creator());
        again.unlink().unwrap();
        assert!(!path_of(&name).exists());
        assert!(matches!(again.unlink(), Err(Error::NotFound { .. })));
    });
}

#[test]
fn a_killed_creators_name_is_free_to_create() {
    alone_in_turn(|| {
        type Make = fn(&str) -> brigade::Result<NamedArray<u64>>;
        let ways: [Make; 2] = [
            |name| SharedArray::<u64>::create(name, [7]),
            |name| SharedArray::<u64>::create_or_open(name, [7]),
        ];
        for make in ways {
            let name = unique("killed");
            let mut creator = Part::start("hold", &[&name]);
            creator.expect("holding");
            assert!(matches!(SharedArray::<u64>::create(&name, [7]), Err(Error::NameTaken { .. })));
            creator.kill();
            let ours = make(&name).unwrap();
            assert!(ours.is_creator());
            assert_eq!(ours.copy_to_vec(), [0; 7]);
        }
    });
}

#[test]
fn a_program_that_opens_during_a_creation_sees_all_or_nothing() {
    alone_in_turn(|| {
        let name = unique("race");
        let mut looker = Part::start("look", &[&name]);
        looker.expect("looking");
        for _ in 0..ROUNDS {
            drop(SharedArray::<u64>::named(&name, [3, 5]).unwrap());
        }
        let mut last = SharedArray::<u64>::named(&name, [3, 5]).unwrap();
        last.set([0, 0], u64::MAX).unwrap();
        looker.succeeds();
    });
}

#[test]
fn of_many_that_make_or_open_at_once_each_gets_the_array() {
    alone_in_turn(|| {
        let name = unique("either");
        let rounds = (ROUNDS / 4).to_string();
        let mut all: Vec<Part> = (0..4).map(|_| Part::start("either", &[&name, &rounds])).collect();
        all.iter_mut().for_each(|part| part.expect("ready"));
        all.iter_mut().for_each(Part::go_on);
        all.into_iter().for_each(Part::succeeds);
        assert!(!path_of(&name).exists());
    });
}

#[test]
fn of_many_that_create_at_once_one_succeeds() {
    alone_in_turn(|| {
        for _ in 0..50 {
            let name = unique("one");
            let create = || SharedArray::<u64>::create(&name, [3]);
            let results = std::thread::scope(|scope| {
                let all: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
            });
            let taken = |result: &&_| matches!(result, Err(Error::NameTaken { .. }));
            assert_eq!(results.iter().filter(taken).count(), 3, "{results:?}");
        }
    });
}

#[test]
fn a_refused_open_leaves_what_a_killed_program_left() {
    alone_in_turn(|| {
        let name = unique("refused");
        let mut creator = Part::start("hold", &[&name]);
        creator.expect("holding");
        creator.kill();
        assert!(matches!(SharedArray::<f32>::open(&name), Err(Error::Layout { .. })));
        assert!(matches!(brigade::Queue::<u8>::open(&name), Err(Error::Layout { .. })));
        assert_eq!(SharedArray::<u64>::open(&name).unwrap().len(), 4);
        assert!(!path_of(&name).exists(), "opened, and let go by the last");
    });
}

#[test]
fn asking_for_another_shape_or_dtype_is_an_error_that_says_what_is_there() {
    alone_in_turn(|| {
        let name = unique("shape");
        let _ours = SharedArray::<u32>::create(&name, [2, 3]).unwrap();
        let larger = SharedArray::<u32>::create_or_open(&name, [20, 30]).unwrap_err();
        assert!(larger.to_string().contains("found shape [2, 3]"), "{larger}");
        let other = SharedArray::<i32>::create_or_open(&name, [2, 3]).unwrap_err();
        assert!(other.to_string().contains("found dtype <u4"), "{other}");
        assert_eq!(SharedArray::<u32>::open(&name).unwrap().shape().dims(), [2, 3]);
    });
}

#[test]
fn the_mode_is_0600_whatever_the_umask() {
    alone_in_turn(|| {
        for mask in [0, 0o022, 0o077, 0o777] {
            let name = unique("umask");
            // All other tests of this binary that make files wait until this one has ended.
            let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_retain(mask));
            let array = SharedArray::<u8>::create(&name, [4]);
            nix::sys::stat::umask(before);
            let array = array.unwrap();
            let mode = fs::metadata(path_of(&name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "umask {mask:o}");
            drop(array);
        }
    });
}

#[test]
fn another_users_file_is_refused_and_ours_cannot_be_opened_by_them() {
    alone_in_turn(|| {
        if !is_root("be two users") {
            return;
        }
        let (ours, theirs) = (unique("ours"), unique("theirs"));
        let array = SharedArray::<u64>::create(&ours, [4]).unwrap();
        Part::start_as(65534, "refused", &[&ours]).succeeds();
        drop(array);
        let _removed = Removed(theirs.clone());
        let mut squatted = SharedArray::<u64>::create(&theirs, [4]).unwrap();
        squatted.keep().unwrap();
        drop(squatted);
        std::os::unix::fs::chown(path_of(&theirs), Some(65534), Some(65534)).unwrap();
        fs::set_permissions(path_of(&theirs), fs::Permissions::from_mode(0o600)).unwrap();
        let refused = SharedArray::<u64>::open(&theirs).unwrap_err();
        assert!(refused.to_string().contains("a file of another user"), "{refused}");
        let raw = SharedArray::<u64>::attach_raw(&theirs, Dtype::U64, [4], 4096).unwrap_err();
        assert!(raw.to_string().contains("a file of another user"), "{raw}");
        assert!(matches!(SharedArray::<u64>::create(&theirs, [4]), Err(Error::NameTaken { .. })));
        assert!(!brigade::reclaim().unwrap().contains(&theirs));
        assert_eq!(fs::metadata(path_of(&theirs)).unwrap().uid(), 65534, "it was not changed");
    });
}

#[test]
fn a_region_that_was_truncated_is_refused() {
    alone_in_turn(|| {
        let name = unique("truncated");
        let array = SharedArray::<u64>::create(&name, [1000]).unwrap();
        for size in [4096 + 7999, 4096, 100, 6, 0] {
            let file = fs::OpenOptions::new().write(true).open(path_of(&name)).unwrap();
            file.set_len(size).unwrap();
            let refused = SharedArray::<u64>::open(&name);
            assert!(matches!(refused, Err(Error::Layout { .. })), "{size}: {refused:?}");
        }
        // It is no longer a region, so its last holder does not remove it.
        drop(array);
        fs::remove_file(path_of(&name)).unwrap();
    });
}

#[test]
fn raw_memory_is_checked_before_it_is_used() {
    alone_in_turn(|| {
        let name = unique("raw");
        let _removed = Removed(name.clone());
        let private = |bytes: &[u8]| {
            fs::write(path_of(&name), bytes).unwrap();
            fs::set_permissions(path_of(&name), fs::Permissions::from_mode(0o600)).unwrap();
        };
        let raw = |shape: &[usize], offset| {
            SharedArray::<u32>::attach_raw(&name, Dtype::U32, shape, offset)
        };
        assert!(matches!(raw(&[1], 0), Err(Error::NotFound { .. })));
        private(&[]);
        assert!(matches!(raw(&[1], 0), Err(Error::Layout { .. })), "an empty file");
        assert!(matches!(raw(&[0], 0), Err(Error::Layout { .. })), "nothing of an empty file");
        private(&[1, 0, 0, 0, 2, 0, 0, 0, 3]);
        let mut array = raw(&[2], 0).unwrap();
        assert_eq!(array.copy_to_vec(), [1, 2]);
        array.set([1], 77).unwrap();
        assert_eq!(raw(&[1, 1], 4).unwrap().get([0, 0]), Some(77));
        assert_eq!(raw(&[0], 8).unwrap().len(), 0);
        for (shape, offset) in [(&[3][..], 0), (&[2], 4), (&[1], 8), (&[0], 12), (&[1], 2)] {
            let refused = raw(shape, offset);
            assert!(matches!(refused, Err(Error::Layout { .. })), "{shape:?} at {offset}");
        }
        for (shape, offset) in [(&[1][..], usize::MAX - 3), (&[usize::MAX, 2], 0)] {
            let refused = raw(shape, offset);
            assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{shape:?} at {offset}");
        }
        let other = SharedArray::<u32>::attach_raw(&name, Dtype::F32, [1], 0);
        assert!(matches!(other, Err(Error::Layout { .. })), "another dtype");
        fs::set_permissions(path_of(&name), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(raw(&[1], 0), Err(Error::Layout { .. })), "open to others");
        drop(array);
        assert!(path_of(&name).exists(), "raw memory is its maker's to remove");
    });
}

#[test]
fn a_raw_array_is_an_operand_of_a_loop() {
    alone_in_turn(|| {
        let name = unique("raw-loop");
        let _removed = Removed(name.clone());
        let bytes: Vec<u8> = (0..100u32).flat_map(u32::to_le_bytes).collect();
        fs::write(path_of(&name), bytes).unwrap();
        fs::set_permissions(path_of(&name), fs::Permissions::from_mode(0o600)).unwrap();
        let mut array = SharedArray::<u32>::attach_raw(&name, Dtype::U32, [90], 40).unwrap();
        let pool = brigade::Pool::builder().workers(2).build().unwrap();
        // SAFETY: the file was made above; nothing else uses its name.
        let lent = unsafe { array.lend_mut() };
        pool.par_chunks_mut(lent, 7)
            .for_each(|part| part.iter_mut().for_each(|n| *n += 1))
            .unwrap();
        assert_eq!(array.copy_to_vec(), (11..101).collect::<Vec<_>>());
    });
}

// Workers kept up to 64 mapped regions as long as they lived.
#[test]
fn workers_unmap_regions_whose_names_are_gone() {
    alone_in_turn(|| {
        let pool = brigade::Pool::builder().workers(2).build().unwrap();
        for round in 0..5 {
            let name = unique(&format!("lent-{round}"));
            let mut array = SharedArray::<u64>::create(&name, [1 << 12]).unwrap();
            // SAFETY: the name was made above; nothing else uses it.
            pool.par_chunks_mut(unsafe { array.lend_mut() }, 64).for_each(|x| x.fill(1)).unwrap();
        }
        let mapped = || {
            let workers = crate::common::alone::workers();
            let maps = workers.iter().map(|worker| format!("/proc/{}/maps", worker.pid));
            maps.map(|path| fs::read_to_string(path).unwrap_or_default())
                .map(|maps| maps.matches("/dev/shm/").count())
                .sum::<usize>()
        };
        crate::common::time::wait_for(|| mapped() == 0);
        let sum = pool.submit(|()| 1 + 1, ()).unwrap().join().unwrap();
        assert_eq!(sum, 2, "they are there and work");
    });
}
