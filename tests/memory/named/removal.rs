//! Which regions may be removed, and which must not.

use crate::common::alone::alone_in_turn;
use crate::common::names::{Removed, path_of};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use brigade::shared::Lock;
use brigade::{Dtype, Error, RegionInfo, RegionKind, RegionState, SharedArray};

use super::hostile::{BODY_BYTES, BODY_OFFSET, Bytes, START};
use super::parts::{Part, is_root};
use crate::common::unique;

/// A name left by a killed program.
fn left_behind(label: &str) -> String {
    let name = unique(label);
    let mut holder = Part::start("hold", &[&name]);
    holder.expect("holding");
    holder.kill();
    name
}

/// The names that `reclaim` would remove.
fn would_remove() -> Vec<String> {
    let mut regions = brigade::regions().unwrap();
    regions.retain(|region| region.state() == RegionState::Dead && region.is_own());
    regions.iter().map(|region| region.name().to_owned()).collect()
}

/// Asks everything that removes names to remove this one; none may do so.
fn nothing_removes(name: &str, what: &str) {
    let before = fs::read(path_of(name)).unwrap();
    assert!(!would_remove().contains(&name.to_owned()), "{what}: dead");
    assert!(!brigade::reclaim().unwrap().contains(&name.to_owned()), "{what}: reclaim");
    let taken = SharedArray::<u8>::create(name, [4]);
    assert!(matches!(taken, Err(Error::NameTaken { .. })), "{what}: create: {taken:?}");
    let lock = Lock::create(name, 0u64);
    assert!(matches!(lock, Err(Error::NameTaken { .. })), "{what}: create of a lock");
    assert_eq!(fs::read(path_of(name)).unwrap(), before, "{what}");
}

// A file that had mode 600, began like a region and had no holder was taken for one left by a dead
// program: a file that `to_npy` wrote under umask 077, or a copy of a region.
#[test]
fn only_what_bears_the_mark_of_a_region_is_ever_removed() {
    alone_in_turn(|| {
        let array = SharedArray::from_slice(&[1u64, 2, 3, 4]).unwrap();
        let region = left_behind("original");
        let [written, copied, copied_by_cp, padded] =
            ["written", "copied", "cp", "padded"].map(|label| unique(&format!("{label}.npy")));
        let all = [&written, &copied, &copied_by_cp, &padded];
        let _removed = all.map(|name| Removed(name.clone()));
        array.to_npy(path_of(&written)).unwrap();
        fs::copy(path_of(&region), path_of(&copied)).unwrap();
        let both = [&region, &copied_by_cp].map(|name| path_of(name));
        assert!(Command::new("cp").arg("-a").args(both).status().unwrap().success());
        let mut by_another = fs::read(path_of(&written)).unwrap();
        by_another[4095] = b'\n';
        fs::write(path_of(&padded), by_another).unwrap();
        for name in all {
            fs::set_permissions(path_of(name), fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(RegionInfo::of(name).unwrap().state(), RegionState::Foreign, "{name}");
            nothing_removes(name, "a file that looks like a region");
            // A program that opens and closes it is its last holder.
            drop(SharedArray::<u64>::open(name).unwrap());
            assert!(path_of(name).exists(), "{name}");
        }
        assert!(!path_of(&region).exists(), "reclaim removed the region itself");
    });
}

#[test]
fn a_region_that_was_renamed_or_linked_stays() {
    alone_in_turn(|| {
        let (renamed, linked) = (left_behind("renamed"), left_behind("linked"));
        let [moved, second] = ["moved", "second"].map(unique);
        let _removed = [&moved, &second].map(|name| Removed(name.clone()));
        fs::rename(path_of(&renamed), path_of(&moved)).unwrap();
        fs::hard_link(path_of(&linked), path_of(&second)).unwrap();
        for name in [&moved, &second] {
            nothing_removes(name, "another name");
        }
        assert!(!path_of(&linked).exists(), "the name that the region was made under is free");
    });
}

#[test]
fn a_region_that_was_overwritten_is_not_removed_by_its_holders() {
    alone_in_turn(|| {
        for is_creators in [false, true] {
            let (name, copy) = (unique("over"), unique("over-copy"));
            let _removed = [&name, &copy].map(|name| Removed(name.clone()));
            let array = match is_creators {
                true => SharedArray::<u8>::named(&name, [4]).unwrap(),
                false => SharedArray::<u8>::create(&name, [4]).unwrap(),
            };
            SharedArray::from_slice(&[9u8; 8]).unwrap().to_npy(path_of(&copy)).unwrap();
            // In place, as `cp` does: the inode is the region's.
            fs::write(path_of(&name), fs::read(path_of(&copy)).unwrap()).unwrap();
            drop(array);
            assert!(path_of(&name).exists(), "made by named: {is_creators}");
        }
    });
}

// If only another program had a region mapped, `ls` called it live and `gc --dry-run` skipped it,
// but `gc` and `create` removed it.
#[test]
fn what_another_program_has_mapped_is_live_to_all_that_list_and_remove() {
    alone_in_turn(|| {
        let name = left_behind("mapped");
        assert_eq!(RegionInfo::of(&name).unwrap().state(), RegionState::Dead);
        assert!(would_remove().contains(&name));
        // A handle of raw memory takes no lock, like a program in another language.
        let mapped = SharedArray::<u8>::attach_raw(&name, Dtype::U8, [4], 4096).unwrap();
        assert_eq!(RegionInfo::of(&name).unwrap().state(), RegionState::Live);
        nothing_removes(&name, "mapped");
        drop(mapped);
        assert_eq!(RegionInfo::of(&name).unwrap().state(), RegionState::Dead);
        assert!(would_remove().contains(&name));
        drop(SharedArray::<u8>::create(&name, [4]).unwrap());
        assert!(!path_of(&name).exists());
    });
}

#[test]
fn an_inspection_of_another_users_lock_shows_its_kind_and_not_its_users() {
    alone_in_turn(|| {
        if !is_root("be two users") {
            return;
        }
        let name = unique("theirs");
        let lock = Lock::create(&name, 0u64).unwrap();
        assert_eq!(RegionInfo::of(&name).unwrap().participants().len(), 1);
        std::os::unix::fs::chown(path_of(&name), Some(65534), None).unwrap();
        let found = RegionInfo::of(&name).unwrap();
        assert!(matches!(found.kind(), RegionKind::Primitive { name: "lock", .. }), "{found:?}");
        assert!(found.participants().is_empty() && found.locks().is_empty(), "{found:?}");
        std::os::unix::fs::chown(path_of(&name), Some(0), None).unwrap();
        drop(lock);
    });
}

// An overwritten table could name 262,144 processes, and each of them was looked up.
#[test]
fn an_inspection_of_a_corrupt_table_looks_up_a_bounded_number_of_processes() {
    alone_in_turn(|| {
        const OWNERS: u64 = 200_000;
        let name = unique("crowded");
        let lock = Lock::create(&name, 0u64).unwrap();
        let bytes = Bytes::of(&name);
        let body_offset = (64 + 32 + 16 * OWNERS + 8).next_multiple_of(128);
        let total = body_offset + 128;
        bytes.0.set_len(START + total).unwrap();
        rewrite_shape(&path_of(&name), total);
        bytes.set(START + 24, total);
        bytes.set(BODY_OFFSET, body_offset);
        bytes.set(BODY_BYTES, 128);
        // The numbers of owners and directory entries: one word with two halves.
        bytes.set(START + 64 + 16, OWNERS | 1 << 32);
        for owner in 0..OWNERS {
            bytes.set(START + 64 + 32 + 16 * owner, (owner % 4_000_000 + 1) << 32 | (owner + 1));
        }
        let found = RegionInfo::of(&name).unwrap();
        let shown = found.participants().len();
        assert!((1..=2048).contains(&shown), "{shown}");
        RegionInfo::of(&name).unwrap().remove().unwrap();
        drop(lock);
    });
}

/// Writes another length into the header of a region of bytes.
fn rewrite_shape(path: &Path, len: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({len},), }}   ");
    std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 10).unwrap();
}
