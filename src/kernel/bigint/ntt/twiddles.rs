//! Twiddle factors, computed once for each length.

use std::sync::OnceLock;

use super::plan::{ODD_PARTS, TransformPlan};
use super::prime_field::{Factor, PRIMES, Prime};

/// Factors of the discrete Fourier transforms of odd length.
#[derive(Debug, Default, Clone)]
pub(super) struct OddFactors {
    /// `(w^j + w^-j) / 2` for `w` of order 3, 5 or 7; a composite length has two such sets.
    pub(super) cos: [[Factor; 7]; 2],
    /// `(w^j - w^-j) / 2`.
    pub(super) sin: [[Factor; 7]; 2],
    /// Of a composite length `A * B`: `w^(b * e)`, at `b * A + e`, for `e < A`, `b < B`.
    pub(super) twist: [Factor; 15],
}

/// The twiddle factors modulo one prime for lengths `8 * odd * 2^log`, up to one `log`.
///
/// Row `f`, entry `i` is `omega^f * R[i]`, where `omega` has order `odd`, `R[0] = 1`, and
/// `R[2^l + j] = g * R[j]` for `j < 2^l` and `g` of order `2^(l+2)`. So `R[2i]^2 = R[i]` and
/// `R[2i+1]^2 = -R[i]`: the square roots that split a node's modulus, for every layer at once.
#[derive(Debug)]
pub(super) struct TwiddleTable {
    pub(super) prime: usize,
    pub(super) odd: usize,
    stride: usize,
    factors: Vec<Factor>,
    /// For each row the negated inverses of entries 0 to 14, layer by layer, each reversed.
    inverses: Vec<[Factor; 16]>,
    pub(super) odd_factors: OddFactors,
}

impl TwiddleTable {
    fn new(prime_index: usize, odd: usize, log: u32) -> Self {
        let prime = PRIMES[prime_index];
        let omega = prime.root_of_order(odd as u64);
        let stride = stride(log);
        let mut factors = Vec::with_capacity(stride * odd);
        factors.push(prime.factor(1));
        while factors.len() < stride {
            let g = prime.factor(prime.root_of_order(4 * factors.len() as u64));
            for j in 0..factors.len() {
                factors.push(prime.factor(prime.mul_factor(factors[j].w, g)));
            }
        }
        for row in 1..odd {
            let scale = prime.factor(prime.pow(omega, row as u64));
            for i in 0..stride {
                factors.push(prime.factor(prime.mul_factor(factors[i].w, scale)));
            }
        }
        let inverses = (0..odd).map(|row| inverses(prime, &factors[row * stride..])).collect();
        let odd_factors = odd_factors(prime, odd);
        Self { prime: prime_index, odd, stride, factors, inverses, odd_factors }
    }

    /// The same with every factor changed by `change`.
    fn map(mut self, change: impl Fn(Factor) -> Factor) -> Self {
        let odd = &mut self.odd_factors;
        let factors = self.factors.iter_mut().chain(self.inverses.iter_mut().flatten());
        let factors = factors.chain(odd.cos.iter_mut().flatten());
        let factors = factors.chain(odd.sin.iter_mut().flatten()).chain(&mut odd.twist);
        factors.for_each(|factor| *factor = change(*factor));
        self
    }

    /// Row `row`, which holds an entry for every node of every layer.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &[Factor] {
        &self.factors[row * self.stride..(row + 1) * self.stride]
    }

    /// For row `row`, layer `d < 4` of node 0: the negated inverse of entry `t < 2^d` is at
    /// `2^(d+1) - 1 - t`.
    #[inline(always)]
    pub(super) fn inverses(&self, row: usize) -> &[Factor; 16] {
        &self.inverses[row]
    }
}

/// The index of the negated inverse of entry `index >= 1`, in the row of the negated exponent:
/// the entries between two powers of two mirror each other.
#[inline(always)]
pub(super) const fn mirror(index: usize) -> usize {
    3 * (1 << index.ilog2()) - 1 - index
}

fn inverses(prime: Prime, row: &[Factor]) -> [Factor; 16] {
    let mut inverses = [Factor::default(); 16];
    for d in 0..4 {
        for t in 0..1 << d {
            let inverse = prime.inverse(row[t].w);
            inverses[(2 << d) - 1 - t] = prime.factor(prime.p - inverse);
        }
    }
    inverses
}

fn odd_factors(prime: Prime, odd: usize) -> OddFactors {
    let mut factors = OddFactors::default();
    let parts: &[usize] = match odd {
        9 => &[3, 3],
        15 => &[3, 5],
        1 => &[],
        _ => &[odd],
    };
    let half = prime.inverse(2);
    for (set, &part) in parts.iter().enumerate() {
        let w = prime.root_of_order(part as u64);
        for j in 0..part {
            let up = prime.mul(prime.pow(w, j as u64), half);
            let down = prime.mul(prime.pow(w, (part - j) as u64), half);
            factors.cos[set][j] = prime.factor((up + down) % prime.p);
            factors.sin[set][j] = prime.factor(prime.sub(up, down));
        }
    }
    if let &[a, b] = parts {
        let w = prime.root_of_order(odd as u64);
        for i in 0..a * b {
            let exponent = (i / a) * (i % a);
            factors.twist[i] = prime.factor(prime.pow(w, exponent as u64));
        }
    }
    factors
}

/// The largest logarithm, plus one.
const LOGS: usize = 25;

/// Bytes of the tables for a plan.
pub(super) const fn table_bytes(plan: TransformPlan) -> usize {
    3 * plan.odd * stride(plan.log) * size_of::<Factor>()
}

/// Entries of a row.
const fn stride(log: u32) -> usize {
    let half = log.saturating_sub(1);
    1 << if half > 4 { half } else { 4 }
}

/// The representation of residues, and so of factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResidueKind {
    /// [`Factor`] unchanged.
    Integer,
    /// As in `arch::avx2`.
    #[cfg(target_arch = "x86_64")]
    F64,
}

/// Tables of the three primes, by odd part and logarithm.
type Cache = [[OnceLock<[TwiddleTable; 3]>; LOGS]; ODD_PARTS.len()];

const fn empty() -> Cache {
    [const { [const { OnceLock::new() }; LOGS] }; ODD_PARTS.len()]
}

/// The tables of the three primes for a plan, made at the first call for its length.
pub(super) fn tables(plan: TransformPlan, kind: ResidueKind) -> &'static [TwiddleTable; 3] {
    static OF_INTEGERS: Cache = empty();
    #[cfg(target_arch = "x86_64")]
    static OF_F64: Cache = empty();
    let cache = match kind {
        ResidueKind::Integer => &OF_INTEGERS,
        #[cfg(target_arch = "x86_64")]
        ResidueKind::F64 => &OF_F64,
    };
    let at = ODD_PARTS.iter().position(|&(odd, _)| odd == plan.odd);
    let row = &cache[at.expect("a plan's odd part is one of the list")];
    let log = plan.log as usize;
    // A longer table serves shorter lengths too.
    if let Some(found) = row[log..].iter().find_map(OnceLock::get) {
        return found;
    }
    row[log].get_or_init(|| {
        [0, 1, 2].map(|prime| {
            let table = TwiddleTable::new(prime, plan.odd, plan.log);
            match kind {
                ResidueKind::Integer => table,
                #[cfg(target_arch = "x86_64")]
                ResidueKind::F64 => table.map(|factor| PRIMES[prime].f64_factor(factor)),
            }
        })
    })
}
