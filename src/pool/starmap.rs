//! Functions of several arguments, over tuples.
#![allow(unsafe_code)]

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::pool::{Options, Pool};
use crate::worker::invocation::{self, CodecError, Invocation};

/// A function of as many arguments as the tuple `A` has fields: what [`Pool::starmap`] takes.
///
/// Implemented for functions and closures of two to six arguments.
pub trait Star<A>: Copy + Send + 'static {
    /// What it returns.
    type Output;

    /// Calls it with the fields of `arguments`.
    fn call(self, arguments: A) -> Self::Output;
}

// A macro, because Rust has no way to be generic over how many arguments a function has.
macro_rules! star {
    ($($name:ident),+) => {
        impl<F, R, $($name),+> Star<($($name,)+)> for F
        where
            F: Fn($($name),+) -> R + Copy + Send + 'static,
        {
            type Output = R;

            #[expect(non_snake_case, reason = "a variable has the name of its type")]
            fn call(self, ($($name,)+): ($($name,)+)) -> R {
                self($($name),+)
            }
        }
    };
}
star!(A, B);
star!(A, B, C);
star!(A, B, C, D);
star!(A, B, C, D, E);
star!(A, B, C, D, E, G);

impl Pool {
    /// As [`map`](Pool::map), for a function of several arguments over tuples. A closure says the
    /// types of its arguments.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`map`](Pool::map).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let powers = pool.starmap([(2, 5), (3, 2), (10, 3)], u64::pow)?;
    /// assert_eq!(powers.collect::<Vec<_>>(), [32, 9, 1000]);
    /// let repeated = pool.starmap([("a".to_owned(), 3)], |s: String, n: usize| s.repeat(n))?;
    /// assert_eq!(repeated.collect::<String>(), "aaa");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn starmap<I, F>(&self, items: I, function: F) -> Result<std::vec::IntoIter<F::Output>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Star<I::Item>,
        F::Output: Serialize + DeserializeOwned,
    {
        self.options().starmap(items, function)
    }
}

impl Options<'_> {
    /// As [`map`](Options::map), for a function of several arguments. See [`Pool::starmap`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`map`](Options::map).
    pub fn starmap<I, F>(&self, items: I, function: F) -> Result<std::vec::IntoIter<F::Output>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Star<I::Item>,
        F::Output: Serialize + DeserializeOwned,
    {
        let _ = function;
        let (items, name) = (items.into_iter(), std::any::type_name::<F>());
        self.pipeline(items, starred::<F, I::Item>, name, None, None)?.run()
    }
}

/// The trampoline of `starmap`.
fn starred<F, A>(invocation: &mut Invocation<'_>) -> std::result::Result<(), CodecError>
where
    F: Star<A>,
    A: DeserializeOwned,
    F::Output: Serialize,
{
    let items = invocation.arguments::<A>()?;
    invocation.begin();
    // SAFETY: named by `Options::starmap` alone, for a function that it was given.
    let function = unsafe { invocation::conjure::<F>() };
    let results: Vec<F::Output> = invocation::each(items).map(|item| function.call(item)).collect();
    invocation.finish_all(&results)
}
