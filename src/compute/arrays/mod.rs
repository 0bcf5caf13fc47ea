//! Computations on whole arrays and along their axes.
