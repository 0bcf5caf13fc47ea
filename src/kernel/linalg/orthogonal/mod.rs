//! Factorisations by orthogonal matrices: QR, eigenvalues of symmetric matrices, singular values.
//!
//! All members of a team call the same function on the same matrices. Work is divided by the size
//! of the matrix alone, and sums have one order, so the bits do not depend on the number of
//! members. The iteration for a root of the secular equation ends by bisection, after a bounded
//! number of steps.
//!
//! # Map
//!
//! Each file uses only files in the rows below it.
//!
//! | file | what |
//! |---|---|
//! | `eigh`, `svd` | the decompositions, from the input to the vectors |
//! | `divide` | divide and conquer for tridiagonal and bidiagonal matrices |
//! | `merge` | what one merge of divide and conquer couples |
//! | `secular` | roots of the secular equation |
//! | `tridiagonal`, `bidiagonal` | reductions by reflectors |
//! | `reduction` | what both reductions have in common |
//! | `qr`, `qr_panel` | the QR factorisation, and that of one panel |
//! | `reflectors` | blocks of reflectors, applied to a matrix |
//! | `householder` | one reflector; arithmetic on columns |
//! | `shared_columns` | matrices in memory that a team shares |
//! | `magnitude` | the largest element of a matrix |
//! | `phases` | the phases of a job, and who takes which unit of work |

mod bidiagonal;
mod divide;
mod eigh;
mod householder;
mod magnitude;
mod merge;
mod phases;
mod qr;
mod qr_panel;
mod reduction;
mod reflectors;
mod secular;
mod shared_columns;
mod svd;
mod tridiagonal;

#[cfg(test)]
mod tests;

pub(crate) use eigh::{EighMemory, eigh};
pub(crate) use magnitude::magnitude;
pub(crate) use qr::{QrMemory, apply_q, qr};
pub(crate) use reflectors::{Operand, Transpose};
pub(crate) use shared_columns::Carver;
pub(crate) use svd::{SvdMemory, svd};
