//! Functions of several arguments, called with a tuple.

/// Public only because the bounds of `starmap` name it.
#[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
mod private {
    /// A function of as many arguments as the tuple `A` has fields.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is not a function of the fields of `{A}`",
        note = "`starmap` takes tuples of two to six fields, and a function of as many arguments"
    )]
    pub trait TupleFn<A>: Copy + Send + 'static {
        /// The type of the result.
        type Output;

        /// Calls it with the fields of `arguments`.
        fn call(self, arguments: A) -> Self::Output;
    }
}
pub(super) use private::TupleFn;

// A macro, because Rust cannot be generic over the number of arguments of a function.
macro_rules! tuple_fn {
    ($($name:ident),+) => {
        impl<F, R, $($name),+> TupleFn<($($name,)+)> for F
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
tuple_fn!(A, B);
tuple_fn!(A, B, C);
tuple_fn!(A, B, C, D);
tuple_fn!(A, B, C, D, E);
tuple_fn!(A, B, C, D, E, G);
