//! The real types whose complex numbers have transforms.

use std::cell::RefCell;
use std::thread::LocalKey;

use crate::kernel::fft::plan::Planner;
use crate::kernel::number::Number;

/// Public only because bounds of a public trait name it.
#[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
mod private {
    use super::{LocalKey, Planner, RefCell};

    pub trait Planned: rustfft::FftNum {
        /// The plans that this thread keeps.
        fn planner() -> &'static LocalKey<RefCell<Planner<Self>>>;

        /// The nearest value of this type.
        fn of_f64(x: f64) -> Self;
    }
}
pub(super) use private::Planned;

/// A real type with transforms: `f32` or `f64`. See [`Pool::fft`](crate::Pool::fft).
///
/// Other crates cannot implement it.
///
/// # Examples
///
/// ```
/// use brigade::{Complex, FftFloat, Pool, SharedArray};
/// fn mean<T: FftFloat>(pool: &Pool, x: &SharedArray<Complex<T>>) -> brigade::Result<Complex<T>> {
///     Ok(pool.fft(x).norm(brigade::FftNorm::Forward).run()?.as_slice()[0])
/// }
/// let pool = Pool::builder().workers(1).build()?;
/// let x = SharedArray::from_slice(&[Complex::new(1.0f32, 0.0), Complex::new(3.0, 4.0)])?;
/// assert_eq!(mean(&pool, &x)?, Complex::new(2.0, 2.0));
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no Fourier transform",
    label = "not `f32` or `f64`",
    note = "convert the array first: `pool.cast::<_, f64>(&x)?`"
)]
pub trait FftFloat: Number + Planned {}

macro_rules! fft_float {
    ($($float:ident: $planner:ident),*) => {$(
        thread_local! {
            static $planner: RefCell<Planner<$float>> = RefCell::new(Planner::new());
        }

        impl Planned for $float {
            fn planner() -> &'static LocalKey<RefCell<Planner<$float>>> {
                &$planner
            }

            #[allow(clippy::cast_possible_truncation, reason = "f32 rounds")]
            fn of_f64(x: f64) -> $float {
                x as $float
            }
        }

        impl FftFloat for $float {}
    )*};
}
fft_float! { f32: PLANNER_F32, f64: PLANNER_F64 }
