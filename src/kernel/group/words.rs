//! Count, sum, minimum and maximum of a group, as words.

use std::any::TypeId;

use crate::kernel::number::{Addend, Number};
use crate::kernel::reduce::{Fold, Max, Min, mean};

/// A group: the count, the sum ([`Number::Total`]), the sum for the mean, the least and the
/// greatest value. The sum for the mean is unused where it would be the sum.
pub(crate) type GroupWords = [u64; 5];

/// The group of no values.
pub(crate) const NO_VALUES: GroupWords = [0; 5];

const COUNT: usize = 0;
const SUM: usize = 1;
const MEAN_SUM: usize = 2;
const MIN: usize = 3;
const MAX: usize = 4;

type MeanTotal<V> = <<V as Number>::MeanLane as Addend>::Total;

/// Whether the mean has a sum of its own: integers of 64 bits are added as doubles for it.
#[inline(always)]
fn has_mean_sum<V: Number>() -> bool {
    TypeId::of::<V::Total>() != TypeId::of::<MeanTotal<V>>()
}

#[inline(always)]
fn plus<A: Addend>(word: u64, more: A) -> u64 {
    bytemuck::cast(bytemuck::cast::<u64, A>(word).plus(more))
}

/// Adds a value to a group.
#[inline(always)]
pub(super) fn add<V: Number>(group: &mut GroupWords, value: V) {
    let is_first = group[COUNT] == 0;
    group[COUNT] += 1;
    group[SUM] = plus(group[SUM], value.sum_lane().total());
    if has_mean_sum::<V>() {
        group[MEAN_SUM] = plus(group[MEAN_SUM], value.mean_lane().total());
    }
    let old = |word| if is_first { value } else { V::from_bits_u64(word) };
    group[MIN] = <Min as Fold<V>>::join(old(group[MIN]), value).to_bits_u64();
    group[MAX] = <Max as Fold<V>>::join(old(group[MAX]), value).to_bits_u64();
}

/// The group of the values of `a`, followed by those of `b`.
#[inline(always)]
pub(crate) fn merge<V: Number>(a: GroupWords, b: GroupWords) -> GroupWords {
    if a[COUNT] == 0 || b[COUNT] == 0 {
        return if a[COUNT] == 0 { b } else { a };
    }
    let value = V::from_bits_u64;
    let mut group = NO_VALUES;
    group[COUNT] = a[COUNT] + b[COUNT];
    group[SUM] = plus(a[SUM], bytemuck::cast::<u64, V::Total>(b[SUM]));
    if has_mean_sum::<V>() {
        group[MEAN_SUM] = plus(a[MEAN_SUM], bytemuck::cast::<u64, MeanTotal<V>>(b[MEAN_SUM]));
    }
    group[MIN] = <Min as Fold<V>>::join(value(a[MIN]), value(b[MIN])).to_bits_u64();
    group[MAX] = <Max as Fold<V>>::join(value(a[MAX]), value(b[MAX])).to_bits_u64();
    group
}

/// What a group is, in the types of the results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aggregates<V: Number> {
    pub(crate) count: u64,
    pub(crate) sum: V::Sum,
    pub(crate) mean: V::Mean,
    pub(crate) min: V,
    pub(crate) max: V,
}

impl<V: Number> Aggregates<V> {
    /// Without values the sum is 0, the mean NaN, `min` the highest and `max` the lowest number.
    pub(crate) fn of(group: &GroupWords) -> Aggregates<V> {
        let count = usize::try_from(group[COUNT]).expect("at most as many as bytes");
        let mean = match has_mean_sum::<V>() {
            true => mean(bytemuck::cast::<u64, MeanTotal<V>>(group[MEAN_SUM]), count),
            false => mean(bytemuck::cast::<u64, V::Total>(group[SUM]), count),
        };
        let extreme = |word, none| if count == 0 { none } else { V::from_bits_u64(word) };
        Aggregates {
            count: group[COUNT],
            sum: V::sum_of(bytemuck::cast(group[SUM])),
            mean: V::mean_of(mean),
            min: extreme(group[MIN], V::HIGHEST),
            max: extreme(group[MAX], V::LOWEST),
        }
    }
}
