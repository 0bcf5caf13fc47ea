//! Hosts that limit their arena.

use brigade::{Error, Limit, SharedArray};

use super::works;
use crate::common::alone::{alone, alone_with};

// A worker maps the arena twice. Here it could not, and ended without an error message.
#[test]
fn an_arena_of_more_than_workers_can_map_is_cut_down() {
    alone(|| {
        for size_bytes in [1 << 46, 1 << 47, u64::MAX - 1] {
            brigade::set_arena_size(size_bytes);
            works();
        }
    });
}

#[test]
fn the_environment_says_how_large_the_arena_is_and_how_much_the_machine_has() {
    let little = [("BRIGADE_ARENA_SIZE", "67108864"), ("BRIGADE_AVAILABLE_MEMORY", "33554432")];
    alone_with(&little, || {
        let limited = |bytes: usize| match SharedArray::<u8>::for_overwrite([bytes]).map(drop) {
            Err(Error::NoSpace { limited_by, free_bytes, .. }) => Some((limited_by, free_bytes)),
            other => {
                other.unwrap();
                None
            }
        };
        assert_eq!(limited(20 << 20), None);
        assert_eq!(limited(40 << 20), Some((brigade::Limit::Machine, 32 << 20)));
        brigade::set_available_memory(1 << 30);
        assert_eq!(limited(40 << 20), None);
        assert_eq!(limited(80 << 20).map(|found| found.0), Some(brigade::Limit::Arena));
    });
}

#[test]
fn what_is_kept_of_freed_memory_is_given_back_on_request() {
    alone(|| {
        let _keeps_the_arena = SharedArray::<u8>::zeroed([1]).unwrap();
        let shared = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssShmem:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
        };
        drop(SharedArray::from_slice(&vec![1u8; 64 << 20]).unwrap());
        assert!(shared() >= 64 << 20);
        brigade::set_memory_cache(8 << 20);
        assert!(shared() < 16 << 20, "{}", shared());
        drop(SharedArray::from_slice(&vec![1u8; 64 << 20]).unwrap());
        assert!(shared() < 16 << 20, "{}", shared());
    });
}

// Class of bug: a limit of the system is read once and relied upon for good.
#[test]
fn a_host_that_is_moved_to_a_smaller_group_is_refused_what_that_does_not_allow() {
    alone(|| {
        const GIB: usize = 1 << 30;
        let first = SharedArray::<u8>::zeroed(GIB).unwrap();
        let group = match crate::common::cgroup::Cgroup::enter(200 << 20) {
            Ok(group) => group,
            Err(error) => return crate::common::skipped(&format!("no cgroup to limit: {error}")),
        };
        let refused = SharedArray::<u8>::zeroed(GIB).unwrap_err();
        assert!(
            matches!(refused, Error::NoSpace { free_bytes, limited_by: Limit::Cgroup, .. }
                if free_bytes < 200 << 20),
            "{refused}"
        );
        drop(group);
        assert_eq!(SharedArray::<u8>::zeroed(GIB).unwrap().len(), first.len());
    });
}
