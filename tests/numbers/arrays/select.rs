//! Selections and searches, compared with a sort.
#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]

use crate::arrays::sort::{Key, LENGTHS, assert_same, pool, words};
use crate::common::alone::alone;
use brigade::{Error, Pool, SharedArray, Side};

/// Quantiles as NumPy defines them, of elements in order.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len() - 1;
    let place = last as f64 * q;
    let lower = place.floor() as usize;
    let (a, b) = (sorted[lower], sorted[(lower + 1).min(last)]);
    let t = place - place.floor();
    if t >= 0.5 { b - (b - a) * (1.0 - t) } else { a + (b - a) * t }
}

#[test]
fn quantiles_equal_those_of_a_sort() {
    alone(|| {
        let few = [0.25, 0.0, 1.0, 0.5, 0.5];
        let many: Vec<f64> = (0..=30).map(|i| f64::from(i) / 30.0).collect();
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for n in [1, 2, 1001, 100_003] {
                let random: Vec<i64> = words(n).iter().map(|&w| w.cast_signed() >> 12).collect();
                // So many elements are equal that more than half of the elements have one value.
                let equal: Vec<i64> = random.iter().map(|x| (x % 3).max(0)).collect();
                for keys in [random, equal] {
                    let integers = SharedArray::from_slice(&keys).unwrap();
                    let floats: Vec<f64> = keys.iter().map(|&x| x as f64).collect();
                    let mut sorted = floats.clone();
                    sorted.sort_unstable_by(f64::total_cmp);
                    let floats = SharedArray::from_slice(&floats).unwrap();
                    for q in [&few[..], &many] {
                        let expected: Vec<f64> = q.iter().map(|&q| quantile(&sorted, q)).collect();
                        assert_eq!(pool.quantiles(&integers, q).unwrap(), expected, "{n}");
                        assert_eq!(pool.quantiles(&floats, q).unwrap(), expected, "{n}");
                    }
                }
            }
        }
    });
}

#[test]
fn quantiles_with_nan_are_nan_and_those_of_nothing_are_refused() {
    alone(|| {
        let pool = pool(2);
        let mut x = SharedArray::from_fn([300, 301], |[i, j]| (i * j) as f32).unwrap();
        assert_eq!(pool.quantiles(&x, &[]).unwrap(), []);
        x[[200, 7]] = f32::NAN;
        assert!(pool.quantiles(&x, &[0.1, 0.2]).unwrap().iter().all(|q| q.is_nan()));
        for q in [-0.1, 1.1, f64::NAN] {
            let error = pool.quantiles(&x, &[0.5, q]).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        }
        let empty = SharedArray::<u8>::zeroed([3, 0]).unwrap();
        let error = pool.quantiles(&empty, &[0.5]).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    });
}

fn assert_selects<T: Key>(pool: &Pool, words: &[u64]) {
    let keys: Vec<T> = words.iter().map(|&word| T::of(word)).collect();
    let what = format!("{} of {}", keys.len(), std::any::type_name::<T>());
    let array = SharedArray::from_slice(&keys).unwrap();
    let mut sorted = keys.clone();
    sorted.sort_unstable_by(T::total);

    let runs: Vec<&[T]> = sorted.chunk_by(|a, b| a.rank_cmp(b).is_eq()).collect();
    let (values, counts) = pool.unique(&array).unwrap();
    let firsts: Vec<T> = runs.iter().map(|run| run[0]).collect();
    assert_same(values.as_slice(), &firsts, &format!("unique {what}"));
    let lengths = runs.iter().map(|run| run.len() as u64);
    assert!(counts.as_slice().iter().copied().eq(lengths), "counts {what}");

    let mut order: Vec<u64> = (0..keys.len() as u64).collect();
    order.sort_by(|&a, &b| keys[b as usize].rank_cmp(&keys[a as usize]));
    for k in [0, 1, 100, 2000, keys.len()] {
        let (values, indices) = pool.top_k(&array, k).unwrap();
        let expected = &order[..k.min(keys.len())];
        assert_eq!(indices.as_slice(), expected, "top {k} {what}");
        let greatest: Vec<T> = expected.iter().map(|&i| keys[i as usize]).collect();
        assert_same(values.as_slice(), &greatest, &what);
    }

    let haystack: Vec<T> = sorted.iter().step_by(3).copied().collect();
    let shared = SharedArray::from_slice(&haystack).unwrap();
    for side in [Side::Left, Side::Right] {
        let is_before = |key: &T, needle: &T| match side {
            Side::Left => key.rank_cmp(needle).is_lt(),
            Side::Right => key.rank_cmp(needle).is_le(),
        };
        let place = |x: &T| haystack.partition_point(|key| is_before(key, x)) as u64;
        let found = pool.searchsorted(&shared, &array, side).unwrap();
        let expected: Vec<u64> = keys.iter().map(place).collect();
        assert_eq!(found.as_slice(), expected, "{side:?} {what}");
    }
}

#[test]
fn selections_equal_those_of_a_sort_for_any_number_of_workers() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for n in LENGTHS {
                assert_selects::<f64>(&pool, &words(n));
                assert_selects::<i64>(&pool, &words(n).iter().map(|w| w >> 40).collect::<Vec<_>>());
                assert_selects::<u8>(&pool, &words(n));
            }
        }
    });
}

#[test]
fn shapes_are_kept_or_refused() {
    alone(|| {
        let pool = pool(2);
        let a = SharedArray::from_fn([3, 4, 0], |[i, j, _]| i + j).unwrap();
        let b = SharedArray::from_fn([3, 4], |[i, j]| (i + j) as i32).unwrap();
        let c = SharedArray::from_slice(&[1, 2, 2, 3]).unwrap();
        let places = pool.searchsorted(&c, &b, Side::Right).unwrap();
        assert_eq!(places.shape().dims(), [3, 4]);
        assert_eq!((places[[0, 1]], places[[2, 0]], places[[2, 3]]), (1, 3, 4));
        let error = pool.searchsorted(&b, &c, Side::Left).unwrap_err();
        assert!(error.to_string().contains("one dimension"), "{error}");
        let (values, counts) = pool.unique(&b).unwrap();
        assert_eq!(values.as_slice(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(counts.as_slice(), [1, 2, 3, 3, 2, 1]);
        let a = a.as_slice().iter().map(|&x| x as u64).collect::<Vec<_>>();
        let empty = SharedArray::from_slice(&a).unwrap();
        assert_eq!(pool.top_k(&empty, 3).unwrap().1.as_slice(), []);
        assert_eq!(pool.unique(&empty).unwrap().0.as_slice(), []);
        let (values, indices) = pool.top_k(&b, 2).unwrap();
        assert_eq!((values.as_slice(), indices.as_slice()), (&[5, 4][..], &[11, 7][..]));
    });
}
