//! Products by a number-theoretic transform modulo three primes.
//!
//! # Method
//!
//! The factors are split into digits of `D = 63`, 62 or 60 bits, which are the coefficients of two
//! polynomials. Their product modulo `x^N - 1`, where `N` is at least its length, is computed
//! modulo three primes just below 2^49; then the coefficients are reconstructed, and `x = 2^D` is
//! substituted.
//!
//! A prime that has roots of unity of order `N / 8`, `N = 8 m 2^k`, splits `x^N - 1` into `x^(N/m)
//! - omega^e` for `e < m`, and these by square roots, `x^(2n) - c^2 = (x^n - c) (x^n + c)`, down to
//! `x^8 - rho`. There the polynomials are multiplied directly: eight coefficients are one vector,
//! and these products cost less than three more levels. A butterfly is one product by a constant,
//! `(a, x) -> (a + c x, a - c x)`. The leaves stay in the order in which the splitting leaves them,
//! and the inverse undoes the splitting, so nothing is ever permuted. The roots of all levels are
//! one list (`twiddles`), because the list of each level is a prefix of it.
//!
//! Several levels are computed in registers at a time (`butterflies`, `passes`): first the odd
//! level and some binary ones, together with the splitting into digits; then four at a time, depth
//! first, so that a block goes through both transforms, the product and the inverse while it is in
//! cache (`convolution`).
//!
//! | module           | what it does                                             |
//! |------------------|----------------------------------------------------------|
//! | `prime_field`    | the primes, scalar arithmetic, constants                 |
//! | `simd`           | the vector operations that an instruction set must offer |
//! | `arch::portable` | integers, on any processor                               |
//! | `arch::avx512`   | eight integers in a register, by AVX-512 IFMA            |
//! | `arch::avx2`     | residues as `f64`, four in a register, by AVX2 and FMA   |
//! | `butterflies`    | butterflies in registers, with their bounds              |
//! | `passes`         | butterflies over memory, leaf products                   |
//! | `splitting`      | limbs to digits to residues                              |
//! | `crt`            | residues to limbs, by the Chinese remainder theorem      |
//! | `plan`           | lengths, nodes, padding                                  |
//! | `twiddles`       | the tables of roots of unity                             |
//! | `backend`        | passes compiled for each instruction set                 |
//! | `convolution`    | the order of passes, for a team                          |
//!
//! # Why it is correct
//!
//! 1. *Nothing wraps.* A coefficient is a sum of at most `min(digits)` products below `2^(2D)`. It
//!    is less than `p1 p2 p3` if `min(digits) < p1 p2 p3 / 2^(2D)`, which determines `D` (`plan`):
//!    2.0 million limbs for 63 bits, 8.1 million for 62, 117 million for 60.
//! 2. *Every residue is inside its interval.* Residues are lazily reduced integers modulo 2^52; the
//!    bounds are in `butterflies`, and a test (`interval_proof`) runs the butterflies on intervals,
//!    which proves the bounds for all inputs.
//! 3. *Leaf products fit.* Eight products below `2^104` in halves of 52 bits add up to less than
//!    `2^55` in either half; the reduction is in `passes`.
//! 4. *The reconstruction is exact*: canonical remainders in mixed radix, sums of digits below
//!    `2^64`, one carry of 0 or 1 at a time (`crt`).
//! 5. *Members of a team do not race.* Each unit of work accesses its own lines, and each step that
//!    reads what others wrote comes after a barrier (`convolution`).
//! # Sources
//!
//! D. Harvey, "Faster arithmetic for number-theoretic transforms" (2014), for the lazy butterflies;
//! F. Johansson's `fft_small` in FLINT, for primes near 2^50, the depth-first order and the leaves
//! of several coefficients; V. Shoup's NTL, for products with a precomputed quotient; D. Bernstein,
//! "Multidigit multiplication for mathematicians" (2001), for the view of transforms as splitting.

mod arch;
mod backend;
mod butterflies;
mod convolution;
mod crt;
mod passes;
mod plan;
mod prime_field;
mod simd;
mod splitting;
mod twiddles;

pub use backend::Backend;
pub(super) use convolution::{multiply, scratch_limbs, table_limbs};
pub(in crate::kernel::bigint) use plan::SHORTER_LIMBS_MAX;

#[cfg(test)]
mod interval_proof;
#[cfg(all(test, target_arch = "x86_64"))]
mod magnitude_proof;
#[cfg(test)]
mod tests;
