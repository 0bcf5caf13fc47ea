//! Which blocks workers take, and what stray words cause.

use super::*;
use proptest::prelude::*;

/// Takes all blocks, by the workers in the given order; returns which worker took which block.
fn takers(count: usize, shares: usize, order: &[usize]) -> Vec<Option<usize>> {
    let words = TableWords::new(count, shares, 1);
    let view = words.table();
    let mut takers = vec![None; count];
    for &worker in order.iter().cycle() {
        let Some(taken) = view.take(worker) else { break };
        for block in taken.filter(|&block| view.try_claim(block, 1)) {
            assert_eq!(takers[block].replace(worker), None, "block {block} was taken twice");
        }
    }
    takers
}

proptest! {
    #[test]
    fn every_block_is_taken_once_whoever_comes_when(
        count in 1usize..3000, shares in 1usize..20,
        order in proptest::collection::vec(0usize..25, 1..50),
    ) {
        let taken = takers(count, shares.min(count), &order);
        prop_assert!(taken.iter().all(Option::is_some));
    }

    #[test]
    fn shares_are_even_and_cover_all_blocks(count in 1usize..3000, shares in 1usize..20) {
        let shares = shares.min(count);
        let mut next = 0;
        for index in 0..shares {
            let blocks = share(index, shares, count);
            prop_assert_eq!(blocks.start, next);
            prop_assert!((count / shares..=count.div_ceil(shares)).contains(&blocks.len()));
            next = blocks.end;
        }
        prop_assert_eq!(next, count);
    }

    #[test]
    fn words_of_a_stray_worker_make_no_block_beyond_the_last_or_twice(
        // Any word, or blocks that are in other shares too.
        left in prop_oneof![
            any::<u64>(),
            (0u64..12, 0u64..12).prop_map(|(start, end)| start | end << 32),
        ],
        home in 0usize..4,
    ) {
        let words = TableWords::new(10, 3, 1);
        let view = words.table();
        words.shares[1].left.store(left, Ordering::Relaxed);
        words.shares[2].batch.store(left.rotate_left(7), Ordering::Relaxed);
        let mut claimed = 0;
        while let Some(taken) = view.take(home) {
            prop_assert!(!taken.is_empty() && taken.end <= 10);
            claimed += taken.filter(|&block| view.try_claim(block, 1)).count();
        }
        prop_assert!(claimed <= 10, "a block that a stray word names twice is claimed once");
    }
}

#[test]
fn workers_that_are_equally_fast_keep_to_their_shares() {
    let takers = takers(400, 4, &[2, 0, 3, 1]);
    for (block, taker) in takers.iter().enumerate() {
        assert_eq!(*taker, Some(block / 100), "block {block}");
    }
}

#[test]
fn who_has_nothing_left_takes_half_of_what_another_has() {
    let words = TableWords::new(16, 2, 1);
    let view = words.table();
    // Worker 1 stays busy with its first block.
    assert_eq!(view.take(1), Some(8..10));
    assert!(view.try_claim(8, 2));
    let claimed = std::iter::from_fn(|| view.take(0)).flatten().filter(|&block| {
        let is_mine = view.try_claim(block, 1);
        assert!(is_mine, "no other worker takes a block");
        is_mine
    });
    let claimed: Vec<usize> = claimed.collect();
    assert_eq!(claimed, [0, 1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 11, 12, 10, 9]);
    view.rewind();
    assert_eq!(view.take(1), Some(8..10));
    view.limit(0);
    assert_eq!(view.take(0), None);
}

#[test]
fn what_was_taken_from_another_can_be_taken_from_the_taker() {
    let words = TableWords::new(24, 3, 1);
    let view = words.table();
    while words.shares[0].take_first(24).is_some() {}
    assert_eq!(view.take(0), Some(12..13), "half of what worker 1 has");
    assert_eq!(view.take(0), Some(13..14));
    while words.shares[1].take_first(24).is_some() {}
    while words.shares[2].take_first(24).is_some() {}
    assert_eq!(view.take(2), Some(15..16), "half of what worker 0 has taken");
    assert_eq!(view.take(0), Some(14..15));
}

#[test]
fn two_workers_with_one_share_lose_nothing() {
    let takers = takers(7, 2, &[0, 2, 4, 1]);
    assert!(takers.iter().all(Option::is_some), "{takers:?}");
    let share = Share {
        left: AtomicU64::new(Share::pack(&(3..3))),
        batch: AtomicU64::new(0),
        _share: [0; 6],
    };
    assert!(share.try_fill(&(4..6), 7));
    assert!(!share.try_fill(&(1..2), 7), "another worker was first");
    assert_eq!(share.take_first(7), Some(4..5));
}

// A worker that wrote over the words caused a loop to end as cancelled, or as done.
#[test]
fn a_block_word_that_no_task_of_the_loop_wrote_is_found() {
    let words = TableWords::new(10, 2, 5);
    let view = words.table();
    assert!(view.try_claim(3, 2) && view.try_claim(4, 1));
    view.set_done(4, 1);
    view.check(2).unwrap();
    let right = words.words[7].load(Ordering::Relaxed);
    let others = [word(4, 1, DONE), word(5, 3, DONE), word(5, 0, DONE), word(5, 1, FREE)];
    for wrong in others.into_iter().chain([0, u64::MAX, word(5, 1, 3)]) {
        words.words[7].store(wrong, Ordering::Relaxed);
        assert!(matches!(view.check(2), Err(Error::Corrupt { .. })), "{wrong:#x}");
    }
    words.words[7].store(right, Ordering::Relaxed);
    view.check(2).unwrap();
}

#[test]
fn no_worker_finds_a_block_behind_the_limit_for_ever() {
    let words = TableWords::new(64, 2, 1);
    let view = words.table();
    assert_eq!(view.take(1), Some(32..40), "a batch that worker 1 has not begun");
    view.limit(35);
    let found = std::iter::from_fn(|| view.take(0)).take(1000).flatten();
    let claimed: Vec<bool> =
        found.map(|block| block < view.needed() && view.try_claim(block, 1)).collect();
    assert!(claimed.len() < 1000, "{} blocks", claimed.len());
    let needed = claimed.iter().filter(|&&is_claimed| is_claimed).count();
    assert_eq!(needed, 35, "worker 0 takes also what worker 1 has not begun");
    assert_eq!((view.needed(), view.free()), (35, 35 - needed));
    view.unlimit();
    assert_eq!((view.needed(), view.are_done()), (64, false));
}
