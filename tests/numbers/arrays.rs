//! Computations on arrays, each beside a naive oracle.

mod filter;
mod transpose;
