//! Transform lengths, order of passes, places of lines.

use crate::kernel::bigint::thresholds::LENGTH_COSTS;

use super::prime_field::{PRIMES, ROOT_ORDER};
use super::simd::LANES;

/// Eight coefficients: one leaf polynomial, one vector, one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u64; LANES]);

/// Lines that lie in memory without a gap if they start at a multiple of this number: one page.
pub(super) const PAGE_LINES: usize = 64;

/// The largest logarithm of the power of two in a length.
const LOG_MAX: u32 = ROOT_ORDER.trailing_zeros();

/// The shape of one cyclic product: its length is `8 * odd * 2^log` coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TransformPlan {
    /// The odd part m: 1, 3, 5, 7, 9 or 15.
    pub(super) odd: usize,
    /// The logarithm of the rest, in lines.
    pub(super) log: u32,
    /// Bits of one coefficient of an operand: 63, 62 or 60.
    pub(super) digit_bits: u32,
}

/// The odd parts, each with the number of binary layers that its first pass does in the same
/// registers.
pub(super) const ODD_PARTS: [(usize, u32); 6] = [(1, 4), (3, 2), (5, 1), (7, 1), (9, 0), (15, 0)];

/// The widths of digits, the best first. Every coefficient of the product is less than
/// `min(digits) * 2^(2 * width)`, and must be less than the product of the primes.
const WIDTHS: [u32; 3] = [63, 62, 60];

/// The most digits of `width` bits in the shorter operand: `floor(p1 p2 p3 / 2^(2 width))`.
const fn digits_max(width: u32) -> usize {
    // In steps, so that 128 bits suffice; each step rounds down.
    let pair = (PRIMES[0].p as u128 * PRIMES[1].p as u128) >> 50;
    let all = (pair * PRIMES[2].p as u128) >> (2 * width - 50);
    all as usize
}

/// The most limbs in the shorter operand of one product; a longer one has to be split.
pub(in crate::kernel::bigint) const SHORTER_LIMBS_MAX: usize = digits_max(60) / 64 * 60;

impl TransformPlan {
    /// The plan for operands of `a_limbs` and `b_limbs`, both positive, the shorter at most
    /// [`SHORTER_LIMBS_MAX`]; `None` if the product is too long for the roots of unity.
    pub(super) fn new(a_limbs: usize, b_limbs: usize) -> Option<Self> {
        let fits = |&width: &u32| {
            (a_limbs.min(b_limbs) * 64).div_ceil(width as usize) <= digits_max(width)
        };
        let digit_bits = WIDTHS.into_iter().find(fits)?;
        let digits = |limbs: usize| (limbs * 64).div_ceil(digit_bits as usize);
        // The product polynomial has one coefficient less than its operands together.
        let lines = (digits(a_limbs) + digits(b_limbs) - 1).div_ceil(LANES);
        Self::shortest(lines, digit_bits)
    }

    /// The cheapest length of at least `lines`.
    fn shortest(lines: usize, digit_bits: u32) -> Option<Self> {
        let plan = |(odd, head): (usize, u32)| {
            let log = lines.div_ceil(odd).next_power_of_two().trailing_zeros().max(head);
            Self { odd, log, digit_bits }
        };
        let plans = ODD_PARTS.into_iter().map(plan).filter(|plan| plan.log <= LOG_MAX);
        plans.min_by_key(|plan| plan.lines() * plan.cost_per_line())
    }

    /// The relative cost of a line, from the table of measurements.
    fn cost_per_line(self) -> usize {
        let at = ODD_PARTS.iter().position(|&(odd, _)| odd == self.odd);
        at.map_or(usize::MAX, |at| LENGTH_COSTS[at])
    }

    /// Length of the product in lines.
    pub(super) const fn lines(self) -> usize {
        self.odd << self.log
    }

    /// Binary layers in the first pass.
    pub(super) const fn head(self) -> u32 {
        match self.odd {
            1 => 4,
            3 => 2,
            5 | 7 => 1,
            _ => 0,
        }
    }

    /// Columns of the first and last pass: blocks of the middle.
    pub(super) const fn columns(self) -> usize {
        self.odd << self.head()
    }

    /// Logarithm of the lines in a column.
    pub(super) const fn column_log(self) -> u32 {
        self.log - self.head()
    }

    /// Chunks of a column: units of work of the first and last pass.
    pub(super) const fn chunks(self) -> usize {
        (1usize << self.column_log()).div_ceil(PAGE_LINES)
    }

    /// Block `block` of the middle, as a node of the tree of moduli.
    pub(super) const fn block(self, block: usize) -> Node {
        let mut row = block >> self.head();
        let mut layer = 0;
        while layer < self.head() {
            row = halve(row, self.odd);
            layer += 1;
        }
        let log = self.column_log();
        Node { line: block << log, log, index: block & ((1 << self.head()) - 1), row }
    }

    /// Binary layers since the last reduction, modulo 3, when the middle begins.
    pub(super) const fn middle_phase(self) -> usize {
        if self.odd == 1 { 1 } else { 1 + self.head() as usize }
    }

    /// Lines of memory for one operand.
    pub(super) const fn memory_lines(self) -> usize {
        // Five more shift the next array by some cache sets.
        padded(self.lines() - 1) + 1 + 5
    }
}

/// A node of the tree of moduli: lines `line..line + 2^log` hold a polynomial modulo
/// `x^(8 * 2^log) - omega^row * R[index]^2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) log: u32,
    pub(super) index: usize,
    pub(super) row: usize,
}

impl Node {
    /// The first of the `2^layers` nodes below, `layers` binary layers further.
    pub(super) const fn first_child(self, layers: u32, odd: usize) -> Self {
        let mut row = self.row;
        let mut layer = 0;
        while layer < layers {
            row = halve(row, odd);
            layer += 1;
        }
        Self { line: self.line, log: self.log - layers, index: self.index << layers, row }
    }

    /// The sibling `n` places on.
    pub(super) const fn sibling(self, n: usize) -> Self {
        Self { line: self.line + (n << self.log), index: self.index + n, ..self }
    }
}

/// `row / 2` modulo the odd number `odd`.
pub(super) const fn halve(row: usize, odd: usize) -> usize {
    if row.is_multiple_of(2) { row / 2 } else { (row + odd) / 2 }
}

/// The place of line `line`, in lines: one line is skipped after each page, each 64 pages, and so
/// on, so that the columns of a pass, whose distances are powers of two, fall into different cache
/// sets.
#[inline(always)]
pub(super) const fn padded(line: usize) -> usize {
    line + (line >> 6) + (line >> 12) + (line >> 18) + (line >> 24)
}
