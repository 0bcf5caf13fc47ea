//! How the digits are divided, and the layout of the memory.
//!
//! Sizes come from `2.321 < log2(5) < 2.322` and `log2(10) < 3.322`.

use crate::kernel::bigint::reciprocal::ReciprocalBuffers;
use crate::kernel::bigint::team_arithmetic::{TEAM_LIMBS_MIN, scratch_limbs_max};
use crate::kernel::bigint::thresholds::DECIMAL_BLOCKS_MIN;

use super::power_of_ten::BLOCK_DIGITS;

/// The nodes for each member at the level where members work alone.
const NODES_A_MEMBER: usize = 4;

/// A leaf has some blocks of digits; a node of each level above has twice as many digits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    pub(super) leaf_blocks: usize,
    pub(super) levels: usize,
}

impl Tree {
    /// The tree for numbers of `limbs` limbs.
    pub(super) fn new(limbs: usize) -> Self {
        // 64 log10(2) < 19.27 digits a limb.
        let blocks = (limbs * 1927).div_ceil(1900).max(1);
        let mut levels = 0;
        while blocks.div_ceil(1 << levels) >= 2 * DECIMAL_BLOCKS_MIN {
            levels += 1;
        }
        Self { leaf_blocks: blocks.div_ceil(1 << levels), levels }
    }

    /// Digits of a node of level `level`: 0 for leaves, `levels` for the root.
    pub(super) const fn digits(self, level: usize) -> usize {
        (self.leaf_blocks * BLOCK_DIGITS) << level
    }

    /// Limbs that are enough for `5^digits`.
    const fn five_limbs(self, level: usize) -> usize {
        self.digits(level) / 1000 * 2322 / 64 + 1000 * 2322 / 64_000 + 2
    }

    /// Limbs that are enough for a fraction.
    pub(super) const fn fraction_limbs(self, level: usize) -> usize {
        self.digits(level) / 1000 * 3322 / 64 + 1000 * 3322 / 64_000 + 4
    }

    /// The levels below the root that the team splits together, before members take nodes alone.
    pub(super) fn levels_together(self, members: usize) -> usize {
        let mut levels = 0;
        while members > 1
            && levels < self.levels
            && 1 << levels < NODES_A_MEMBER * members
            && self.fraction_limbs(self.levels - levels) >= TEAM_LIMBS_MIN
        {
            levels += 1;
        }
        levels
    }

    /// Limbs of memory for a member that takes a node of level `level` to the end: the fraction of
    /// the node, both halves for each level below, and the product and scratch memory of a split.
    pub(super) fn node_limbs(self, level: usize) -> usize {
        let halves: usize = (0..level).map(|level| 2 * self.fraction_limbs(level)).sum();
        let split = |level: usize| {
            let (y, factor) = (self.fraction_limbs(level), self.fraction_limbs(level - 1));
            y + factor + scratch_limbs_max(y, factor)
        };
        self.fraction_limbs(level) + halves + (1..=level).map(split).max().unwrap_or(0)
    }
}

/// The sizes in limbs of the spans in the workspace, which lie one after another. The second line
/// is the layout once each member takes nodes alone.
///
/// ```text
/// fives | fractions | fractions | wide | divisor | result | result | change | scratch
/// fives | fractions | fractions | member 0 | member 1 | ...
/// ```
#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) tree: Tree,
    /// A power of five for each level but the lowest, which each member computes for itself.
    pub(super) fives: Vec<usize>,
    /// The nodes of a level, or of the next.
    pub(super) fractions: usize,
    /// The longest products.
    pub(super) wide: usize,
    pub(super) divisor: usize,
    pub(super) result: usize,
    pub(super) change: usize,
    pub(super) total_limbs: usize,
}

impl Workspace {
    pub(super) fn new(limbs: usize, members_max: usize) -> Self {
        let tree = Tree::new(limbs);
        let root = tree.fraction_limbs(tree.levels);
        // Each span begins on a cache line.
        let line = |limbs: usize| limbs.next_multiple_of(8);
        let fives = (1..=tree.levels).map(|level| line(2 * tree.five_limbs(level - 1)));
        let fives: Vec<usize> = fives.collect();
        // The limbs of each node are rounded up by a few.
        let fractions = line(root + (64 << tree.levels_together(members_max)));
        let wide =
            line((2 * root + 8).max(ReciprocalBuffers::error_limbs(root)).max(limbs + root + 8));
        let divisor = line(tree.five_limbs(tree.levels));
        let result = line(ReciprocalBuffers::result_limbs(root));
        let change = line(ReciprocalBuffers::change_limbs(root));
        let scratch = scratch_limbs_max(root + 4, root + 4);
        let together = wide + divisor + 2 * result + change + scratch;
        let apart =
            |members| members * tree.node_limbs(tree.levels - tree.levels_together(members));
        let apart = (1..=members_max).map(apart).max().unwrap_or(0);
        let total_limbs = fives.iter().sum::<usize>() + 2 * fractions + together.max(apart);
        Self { tree, fives, fractions, wide, divisor, result, change, total_limbs }
    }
}
