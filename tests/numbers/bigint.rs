//! Big numbers computed by teams of workers.

mod deaths;
mod modes;

use brigade::kernel::bigint;
use brigade::{Error, Pool, SharedBigUint, Start};
use dashu_int::UBig;

use crate::common::alone::alone;

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// Pseudorandom limbs with long runs of ones and of zeros.
fn limbs(count: usize, seed: u64) -> Vec<u64> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut limb = |i: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        match i / 50 % 7 {
            0 => u64::MAX,
            1 => 0,
            _ => state ^ state >> 31,
        }
    };
    (0..count).map(|i| if i + 1 == count { limb(100) | 1 } else { limb(i) }).collect()
}

fn number(count: usize, seed: u64) -> SharedBigUint {
    SharedBigUint::from_limbs(&limbs(count, seed)).unwrap()
}

fn oracle(number: &SharedBigUint) -> UBig {
    UBig::from_words(number.limbs())
}

#[test]
fn factorials_equal_those_of_one_process_for_any_number_of_workers() {
    alone(|| {
        let cases =
            (0..4).chain([20, 21, 1000, 9999, 10_000, 19_999, 20_000, 20_001, 65_535, 65_536]);
        let cases = cases.chain([65_537, 131_071, 200_000, 300_001]);
        let expected: Vec<_> = cases.map(|n| (n, bigint::factorial(n))).collect();
        for workers in [1, 2, 3, 5] {
            let pool = pool(workers);
            for (n, expected) in &expected {
                let found = pool.factorial(*n).unwrap();
                assert!(found.limbs() == expected, "{n}! with {workers} workers");
            }
        }
        let own = Pool::builder().start(Start::InProcess).build().unwrap();
        for (n, expected) in &expected {
            assert!(own.factorial(*n).unwrap().limbs() == expected, "{n}! in process");
        }
    });
}

#[test]
fn a_watched_factorial_is_the_same_and_its_progress_grows_to_one() {
    alone(|| {
        let own = Pool::builder().start(Start::InProcess).build().unwrap();
        for pool in [pool(2), own] {
            for n in [0, 10, 400_000] {
                let mut told = Vec::new();
                let number = pool.factorial_watched(n, |done| told.push(done)).unwrap();
                assert!(number.limbs() == bigint::factorial(n), "{n}!");
                assert!(told.is_sorted() && told[0] >= 0.0, "{told:?}");
                assert_eq!(*told.last().unwrap(), 1.0);
            }
        }
    });
}

// The panic became "a scoped thread panicked".
#[test]
fn a_panic_of_a_watch_comes_through_with_its_message_and_the_pool_goes_on() {
    alone(|| {
        let pool = pool(2);
        let watched = || pool.factorial_watched(400_000, |_| panic!("enough"));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(watched)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"enough"));
        assert_eq!(pool.factorial(20).unwrap().limbs(), [2_432_902_008_176_640_000]);
    });
}

#[test]
fn factorials_equal_products_of_one_factor_after_another() {
    alone(|| {
        fn product(from: u64, to: u64) -> UBig {
            match to - from {
                0 => UBig::ONE,
                1 => UBig::from(to),
                _ => {
                    let middle = from.midpoint(to);
                    product(from, middle) * product(middle, to)
                }
            }
        }
        let pool = pool(2);
        for n in [0, 1, 2, 19_990, 20_003, 70_007, 100_000] {
            assert!(oracle(&pool.factorial(n).unwrap()) == product(0, n), "{n}!");
        }
    });
}

#[test]
fn products_equal_those_of_another_library_for_any_number_of_workers() {
    alone(|| {
        let sizes = [
            (0, 0),
            (0, 7),
            (1, 1),
            (117, 118),
            (4999, 5000),
            (5000, 5000),
            (9999, 1),
            (12_000, 3),
            (20_001, 300),
            (30_000, 29_999),
        ];
        let pools: Vec<Pool> = [1, 2, 3, 5].into_iter().map(pool).collect();
        let own = Pool::builder().start(Start::InProcess).build().unwrap();
        for (m, n) in sizes {
            let (a, b) = (number(m, 1), number(n, 2));
            let (product, square) = (oracle(&a) * oracle(&b), oracle(&a) * oracle(&a));
            for pool in pools.iter().chain([&own]) {
                let workers = pool.workers();
                assert!(oracle(&pool.multiply(&a, &b).unwrap()) == product, "{m} x {n}, {workers}");
                assert!(oracle(&pool.multiply(&b, &a).unwrap()) == product, "{n} x {m}, {workers}");
                assert!(
                    oracle(&pool.multiply(&a, &a).unwrap()) == square,
                    "{m} x itself, {workers}"
                );
                assert!(oracle(&pool.square(&a).unwrap()) == square, "{m} squared, {workers}");
            }
        }
    });
}

#[test]
fn the_product_of_many_numbers_is_the_same_for_any_number_of_workers() {
    alone(|| {
        let lists: [&[usize]; 8] = [
            &[],
            &[5],
            &[20_000],
            &[3, 20_000],
            &[1, 15_000, 1],
            &[9000, 2, 8000, 1, 1, 7000, 30],
            &[12_000; 5],
            &[40; 700],
        ];
        let pools: Vec<Pool> = [1, 2, 3, 5].into_iter().map(pool).collect();
        let own = Pool::builder().start(Start::InProcess).build().unwrap();
        for list in lists {
            let numbers: Vec<_> = list.iter().zip(1..).map(|(&n, seed)| number(n, seed)).collect();
            let product: UBig = numbers.iter().map(oracle).fold(UBig::ONE, |all, one| all * one);
            for pool in pools.iter().chain([&own]) {
                let found = pool.multiply_all(&numbers).unwrap();
                assert!(oracle(&found) == product, "{list:?}, {} workers", pool.workers());
            }
        }
        let zero = SharedBigUint::from_limbs(&[]).unwrap();
        let big = number(20_000, 3);
        assert!(pools[1].multiply_all([&big, &zero, &big]).unwrap().is_zero());
    });
}

#[test]
fn powers_equal_those_of_another_library() {
    alone(|| {
        let pool = pool(2);
        for (size, exponent) in [(0, 0), (0, 3), (1, 0), (1, 1), (3, 77), (700, 50), (6000, 3)] {
            let a = number(size, 9);
            let power = oracle(&a).pow(usize::try_from(exponent).unwrap());
            assert!(oracle(&pool.pow(&a, exponent).unwrap()) == power, "{size} limbs ^ {exponent}");
        }
        let one = SharedBigUint::from_limbs(&[1]).unwrap();
        assert_eq!(pool.pow(&one, u64::MAX).unwrap(), one);
    });
}

#[test]
fn powers_and_products_of_even_numbers_equal_those_of_another_library() {
    alone(|| {
        let pool = pool(2);
        let shapes: [(&[u64], u64); 8] = [
            (&[2], 1000),
            (&[1 << 63], 777),
            (&[0, 0, 1], 200_000),
            (&[0, 1 << 17], 33_333),
            (&[6], 100_001),
            (&[0, 0, 3 << 40], 5000),
            (&[1 << 63, 1, 7 << 61], 300),
            (&[0, u64::MAX], 64),
        ];
        for (limbs, exponent) in shapes {
            let a = SharedBigUint::from_limbs(limbs).unwrap();
            let power = oracle(&a).pow(usize::try_from(exponent).unwrap());
            assert!(oracle(&pool.pow(&a, exponent).unwrap()) == power, "{limbs:?} ^ {exponent}");
            assert!(oracle(&a.pow(exponent).unwrap()) == power, "{limbs:?} ^ {exponent}, alone");
            for size in [0, 1, 5, 20_000] {
                let b = number(size, 4);
                let product = oracle(&a) * oracle(&b);
                for found in [pool.multiply(&a, &b), pool.multiply(&b, &a), a.mul(&b), b.mul(&a)] {
                    assert!(oracle(&found.unwrap()) == product, "{limbs:?} by {size} limbs");
                }
            }
            assert!(oracle(&pool.square(&a).unwrap()) == oracle(&a).pow(2));
            assert!(oracle(&a.square().unwrap()) == oracle(&a).pow(2));
        }
    });
}

/// By squaring this would take a minute on a fast machine, and five times the available memory.
#[test]
fn a_power_of_two_is_a_shift_and_touches_no_more_memory_than_its_bits() {
    alone(|| {
        let pool = pool(1);
        brigade::set_memory_limit(800 << 20);
        let two = SharedBigUint::from_limbs(&[2]).unwrap();
        let power = pool.pow(&two, 1 << 32);
        let squared = SharedBigUint::from_limbs(&[0, 1]).unwrap().pow(1 << 25);
        brigade::set_memory_limit(u64::MAX);
        assert_eq!(power.unwrap().bits(), (1 << 32) + 1);
        assert_eq!(squared.unwrap().bits(), (1 << 31) + 1);
        // The caller computed it without the workers.
        assert_eq!(pool.stats().succeeded, 0);
    });
}

#[test]
fn decimals_equal_those_of_another_library_for_any_number_of_workers() {
    alone(|| {
        let cases: Vec<SharedBigUint> =
            [0, 1, 29, 30, 2999, 3000, 3001, 12_345, 30_000].map(|size| number(size, 3)).into();
        let expected: Vec<String> = cases.iter().map(|x| oracle(x).to_string()).collect();
        let pools: Vec<Pool> = [1, 2, 3, 5].into_iter().map(pool).collect();
        let own = Pool::builder().start(Start::InProcess).build().unwrap();
        for (x, expected) in cases.iter().zip(&expected) {
            for pool in pools.iter().chain([&own]) {
                let found = pool.to_decimal(x).unwrap();
                assert!(found == *expected, "{x:?}, {} workers", pool.workers());
            }
            assert!(x.to_decimal() == *expected && x.to_string() == *expected, "{x:?}");
        }
    });
}

#[test]
fn powers_of_ten_and_their_neighbours_have_the_right_digits() {
    alone(|| {
        let pool = pool(2);
        let ten = SharedBigUint::from_limbs(&[10]).unwrap();
        for exponent in [57_000, 200_000] {
            let power = pool.pow(&ten, exponent).unwrap();
            let zeros = "0".repeat(usize::try_from(exponent).unwrap());
            assert!(pool.to_decimal(&power).unwrap() == format!("1{zeros}"));
            let mut limbs = power.limbs().to_vec();
            bigint::sub_limb(&mut limbs, 1);
            let below = SharedBigUint::from_limbs(&limbs).unwrap();
            assert!(pool.to_decimal(&below).unwrap() == zeros.replace('0', "9"));
        }
    });
}

/// The lengths are floor(log10 n!) + 1; the digests were computed with GMP.
#[test]
fn decimals_of_factorials_have_the_known_lengths_and_digests() {
    alone(|| {
        use sha2::{Digest, Sha256};
        let pool = pool(2);
        let known = [
            (10_000, 35_660, "f17f312be51414ec57f0fda0b1589003663a505df1ef2aafac40bb3be2e46c8e"),
            (100_000, 456_574, "820239691ef9b4887957093bb745a1ac33d3184b272db3e9a0d0a37062a13399"),
            (
                1_000_000,
                5_565_709,
                "32d5a0e34b2278db851ac1afead8c05f33ad91c3efce871f5dd66805743e0914",
            ),
        ];
        for (n, digits, expected) in known {
            let text = pool.to_decimal(&pool.factorial(n).unwrap()).unwrap();
            assert_eq!(text.len(), digits, "{n}!");
            let digest = Sha256::digest(&text);
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, expected, "{n}!");
        }
    });
}

/// Digits are right if they give the number again modulo primes that are unrelated to 10.
#[test]
fn decimals_have_the_residues_of_their_number() {
    alone(|| {
        let pool = pool(3);
        for size in [40_000, 170_001] {
            let x = number(size, 8);
            let text = pool.to_decimal(&x).unwrap();
            for p in [u64::MAX - 58, u64::MAX - 82].map(u128::from) {
                let step = |r, digit: u8| (r * 10 + u128::from(digit - b'0')) % p;
                let by_digits = text.bytes().fold(0, step);
                let by_limbs =
                    x.limbs().iter().rev().fold(0, |r, &limb| (r << 64 | u128::from(limb)) % p);
                assert_eq!(by_digits, by_limbs, "{size} limbs");
            }
        }
    });
}

#[test]
fn what_the_caller_computes_alone_equals_another_library() {
    alone(|| {
        let (a, b) = (number(700, 1), number(12_000, 2));
        assert!(oracle(&a.mul(&b).unwrap()) == oracle(&a) * oracle(&b));
        assert!(oracle(&b.square().unwrap()) == oracle(&b) * oracle(&b));
        assert!(oracle(&a.pow(9).unwrap()) == oracle(&a).pow(9));
        let product = oracle(&a) * oracle(&b) * oracle(&a);
        assert!(oracle(&SharedBigUint::product([&a, &b, &a]).unwrap()) == product);
        let zero = SharedBigUint::from_limbs(&[]).unwrap();
        assert!(SharedBigUint::product([&a, &zero]).unwrap().is_zero());
        assert_eq!(SharedBigUint::product([]).unwrap().limbs(), [1]);
        assert_eq!(zero.pow(0).unwrap().limbs(), [1]);
        assert!(zero.pow(3).unwrap().is_zero() && zero.mul(&a).unwrap().is_zero());
    });
}

#[test]
fn binomials_and_primorials_are_the_same_for_any_number_of_workers() {
    alone(|| {
        let pools: Vec<Pool> = [1, 2, 3, 5].into_iter().map(pool).collect();
        let own = Pool::builder().start(Start::InProcess).build().unwrap();
        let cases = [
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
            (9, 10),
            (52, 26),
            (1_000_003, 499_999),
            (3_000_000, 2_999_000),
            (u64::MAX, 70_000),
            (u64::MAX - 1, u64::MAX - 3),
        ];
        for (n, k) in cases {
            let expected = own.binomial(n, k).unwrap();
            for pool in &pools {
                assert!(pool.binomial(n, k).unwrap() == expected, "{n} over {k}, {pool:?}");
            }
            assert_eq!(expected.is_zero(), k > n);
        }
        // n! = (n over k) k! (n - k)!
        let (n, k) = (1_000_003, 499_999);
        let factors =
            [own.binomial(n, k), own.factorial(k), own.factorial(n - k)].map(Result::unwrap);
        assert!(pools[1].multiply_all(&factors).unwrap() == own.factorial(n).unwrap());
        for n in [0, 1, 2, 3, 4, 29, 199_999, 200_000, 1_000_000] {
            let expected = own.primorial(n).unwrap();
            for pool in &pools {
                assert!(pool.primorial(n).unwrap() == expected, "{n}#");
            }
        }
        assert_eq!(own.primorial(31).unwrap().limbs(), [200_560_490_130]);
    });
}

#[test]
fn numbers_that_are_too_large_are_refused_before_any_work() {
    alone(|| {
        let pool = pool(1);
        for n in [1 << 40, u64::MAX] {
            let error = pool.factorial(n).unwrap_err();
            assert!(matches!(error, Error::TooLarge { .. }), "{n}!: {error}");
        }
        let a = number(2, 0);
        for exponent in [1 << 37, u64::MAX] {
            let error = pool.pow(&a, exponent).unwrap_err();
            assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        }
        for refused in [
            pool.binomial(u64::MAX, u64::MAX / 2),
            pool.binomial(1 << 50, 1 << 42),
            pool.primorial(u64::MAX),
            pool.primorial(1 << 43),
            a.pow(u64::MAX),
        ] {
            assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
        }
        assert_eq!(pool.stats().succeeded, 0);
    });
}

#[test]
fn a_factorial_beyond_the_memory_is_refused_with_the_size_that_it_takes() {
    alone(|| {
        let pool = pool(2);
        brigade::set_memory_limit(64 << 20);
        let refused = pool.factorial(10_000_000);
        brigade::set_memory_limit(u64::MAX);
        let Err(Error::NoSpace { requested_bytes, free_bytes, .. }) = refused else {
            panic!("{refused:?}");
        };
        // The result alone takes 27 MB.
        assert!(
            requested_bytes > 100_000_000 && free_bytes <= 64 << 20,
            "{requested_bytes} {free_bytes}"
        );
        let number = number(500_000, 1);
        brigade::set_memory_limit(32 << 20);
        let refused = pool.to_decimal(&number);
        brigade::set_memory_limit(u64::MAX);
        let Err(Error::NoSpace { requested_bytes, .. }) = refused else { panic!("{refused:?}") };
        assert!(requested_bytes > 40_000_000, "{requested_bytes}");
        assert_eq!(pool.stats().succeeded, 0);
        assert_eq!(pool.factorial(25_000).unwrap().limbs(), bigint::factorial(25_000));
    });
}
