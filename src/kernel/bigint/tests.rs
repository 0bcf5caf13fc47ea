//! Tests of products, against a naive oracle and another library.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, RwLock};

use dashu_int::UBig;
use proptest::prelude::*;

use super::team_arithmetic::{LimbSpan, TeamArithmetic};
use super::*;
use crate::kernel::team::{COUNTERS, PeerDied, Team};

/// The naive oracle: row by row.
fn mul_naive(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut out = vec![0; a.len() + b.len()];
    for (i, &x) in a.iter().enumerate() {
        let mut carry = 0;
        for (j, &y) in b.iter().enumerate() {
            (out[i + j], carry) = limbs::mul_add(x, y, out[i + j], carry);
        }
        out[i + b.len()] = carry;
    }
    out
}

fn product(backend: Backend, a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut scratch = vec![u64::MAX; mul_scratch_limbs(a.len(), b.len())];
    let mut out = vec![u64::MAX; a.len() + b.len()];
    mul_by(backend, &mut out, a, b, &mut scratch);
    out
}

fn squared(backend: Backend, a: &[u64]) -> Vec<u64> {
    let mut scratch = vec![u64::MAX; square_scratch_limbs(a.len())];
    let mut out = vec![u64::MAX; 2 * a.len()];
    square_by(backend, &mut out, a, &mut scratch);
    out
}

/// Whether `product` is `a b`: checked by the oracle if that is fast, else modulo three primes near
/// 2^64.
///
/// Not by another library alone: dashu-int 0.6.2 is wrong in one bit for 4960 limbs of ones times
/// `awkward(4960, 2)`.
pub(super) fn is_product(product: &[u64], a: &[u64], b: &[u64]) -> bool {
    if a.len() * b.len() < 1 << 20 {
        return product == mul_naive(a, b);
    }
    [59, 83, 95].into_iter().all(|gap| {
        let modulus = u128::from(u64::MAX) + 1 - gap;
        let residue = |limbs: &[u64]| {
            limbs.iter().rev().fold(0, |r, &limb| (r << 64 | u128::from(limb)) % modulus)
        };
        residue(product) == residue(a) * residue(b) % modulus
    })
}

/// Limbs that look random, the same for the same seed.
fn noise(limbs: usize, seed: u64) -> Vec<u64> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.wrapping_mul(0xda94_2042_e4dd_58b5)
    };
    (0..limbs).map(step).collect()
}

/// Numbers that are hard for products: all ones, one bit, few bits, noise.
pub(super) fn awkward(limbs: usize, seed: u64) -> Vec<u64> {
    match seed % 5 {
        0 => vec![u64::MAX; limbs],
        1 => {
            let mut power = vec![0; limbs];
            power[limbs - 1] = 1 << (seed % 64);
            power
        }
        2 => (0..limbs).map(|i| u64::from(i % 17 == 3) << (i % 64)).collect(),
        3 => (0..limbs).map(|i| if i % 9 < 5 { u64::MAX } else { 0 }).collect(),
        _ => noise(limbs, seed),
    }
}

fn assert_products_agree(a: &[u64], b: &[u64]) {
    for &backend in Backend::all() {
        let product = product(backend, a, b);
        assert!(is_product(&product, a, b), "{backend:?} {} {}", a.len(), b.len());
    }
}

#[test]
fn products_agree_with_the_naive_oracle_at_every_small_size() {
    for n in 1..90 {
        for m in [1, 2, 3, 4, 5, n / 2 + 1, n] {
            let (a, b) = (awkward(n, (n + m) as u64), awkward(m, (3 * n + m) as u64));
            assert_eq!(product(Backend::detect(), &a, &b), mul_naive(&a, &b), "{n} by {m}");
        }
        let a = awkward(n, 7 * n as u64);
        assert_eq!(squared(Backend::detect(), &a), mul_naive(&a, &a), "square of {n}");
    }
}

#[test]
fn products_of_nothing_are_zero() {
    assert!(product(Backend::detect(), &[], &[]).is_empty());
    assert_eq!(product(Backend::detect(), &[5, 6], &[]), [0, 0]);
    assert!(squared(Backend::detect(), &[]).is_empty());
}

#[test]
fn products_agree_around_every_switch_of_method() {
    use thresholds::{
        KARATSUBA_MIN, KARATSUBA_SQUARE_MIN, TRANSFORM_FMA_MIN, TRANSFORM_MIN,
        TRANSFORM_SQUARE_MIN, TRANSFORM_TOTAL_MIN, TRANSFORM_UNBALANCED_MIN,
    };
    for switch in [KARATSUBA_MIN, 2 * KARATSUBA_MIN, TRANSFORM_MIN, TRANSFORM_FMA_MIN] {
        for n in switch - 3..switch + 4 {
            for m in [n, n + 1, 2 * n - 1, 2 * n + 3, 5 * n] {
                assert_products_agree(&awkward(n, n as u64), &awkward(m, m as u64 + 1));
            }
        }
    }
    for short in [TRANSFORM_UNBALANCED_MIN - 1, TRANSFORM_UNBALANCED_MIN] {
        for total in TRANSFORM_TOTAL_MIN - 1..TRANSFORM_TOTAL_MIN + 2 {
            assert_products_agree(&awkward(total - short, 4), &awkward(short, total as u64));
        }
    }
    for switch in
        [KARATSUBA_SQUARE_MIN, 2 * KARATSUBA_SQUARE_MIN, TRANSFORM_SQUARE_MIN, TRANSFORM_FMA_MIN]
    {
        for n in switch - 3..switch + 4 {
            let a = awkward(n, n as u64);
            for &backend in Backend::all() {
                assert!(is_product(&squared(backend, &a), &a, &a), "{backend:?} {n}");
            }
        }
    }
}

#[test]
fn products_agree_around_every_length_of_the_transform() {
    // 8 * odd * 2^log digits of 62 bits, for both operands together.
    for odd in [1, 3, 5, 7, 9, 15] {
        for log in [5, 6, 8] {
            let limbs: usize = ((8 * odd) << log) * 62 / 64;
            for both in limbs.saturating_sub(2)..limbs + 3 {
                let n = both / 2;
                if n >= thresholds::TRANSFORM_MIN {
                    let (a, b) = (awkward(n, both as u64), awkward(both - n, both as u64 + 2));
                    assert_products_agree(&a, &b);
                }
            }
        }
    }
}

#[test]
fn squares_agree_with_products() {
    for n in [200, 256, 333, 1000, 1984, 5000] {
        for seed in 0..5 {
            let a = awkward(n, seed);
            for &backend in Backend::all() {
                assert!(is_product(&squared(backend, &a), &a, &a), "{backend:?} {n}");
            }
        }
    }
}

#[test]
fn unbalanced_products_agree() {
    for (n, m) in [(4000, 1), (4000, 31), (4000, 40), (3000, 199), (5000, 201), (20_000, 700)] {
        for seed in 0..5 {
            assert_products_agree(&awkward(n, seed), &awkward(m, seed + n as u64));
        }
    }
}

#[test]
fn long_products_agree() {
    // Long enough for several pages, levels of recursion and every phase of the reductions.
    for n in [1599, 1600, 10_000, 16_384, 25_000, 40_000, 61_234] {
        assert_products_agree(&awkward(n, 4), &awkward(n, 0));
    }
    let ones = vec![u64::MAX; 50_000];
    assert!(is_product(&squared(Backend::detect(), &ones), &ones, &ones));
}

#[test]
fn products_of_noise_agree_with_another_library() {
    for n in [300, 3000, 30_000] {
        let (a, b) = (noise(n, 1), noise(n + 17, 2));
        let elsewhere = UBig::from_words(&a) * UBig::from_words(&b);
        assert!(trim(&product(Backend::detect(), &a, &b)) == elsewhere.as_words());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_product_agrees(
        (n, m) in (1usize..1500, 1usize..1500),
        (s, t) in (any::<u64>(), any::<u64>()),
    ) {
        assert_products_agree(&awkward(n, s), &awkward(m, t));
    }
}

/// A team of threads.
pub(super) struct Threads<'a> {
    rank: usize,
    members: usize,
    counters: &'a [AtomicUsize; COUNTERS],
    barrier: &'a Barrier,
    /// Locked for reading by members at work; `true` after a member died.
    peer_died: &'a RwLock<bool>,
}

// SAFETY: each thread has a rank of its own; counters are atomic; the barrier is the standard one.
#[expect(unsafe_code, reason = "kernels rely on what a team promises")]
unsafe impl Team for Threads<'_> {
    fn members(&self) -> usize {
        self.members
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn take(&self, counter: usize, count: usize) -> usize {
        self.counters[counter].fetch_add(count, Ordering::AcqRel)
    }

    fn reset(&self, counter: usize) {
        self.counters[counter].store(0, Ordering::Release);
    }

    fn barrier(&self) -> Result<(), PeerDied> {
        if *self.peer_died.read().unwrap() {
            return Err(PeerDied);
        }
        self.barrier.wait();
        Ok(())
    }
}

/// Runs `work` once for each of `members` members.
pub(super) fn with_team(members: usize, peer_died: bool, work: impl Fn(&Threads<'_>) + Sync) {
    let counters = std::array::from_fn(|_| AtomicUsize::new(0));
    let (barrier, peer_died) = (Barrier::new(members), RwLock::new(peer_died));
    std::thread::scope(|scope| {
        for rank in 0..members {
            let team = Threads {
                rank,
                members,
                counters: &counters,
                barrier: &barrier,
                peer_died: &peer_died,
            };
            let work = &work;
            scope.spawn(move || work(&team));
        }
    });
}

/// The result, of `result` limbs, that a team of threads computes with a workspace; `work` returns
/// how many limbs count.
#[expect(unsafe_code, reason = "the members of a test's team share memory as processes do")]
pub(super) fn by_team(
    members: usize,
    [workspace, result]: [usize; 2],
    work: impl Fn(
        &TeamArithmetic<'_, Threads<'_>>,
        LimbSpan<'_>,
        LimbSpan<'_>,
    ) -> Result<usize, PeerDied>
    + Sync,
) -> Vec<u64> {
    let mut workspace = vec![u64::MAX; workspace];
    let mut result = vec![u64::MAX; result];
    let sizes = [workspace.len(), result.len()];
    let limbs = AtomicUsize::new(0);
    let (at, result_at) = (Shared(workspace.as_mut_ptr()), Shared(result.as_mut_ptr()));
    with_team(members, false, |team| {
        // SAFETY: the vector outlives the team, and only the team uses it, by `work`.
        let workspace = unsafe { LimbSpan::new(at.get(), sizes[0]) };
        // SAFETY: as above.
        let result = unsafe { LimbSpan::new(result_at.get(), sizes[1]) };
        // SAFETY: all members take the same steps, and counters begin at zero.
        let arithmetic = unsafe { TeamArithmetic::new(team, Backend::detect(), members) };
        limbs.store(work(&arithmetic, result, workspace).unwrap(), Ordering::Relaxed);
    });
    result.truncate(limbs.into_inner());
    result
}

/// A pointer that threads of a test may share.
#[derive(Clone, Copy)]
pub(super) struct Shared<T>(pub(super) *mut T);

#[expect(unsafe_code, reason = "the members of a test's team share memory as processes do")]
// SAFETY: the tests pass it only to functions for teams, which share it as they document.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(super) fn get(&self) -> *mut T {
        self.0
    }
}

#[test]
#[expect(unsafe_code, reason = "the members of a test's team share memory as processes do")]
fn teams_of_any_size_give_the_same_limbs() {
    for n in [20, 150, 300, 3000, 9000] {
        let (a, b) = (awkward(n, 0), awkward(n + n / 3, 3));
        for members in [1, 2, 3, 5] {
            let limbs = mul_scratch_limbs(a.len(), b.len()).max(square_scratch_limbs(a.len()));
            let mut scratch = vec![1; limbs];
            let mut out = vec![2; a.len() + b.len()];
            let mut out_square = vec![3; 2 * a.len()];
            let (out_at, square_at) = (Shared(out.as_mut_ptr()), Shared(out_square.as_mut_ptr()));
            let scratch_at = Shared(scratch.as_mut_ptr());
            let backend = Backend::detect();
            with_team(members, false, |team| {
                let scratch = scratch_at.get();
                // SAFETY: the vectors are long enough and outlive the team, and only the team uses
                // them.
                unsafe { mul_team(team, backend, out_at.get(), &a, &b, scratch) }.unwrap();
                // SAFETY: as above; the first product no longer needs its scratch.
                unsafe { square_team(team, backend, square_at.get(), &a, scratch) }.unwrap();
            });
            assert!(is_product(&out, &a, &b), "{members} members, {n} limbs");
            assert!(is_product(&out_square, &a, &a), "{members} members, square of {n} limbs");
        }
    }
}

#[test]
#[expect(unsafe_code, reason = "the members of a test's team share memory as processes do")]
fn a_team_with_a_dead_member_gives_an_error() {
    let a = noise(1000, 5);
    let mut scratch = vec![0; mul_scratch_limbs(1000, 1000)];
    let mut out = vec![0; 2000];
    let (out, scratch) = (Shared(out.as_mut_ptr()), Shared(scratch.as_mut_ptr()));
    with_team(1, true, |team| {
        let backend = Backend::detect();
        // SAFETY: the vectors are long enough and outlive the team, and only the team uses them.
        let done = unsafe { mul_team(team, backend, out.get(), &a, &a, scratch.get()) };
        assert_eq!(done, Err(PeerDied));
    });
}

#[test]
fn shorter_products_need_no_more_scratch_memory_than_is_kept_for_longer_ones() {
    use team_arithmetic::scratch_limbs_max;
    let sizes = (1..2000).chain((11..270).map(|n: usize| n.pow(2) * 5003 / 17));
    let long = [1, 40, 2_060_000, 8_130_000, SHORTER_LIMBS_MAX, 3 * SHORTER_LIMBS_MAX];
    let sizes: Vec<usize> = sizes.chain(long).chain(long.map(|n| n + 1)).collect();
    for factor in [0, 30, 40, 100, 5000, 2_000_000, SHORTER_LIMBS_MAX] {
        let mut sorted = sizes.clone();
        sorted.sort_unstable();
        let mut most = 0;
        for n in sorted {
            let m = factor.min(n);
            most = most.max(mul_scratch_limbs(n, m)).max(square_scratch_limbs(m));
            assert!(most <= scratch_limbs_max(n, m), "{n} by {m}");
        }
    }
    let mut most = 0;
    let mut sorted = sizes;
    sorted.sort_unstable();
    for n in sorted {
        most = most.max(mul_scratch_limbs(n, n)).max(square_scratch_limbs(n));
        assert!(most <= scratch_limbs_max(n, n), "{n} by {n}");
    }
}
