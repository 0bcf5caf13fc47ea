//! Computations on arrays, each beside a naive oracle.
