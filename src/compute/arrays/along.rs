//! Reductions along an axis, each expressed by its kernel.

use std::ops::Range;

use bytemuck::Pod;

use crate::kernel::number::{Mask, Number};
use crate::kernel::reduce::arg::{Arg, merge_arg};
use crate::kernel::reduce::arg_axis::arg_axis;
use crate::kernel::reduce::axis::{Axis, fold_axis};
use crate::kernel::reduce::{All, Any, Deviations, Fold, Max, MeanSum, Min, Sum, mean, variance};

/// A reduction along an axis.
pub(super) trait Along<T: Number>: Copy + Send + 'static {
    type Partial: Pod;
    type Output: Pod;
    /// The partial result of no elements.
    const EMPTY: Self::Partial;

    /// The partial results of `data`; see [`fold_axis`].
    fn fold(
        self,
        data: &[T],
        axis: Axis,
        columns: Range<usize>,
        params: &[f64],
        out: &mut [Self::Partial],
    );

    /// The same partial result, for data that begins at step `first` of the axis.
    fn moved(partial: Self::Partial, first: usize) -> Self::Partial {
        let _ = first;
        partial
    }

    fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial;

    /// The result of `count` elements.
    fn finish(partial: Self::Partial, count: usize, ddof: usize) -> Self::Output;
}

macro_rules! along {
    ($($name:ident: $fold:ident, $output:ty, $params:expr, $finish:expr;)*) => {$(
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        impl<T: Number> Along<T> for $name {
            type Partial = <$fold as Fold<T>>::Partial;
            type Output = $output;
            const EMPTY: Self::Partial = <$fold as Fold<T>>::EMPTY;

            fn fold(
                self,
                data: &[T],
                axis: Axis,
                columns: Range<usize>,
                params: &[f64],
                out: &mut [Self::Partial],
            ) {
                fold_axis($fold, data, axis, columns, $params(params, out.len()), out);
            }

            fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial {
                <$fold as Fold<T>>::merge(a, b)
            }

            fn finish(partial: Self::Partial, count: usize, ddof: usize) -> $output {
                let finish: fn(Self::Partial, usize, usize) -> $output = $finish;
                finish(partial, count, ddof)
            }
        }
    )*};
}
along! {
    SumAlong: Sum, T::Sum, units, |sum, _, _| T::sum_of(sum);
    MeanAlong: MeanSum, T::Mean, units, |sum, count, _| T::mean_of(mean(sum, count));
    ExactMeanAlong: MeanSum, f64, units, |sum, count, _| mean(sum, count);
    VarianceAlong: Deviations, T::Mean, own, |sum, count, ddof| {
        T::mean_of(variance(sum, count, ddof))
    };
    DeviationAlong: Deviations, T::Mean, own, |sum, count, ddof| {
        T::mean_of(variance(sum, count, ddof).sqrt())
    };
    MinAlong: Min, T, units, |least, _, _| least;
    MaxAlong: Max, T, units, |greatest, _, _| greatest;
    AnyAlong: Any, u8, units, |any, _, _| u8::from(any != T::Bits::NONE);
    AllAlong: All, u8, units, |all, _, _| u8::from(all == T::Bits::EVERY);
}

/// For reductions without parameters: `len` values of type `()`.
fn units(_: &[f64], len: usize) -> &'static [()] {
    // The values have size zero, so nothing is allocated or leaked.
    Vec::leak(vec![(); len])
}

/// For reductions with parameters: the parameters of these results.
fn own(params: &[f64], _: usize) -> &[f64] {
    params
}

macro_rules! arg_along {
    ($($name:ident: $fold:ident;)*) => {$(
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        impl<T: Number> Along<T> for $name {
            type Partial = Arg;
            type Output = u64;
            const EMPTY: Arg = Arg::EMPTY;

            fn fold(
                self,
                data: &[T],
                axis: Axis,
                columns: Range<usize>,
                _: &[f64],
                out: &mut [Arg],
            ) {
                arg_axis($fold, data, axis, columns, out);
            }

            fn moved(arg: Arg, first: usize) -> Arg {
                Arg { index: arg.index + first as u64, ..arg }
            }

            fn merge(a: Arg, b: Arg) -> Arg {
                merge_arg::<T, $fold>($fold, a, b)
            }

            fn finish(arg: Arg, _: usize, _: usize) -> u64 {
                arg.index
            }
        }
    )*};
}
arg_along! { ArgminAlong: Min; ArgmaxAlong: Max; }
