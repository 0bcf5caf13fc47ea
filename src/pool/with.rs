//! The type of a value that `with` shares.

/// A value that every call of a function gets by reference, as a type argument of
/// [`Options`](crate::Options), [`ParLoop`](crate::ParLoop) and [`ParMap`](crate::ParMap). Without
/// a value the type argument is `()`.
///
/// It is made by [`Pool::with`](crate::Pool::with) and
/// [`ParLoop::with`](crate::ParLoop::with).
///
/// # Examples
///
/// ```
/// use brigade::{Options, Pool, With};
/// fn scaling(pool: &Pool, factor: f64) -> Options<'_, With<f64>> {
///     pool.options().retries(1).with(factor)
/// }
/// let pool = Pool::builder().workers(1).build()?;
/// let scaled = scaling(&pool, 0.5).map([2.0, 6.0], |factor, x| factor * x)?;
/// assert_eq!(scaled.collect::<Vec<_>>(), [1.0, 3.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct With<W>(pub(crate) W);
