//! Values grouped by integers and byte strings, compared with maps.
#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use std::collections::BTreeMap;

use super::{LENGTHS, pool, tenths};
use crate::common::alone::alone;
use brigade::{AsArrayView, ByteGroups, Error, Groups, Integer, Number, Pool, SharedArray};
use proptest::prelude::*;

/// Bits, so that NaN equals NaN.
type Bits = (u64, u64, u64, u64, u64);

fn rows<V: Number>(groups: &Groups<impl Integer, V>) -> Vec<Bits> {
    let all = 0..groups.keys.len();
    let bits = |i: usize| {
        let group = (groups.sums[[i]].to_bits_u64(), groups.means[[i]].to_bits_u64());
        (
            groups.counts[[i]],
            group.0,
            group.1,
            groups.mins[[i]].to_bits_u64(),
            groups.maxs[[i]].to_bits_u64(),
        )
    };
    all.map(bits).collect()
}

#[test]
fn groups_of_integers_are_those_of_a_map_for_any_number_of_workers() {
    alone(|| {
        for len in LENGTHS {
            // 1009 keys, half of them negative, and extremes.
            let key = |i: usize| match i % 1009 {
                0 => i64::MIN,
                1 => i64::MAX,
                k => (k as i64 - 500) * 1_000_003,
            };
            let keys = SharedArray::from_fn([len], |[i]| key(i * 7919)).unwrap();
            let values = SharedArray::from_fn([len], |[i]| (i % 30_000) as i16 - 15_000).unwrap();
            let mut expected: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for (&key, &value) in keys.as_slice().iter().zip(values.as_slice()) {
                expected.entry(key).or_default().push(value.into());
            }
            for workers in [1, 2, 3] {
                let found = pool(workers).group_by(&keys, &values).unwrap();
                assert!(found.keys.as_slice().iter().eq(expected.keys()));
                for (i, values) in expected.values().enumerate() {
                    let sum = values.iter().sum::<i64>();
                    assert_eq!(found.counts[[i]], values.len() as u64);
                    assert_eq!(found.sums[[i]], sum);
                    assert_eq!(found.means[[i]], sum as f64 / values.len() as f64);
                    assert_eq!(i64::from(found.mins[[i]]), *values.iter().min().unwrap());
                    assert_eq!(i64::from(found.maxs[[i]]), *values.iter().max().unwrap());
                }
            }
        }
    });
}

#[test]
fn sums_of_floats_have_the_same_bits_for_any_number_of_workers_dense_or_not() {
    alone(|| {
        let n = 700_003;
        let keys = SharedArray::from_fn([n], |[i]| (i * 7919 % 97) as u8).unwrap();
        let values = tenths(n);
        let one = pool(1).group_by(&keys, &values).unwrap();
        let dense = pool(1).group_by_dense(&keys, &values, 97).unwrap();
        assert_eq!(rows(&one), rows(&dense));
        for workers in [2, 3] {
            let pool = pool(workers);
            assert_eq!(rows(&pool.group_by(&keys, &values).unwrap()), rows(&one));
            assert_eq!(rows(&pool.group_by_dense(&keys, &values, 97).unwrap()), rows(&one));
        }
        let sum: f64 = one.sums.as_slice().iter().sum();
        assert!(super::is_close(sum, pool(1).sum(&values).unwrap()));
    });
}

#[test]
fn a_nan_makes_its_own_group_nan_alone() {
    alone(|| {
        let pool = pool(2);
        let keys = SharedArray::from_slice(&[1u32, 2, 1, 2, 3]).unwrap();
        let values = SharedArray::from_slice(&[1.0f32, f32::NAN, 3.0, 4.0, -0.0]).unwrap();
        for groups in [
            pool.group_by(&keys, &values).unwrap(),
            pool.group_by_dense(&keys, &values, 4).unwrap(),
        ] {
            let first = groups.keys.as_slice().iter().position(|&key| key == 1).unwrap();
            assert_eq!((groups.sums[[first]], groups.means[[first]]), (4.0, 2.0));
            let nan = first + 1;
            assert!(groups.sums[[nan]].is_nan() && groups.means[[nan]].is_nan());
            assert!(groups.mins[[nan]].is_nan() && groups.maxs[[nan]].is_nan());
            assert_eq!((groups.counts[[nan]], groups.mins[[nan + 1]]), (2, 0.0));
        }
    });
}

#[test]
fn wide_sums_wrap_and_their_means_do_not() {
    alone(|| {
        let pool = pool(2);
        let keys = SharedArray::from_slice(&[0i8, 0, -1]).unwrap();
        let values = SharedArray::from_slice(&[u64::MAX, 2, 7]).unwrap();
        let groups = pool.group_by(&keys, &values).unwrap();
        assert_eq!(groups.keys.as_slice(), [-1, 0]);
        assert_eq!(groups.sums.as_slice(), [7, 1]);
        assert_eq!(groups.means.as_slice(), [7.0, (u64::MAX as f64 + 2.0) / 2.0]);
    });
}

#[test]
fn wrong_arguments_are_named() {
    alone(|| {
        let pool = pool(2);
        let n = 200_003;
        let values = tenths(n);
        for outside in [-1i16, 5, i16::MIN, i16::MAX] {
            let mut keys = SharedArray::from_fn([n], |[i]| (i % 5) as i16).unwrap();
            keys.as_mut_slice()[150_000] = outside;
            keys.as_mut_slice()[160_000] = 77;
            let error = pool.group_by_dense(&keys, &values, 5).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }));
            let found = format!("is {outside} at index 150000, but must be from 0 to below 5");
            assert!(error.to_string().contains(&found), "{error}");
        }
        let keys = SharedArray::<u8>::zeroed([n]).unwrap();
        assert_eq!(pool.group_by_dense(&keys, &values, 256).unwrap().counts[[0]], n as u64);
        let error = pool.group_by_dense(&keys, &values, 257).unwrap_err();
        assert!(error.to_string().contains("the greatest key, 255"), "{error}");
        let shorter = values.as_array_view().rows(0..7).unwrap();
        for error in [
            pool.group_by(&keys, &shorter).unwrap_err(),
            pool.group_by_dense(&keys, &shorter, 1).unwrap_err(),
        ] {
            assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
        }
    });
}

#[test]
fn without_elements_there_are_no_groups_and_dense_ones_are_empty() {
    alone(|| {
        let pool = pool(2);
        let (keys, values) = (
            SharedArray::<i32>::zeroed([0, 3]).unwrap(),
            SharedArray::<f64>::zeroed([0, 3]).unwrap(),
        );
        assert!(pool.group_by(&keys, &values).unwrap().keys.is_empty());
        let dense = pool.group_by_dense(&keys, &values, 2).unwrap();
        assert_eq!((dense.keys.as_slice(), dense.counts.as_slice()), (&[0, 1][..], &[0, 0][..]));
        assert!(dense.means[[1]].is_nan());
        assert_eq!((dense.mins[[0]], dense.maxs[[0]]), (f64::INFINITY, f64::NEG_INFINITY));
        assert!(pool.group_by_dense(&keys, &values, 0).unwrap().keys.is_empty());
    });
}

fn by_bytes(pool: &Pool, text: &SharedArray<u8>, target: usize) -> ByteGroups<i32> {
    pool.par_records(text, b'\n', target)
        .fold(ByteGroups::new, |groups: &mut ByteGroups<i32>, piece| {
            for line in piece.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                let (key, value) = line.split_at(line.len() - 1);
                groups.add(key, i32::from(value[0]) - 64);
            }
        })
        .merge(ByteGroups::merged)
        .unwrap()
}

#[test]
fn groups_of_bytes_are_those_of_a_map_for_any_number_of_workers() {
    alone(|| {
        // Keys of 0 to 40 bytes, with all beginnings alike, and a value of one byte.
        let line = |i: usize| {
            let key = format!("{}{}", "k".repeat(i * 31 % 38), i * 7919 % 1013);
            format!("{}{}\n", &key[..key.len().min(i % 42)], (b'0' + (i % 60) as u8) as char)
        };
        let lines: Vec<String> = (0..60_000).map(line).collect();
        let mut expected: BTreeMap<&[u8], Vec<i64>> = BTreeMap::new();
        for line in &lines {
            let (key, value) = line.trim_end().as_bytes().split_at(line.len() - 2);
            expected.entry(key).or_default().push(i64::from(value[0]) - 64);
        }
        let text = SharedArray::from_slice(lines.concat().as_bytes()).unwrap();
        for workers in [1, 2, 3] {
            let groups = by_bytes(&pool(workers), &text, 4096);
            assert_eq!(groups.len(), expected.len());
            for ((key, group), (name, values)) in groups.sorted().into_iter().zip(&expected) {
                assert_eq!((key, group.count), (*name, values.len() as u64));
                assert_eq!(group.sum, values.iter().sum::<i64>());
                assert_eq!(i64::from(group.min), *values.iter().min().unwrap());
                assert_eq!(i64::from(group.max), *values.iter().max().unwrap());
                assert_eq!(groups.get(key), Some(group));
            }
            assert_eq!(groups.get(b"no such key"), None);
        }
        let none = by_bytes(&pool(2), &SharedArray::zeroed([0]).unwrap(), 9);
        assert!(none.is_empty() && none.sorted().is_empty() && none.get(b"").is_none());
    });
}

#[test]
fn any_keys_are_grouped_as_by_a_map() {
    alone(|| {
        let pool = pool(2);
        let config = ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() };
        proptest!(config, |(
            keys in prop::collection::vec(prop_oneof![-3i32..3, any::<i32>()], 0..400),
            values in prop::collection::vec(any::<i32>(), 400),
        )| {
            let values = &values[..keys.len()];
            let mut expected: BTreeMap<i32, (u64, i64, i32, i32)> = BTreeMap::new();
            for (&key, &value) in keys.iter().zip(values) {
                let group = expected.entry(key).or_insert((0, 0, i32::MAX, i32::MIN));
                let (count, sum, min, max) = *group;
                *group = (count + 1, sum + i64::from(value), min.min(value), max.max(value));
            }
            let (keys, values) =
                (SharedArray::from_slice(&keys).unwrap(), SharedArray::from_slice(values).unwrap());
            let found = pool.group_by(&keys, &values).unwrap();
            prop_assert!(found.keys.as_slice().iter().eq(expected.keys()));
            for (i, &group) in expected.values().enumerate() {
                let row = (found.counts[[i]], found.sums[[i]], found.mins[[i]], found.maxs[[i]]);
                prop_assert_eq!(row, group);
            }
        });
    });
}
