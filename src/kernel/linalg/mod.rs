//! Linear systems and factorisations of strided matrices.
//!
//! The algorithms are blocked: a panel of columns is factored at a time, and the product of
//! `kernel/matmul` does the rest, tile by tile. A tile belongs to one member. Sums are the same for
//! any partition into tiles, so the bits do not depend on the number of members.
//!
//! Sources, by the names that the files use:
//!
//! - Golub and Van Loan: "Matrix Computations", 4th edition, 2013.
//! - Higham: "Accuracy and Stability of Numerical Algorithms", 2nd edition, 2002.
//! - Toledo: "Locality of Reference in LU Decomposition with Partial Pivoting", SIAM J. Matrix
//!   Anal. Appl. 18 (1997): panels by recursion.
//! - Kurzak and Dongarra: "Implementing Linear Algebra Routines on Multi-core Processors with
//!   Pipelining and a Look Ahead", LAPACK Working Note 178 (2006): the next panel is factored while
//!   other members still update.
//!
//! # Map
//!
//! Each file uses only files in the rows below it.
//!
//! | file | what |
//! |---|---|
//! | `orthogonal` | QR, eigenvalues and singular values: a folder with a map of its own |
//! | `batch` | many small systems, each by one member |
//! | `systems` | systems with a factored or triangular matrix; inverses |
//! | `lu`, `cholesky` | the factorisations, by panels and strips |
//! | `norms` | norms of a matrix, one of them while it is copied |
//! | `condition` | an estimate of the norm of an inverse |
//! | `lu_panel`, `cholesky_panel` | a few columns |
//! | `triangular` | systems with a triangular matrix |
//! | `panel` | a panel in its own memory, column after column |
//! | `product` | `C = C - A B` by one thread |
//! | `columns` | arithmetic on columns |
//! | `strips` | the partition of a matrix into strips of columns; panel widths |

mod batch;
mod cholesky;
mod cholesky_panel;
mod columns;
mod condition;
mod lu;
mod lu_panel;
mod norms;
pub(crate) mod orthogonal;
mod panel;
mod product;
mod strips;
mod systems;
mod triangular;

#[cfg(test)]
mod tests;

pub(crate) use batch::{Stack, solve_batch};
pub(crate) use cholesky::cholesky;
pub(crate) use condition::inverse_norm_1;
pub(crate) use lu::{Pivots, lu};
pub(crate) use norms::{copy_with_norm, frobenius, largest, norm_1};
pub(crate) use strips::UNIT as STRIP_COLUMNS_MIN;
pub(crate) use systems::{MatrixFactors, invert, solve};
pub use triangular::Triangle;
