//! The five loops around the micro-kernel, over packed operands.
//!
//! ```text
//! LOOP 5  jc over n by NC       a panel of B, KC x NC, is packed for the third-level cache
//! LOOP 4  pc over k by KC
//! LOOP 3  ic over m by MC       a block of A, MC x KC, is packed for the second-level cache
//! LOOP 2  jr over NC by NR      a micropanel of B, KC x NR, stays in the first-level cache
//! LOOP 1  ir over MC by MR      a micropanel of A, MR x KC, streams through
//!         micro-kernel: C[MR x NR] += A[MR x KC] * B[KC x NR]
//! ```
//!
//! Packed block of A (MR = 4, rows a..i, numbers are columns; the last micropanel is as narrow
//! as its vectors allow, padded with zeros) and packed panel of B (NR = 3):
//!
//! ```text
//! A: a0 b0 c0 d0 | a1 b1 c1 d1 | a2 ...      micropanel 0, KC steps of MR
//!    e0 f0 g0 h0 | e1 f1 g1 h1 | e2 ...      micropanel 1
//!    i0  0       | i1  0       | i2 ...      micropanel 2, one vector wide
//!
//! B: 0a 0b 0c | 1a 1b 1c | 2a ...            micropanel 0, KC steps of NR
//!    0d 0e  0 | 1d 1e  0 | 2d ...            micropanel 1, padded
//! ```
//!
//! # Several members
//!
//! All members process the same panels of B in the same order. In each:
//!
//! 1. A member packs its home block of A: the first block that it took, which it keeps for all
//!    panels. Then it takes micropanels of B from a counter. It packs each just before it
//!    multiplies its home block by it, so the packing overlaps the arithmetic of the previous one.
//! 2. After a barrier, the panel is complete.
//! 3. It multiplies its home block by the micropanels that others packed, then takes further blocks
//!    of A from a counter.
//!
//! No barrier is needed at the end: the next panel goes to the other of two buffers, and step 1
//! writes only the rows of C of the home block, which no other member reads or writes. A buffer is
//! packed again two panels later; the barrier in between proves that all members have finished with
//! it. An element of C is summed in the order of LOOP 4 and of the micro-kernel, whichever member
//! computes it, so the bits do not depend on the members.
#![allow(unsafe_code)]

use std::ops::Range;

use super::blocking::{self, balanced, depth};
use super::gemm::Gemm;
use super::kernel::Float;
use super::microkernel_table::{MicroKernelTable, Micropanel, Tile};
use super::pack_buffer::PackBuffer;
use super::packing::pack_a;
use super::strided::Strided;
use super::tile::run_tile;
use crate::kernel::{PeerDied, Team};

/// The counter of home blocks.
const HOME: usize = 1;
/// The counters of blocks of A beyond the homes, in even and odd panels.
const BLOCKS: [usize; 2] = [2, 3];
/// The counters of micropanels of B, in even and odd panels.
const MICROPANELS: [usize; 2] = [4, 5];

/// Block sizes for one product, in elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockSizes {
    /// The tiles, of MR rows each, that make up m.
    pub(super) tiles: usize,
    /// The blocks of A, whose numbers of tiles differ by at most 1; at least 1.
    pub(super) blocks: usize,
    /// The columns of a panel of B.
    pub(super) nc: usize,
    /// The steps of k in both.
    pub(super) kc: usize,
}

impl BlockSizes {
    /// The sizes for an `m` x `k` by `k` x `n` product by at most `members` members.
    pub(super) fn new<T: Float>(gemm: &Gemm<T>, members: usize) -> BlockSizes {
        let (m, n, k) = gemm.sizes();
        let table = T::table(gemm.kernel);
        let (rows, columns) = (table.rows(), table.columns);
        let most = blocking::MC_BYTES / size_of::<T>();
        let tiles = m.div_ceil(rows).max(1);
        // A multiple of the members, for equal shares, if there are enough tiles.
        let blocks = m.div_ceil(most).max(1).next_multiple_of(members).min(tiles);
        BlockSizes { tiles, blocks, nc: balanced(n, blocking::NC, columns), kc: depth(k) }
    }

    /// The first tile of a block.
    ///
    /// The blocks that are one tile higher come first. Members take blocks as they finish, so they
    /// end within about one tile of each other. Equal blocks with a short last one gave two members
    /// 8 and 6 of 14 parts of n = 1000.
    fn first_tile(&self, block: usize) -> usize {
        block * (self.tiles / self.blocks) + block.min(self.tiles % self.blocks)
    }

    /// Bytes of the highest packed block of A, for tiles of `rows` rows.
    pub(super) fn block_bytes<T>(&self, rows: usize) -> usize {
        (self.first_tile(1) * rows * self.kc * size_of::<T>())
            .next_multiple_of(blocking::ALIGN_BYTES)
    }

    /// Bytes of one packed panel of B.
    pub(super) fn panel_bytes<T>(&self) -> usize {
        panel_bytes::<T>(self.nc, self.kc)
    }
}

fn panel_bytes<T>(nc: usize, kc: usize) -> usize {
    (nc * kc * size_of::<T>()).next_multiple_of(blocking::ALIGN_BYTES)
}

/// Bytes of two panels of B, at most, in either orientation and on any instruction set.
pub(super) fn scratch_bytes<T>(m: usize, n: usize, k: usize) -> usize {
    let nc = balanced(m, blocking::NC, 8).max(balanced(n, blocking::NC, 8));
    2 * panel_bytes::<T>(nc, depth(k))
}

/// One member's part of the product, by a team of at most `members`.
///
/// # Errors
///
/// [`PeerDied`] if a member died; C is then unspecified.
///
/// # Safety
///
/// - The operands are valid, and only members of this team write C.
/// - `scratch` is null and `members` is 1, or it is the same memory for all members,
///   [`scratch_bytes`] long, aligned to [`blocking::ALIGN_BYTES`] and used for nothing else.
/// - All members pass the same arguments. In the plan, `tiles` of MR rows are as many as m
///   requires, and `blocks` is at least 1; `nc` is a multiple of NR and at most [`blocking::NC`],
///   and two panels fit into the scratch memory.
pub(super) unsafe fn multiply<T: Float, W: Team>(
    gemm: &Gemm<T>,
    block_sizes: &BlockSizes,
    scratch: *mut u8,
    members: usize,
    team: &W,
) -> Result<(), PeerDied> {
    let block_sizes = *block_sizes;
    let table = T::table(gemm.kernel);
    let block_bytes = block_sizes.block_bytes::<T>(table.rows());
    let private_panel = if members == 1 { block_sizes.panel_bytes::<T>() } else { 0 };
    let mut buffer = PackBuffer::of_bytes(block_bytes + private_panel);
    let block = buffer.start();
    let (panels, panel_step) = if members == 1 {
        (block.wrapping_add(block_bytes), 0)
    } else {
        (scratch, block_sizes.panel_bytes::<T>())
    };
    let home = team.take(HOME, 1);
    let block = block.cast::<T>();
    let mut member = PackedGemmMember { gemm, table, block_sizes, block, team, home, members: 0 };
    let mut number = 0;
    let (_, n, k) = gemm.sizes();
    let mut outcome = Ok(());
    // LOOP 5
    'panels: for jc in (0..n).step_by(block_sizes.nc) {
        // LOOP 4
        for pc in (0..k).step_by(block_sizes.kc) {
            let panel = Panel {
                columns: jc..n.min(jc + block_sizes.nc),
                steps: pc..k.min(pc + block_sizes.kc),
                packed: panels.wrapping_add(number % 2 * panel_step).cast::<T>(),
                beta: if pc == 0 { gemm.beta } else { T::ONE },
                parity: number % 2,
            };
            // SAFETY: the caller's conditions; the panel lies within the operands and its packed
            // copy within the buffer or the scratch memory.
            outcome = unsafe { member.panel(&panel) };
            if outcome.is_err() {
                break 'panels;
            }
            number += 1;
        }
    }
    buffer.keep();
    outcome
}

/// A panel of B, and the pass over C for it.
#[derive(Debug)]
struct Panel<T> {
    columns: Range<usize>,
    steps: Range<usize>,
    /// The address of the packed copy.
    packed: *mut T,
    /// The factor of C in this pass.
    beta: T,
    /// Which of the two pairs of counters it uses.
    parity: usize,
}

/// One member's part of a product.
#[derive(Debug)]
struct PackedGemmMember<'g, T: 'static, W> {
    gemm: &'g Gemm<T>,
    table: &'static MicroKernelTable<T>,
    block_sizes: BlockSizes,
    /// The address to which it packs blocks of A.
    block: *mut T,
    team: &'g W,
    /// Its home block; it has none if this is not below the plan's number of blocks.
    home: usize,
    /// The number of members, known after the first barrier.
    members: usize,
}

/// The set of micropanels that a member packed itself.
type Packed = [u64; (blocking::NC / blocking::NR_MIN).div_ceil(64)];

impl<T: Float, W: Team> PackedGemmMember<'_, T, W> {
    /// Packs one panel together with the other members and multiplies by it.
    ///
    /// # Safety
    ///
    /// - As [`multiply`], and `panel` is this team's next.
    unsafe fn panel(&mut self, panel: &Panel<T>) -> Result<(), PeerDied> {
        let count = panel.columns.len().div_ceil(self.table.columns);
        let mut packed: Packed = [0; _];
        if self.home < self.block_sizes.blocks {
            // SAFETY: the home block exists, and `block` has room for any block.
            unsafe { self.pack_block(panel, self.home) };
        }
        let mut next = self.team.take(MICROPANELS[panel.parity], 1);
        while next < count {
            let jr = next;
            next = self.team.take(MICROPANELS[panel.parity], 1);
            packed[jr / 64] |= 1 << (jr % 64);
            // SAFETY: jr < count, and the counter gave it to this member alone.
            unsafe { self.pack_micropanel(panel, jr) };
            if self.home < self.block_sizes.blocks {
                let ahead = if next < count {
                    PrefetchSource::Source(self.source(panel, next))
                } else {
                    PrefetchSource::None
                };
                // SAFETY: the micropanel is packed, the home block too.
                unsafe { self.multiply_micropanel(panel, self.home, jr, ahead) };
            }
        }
        self.team.barrier()?;
        self.members = self.team.members();
        if self.team.rank() == 0 {
            // No member takes from these two until the next barrier. The first was used before this
            // barrier and is used again after the next; the second was used before the previous
            // one.
            self.team.reset(MICROPANELS[panel.parity]);
            self.team.reset(BLOCKS[1 - panel.parity]);
        }
        if self.home < self.block_sizes.blocks {
            for jr in (0..count).filter(|jr| packed[jr / 64] >> (jr % 64) & 1 == 0) {
                let ahead = self.packed_after(panel, jr, count);
                // SAFETY: the barrier proves that the panel is packed; the home block is packed
                // too.
                unsafe { self.multiply_micropanel(panel, self.home, jr, ahead) };
            }
        }
        loop {
            let block = self.members + self.team.take(BLOCKS[panel.parity], 1);
            if block >= self.block_sizes.blocks {
                return Ok(());
            }
            // LOOP 3
            // SAFETY: the block exists, and the counter gave it to this member alone.
            unsafe { self.pack_block(panel, block) };
            // LOOP 2
            for jr in 0..count {
                let ahead = self.packed_after(panel, jr, count);
                // SAFETY: the panel and the block are packed.
                unsafe { self.multiply_micropanel(panel, block, jr, ahead) };
            }
        }
    }

    fn block_rows(&self, block: usize) -> Range<usize> {
        let (m, rows) = (self.gemm.sizes().0, self.table.rows());
        self.block_sizes.first_tile(block) * rows
            ..m.min(self.block_sizes.first_tile(block + 1) * rows)
    }

    fn micropanel(&self, panel: &Panel<T>, jr: usize) -> *mut T {
        panel.packed.wrapping_add(jr * self.table.columns * panel.steps.len())
    }

    fn micropanel_columns(&self, panel: &Panel<T>, jr: usize) -> Range<usize> {
        let first = panel.columns.start + jr * self.table.columns;
        first..panel.columns.end.min(first + self.table.columns)
    }

    /// Packs a block of A.
    ///
    /// # Safety
    ///
    /// - `block < self.block_sizes.blocks`, and A is valid.
    unsafe fn pack_block(&self, panel: &Panel<T>, block: usize) {
        let rows = self.block_rows(block);
        // SAFETY: rows and steps lie within A, and `self.block` has room for the highest block.
        unsafe { pack_a(self.table, &self.gemm.a, rows, panel.steps.clone(), self.block) };
    }

    /// Packs a micropanel of B.
    ///
    /// # Safety
    ///
    /// - `jr` is one of the panel's micropanels, and no other member reads or writes its packed
    ///   copy.
    unsafe fn pack_micropanel(&self, panel: &Panel<T>, jr: usize) {
        let b = self.source(panel, jr);
        let micropanel = Micropanel {
            from: b.first,
            minor: b.col_stride,
            major: b.row_stride,
            count: b.cols,
            width: self.table.columns,
            k: b.rows,
            to: self.micropanel(panel, jr),
        };
        // SAFETY: steps and columns lie within B; the table is of this machine; the packed panel
        // has room for `columns` times `steps` elements for each micropanel.
        unsafe { (self.table.pack)(&micropanel) };
    }

    /// The part of B that is packed as micropanel `jr`.
    fn source(&self, panel: &Panel<T>, jr: usize) -> Strided<*mut T> {
        self.gemm.b.part(panel.steps.clone(), self.micropanel_columns(panel, jr))
    }

    /// What to prefetch before the block is multiplied by the micropanel after `jr`.
    fn packed_after(&self, panel: &Panel<T>, jr: usize, count: usize) -> PrefetchSource<T> {
        if jr + 1 < count {
            PrefetchSource::Packed(self.micropanel(panel, jr + 1))
        } else {
            PrefetchSource::None
        }
    }

    /// LOOP 1: the packed block by one packed micropanel.
    ///
    /// # Safety
    ///
    /// - `block` is packed in `self.block`, micropanel `jr` in the panel.
    /// - Until it returns, no other member reads or writes these rows of C in these columns.
    unsafe fn multiply_micropanel(
        &self,
        panel: &Panel<T>,
        block: usize,
        jr: usize,
        ahead: PrefetchSource<T>,
    ) {
        let table = self.table;
        let rows = self.block_rows(block);
        let columns = self.micropanel_columns(panel, jr);
        let k = panel.steps.len();
        let count = rows.len().div_ceil(table.rows());
        let mut tile = Tile::new(k, self.gemm.alpha, panel.beta);
        tile.b = self.micropanel(panel, jr);
        for (index, ir) in rows.clone().step_by(table.rows()).enumerate() {
            let height = (rows.end - ir).min(table.rows());
            (tile.ahead, tile.ahead_step) = ahead.slice(index, count, k, table.columns);
            tile.a = self.block.wrapping_add(index * table.rows() * k);
            let c = self.gemm.c.part(ir..ir + height, columns.clone());
            // SAFETY: A's micropanel `index` and B's micropanel are packed with k steps; the
            // part of C exists and is this member's.
            unsafe { run_tile(table, &table.packed, &mut tile, c) };
        }
    }
}

/// What the next iteration of LOOP 2 will read.
#[derive(Debug, Clone, Copy)]
enum PrefetchSource<T> {
    None,
    /// A part of B in place, to be packed as a micropanel.
    Source(Strided<*mut T>),
    /// A packed micropanel.
    Packed(*mut T),
}

impl<T> PrefetchSource<T> {
    /// The part to prefetch during tile `index` of `count`: the first address, and the step in
    /// elements at every fourth of `k` products.
    fn slice(&self, index: usize, count: usize, k: usize, width: usize) -> (*const T, isize) {
        match *self {
            PrefetchSource::None => (std::ptr::null(), 0),
            PrefetchSource::Packed(next) => {
                let step = (4 * width).div_ceil(count);
                (next.wrapping_add(index * (k / 4) * step), step as isize)
            }
            PrefetchSource::Source(b) if b.row_stride == 1 => {
                // One column for each tile. With few tiles, packing fetches the rest itself.
                (b.at(0, index.min(b.cols - 1)), 4)
            }
            PrefetchSource::Source(b) => {
                // A quarter of the rows for each tile: their first elements, then their last.
                let column = if index < 4 { 0 } else { b.cols - 1 };
                (b.at(index % 4 * (k / 4), column), b.row_stride)
            }
        }
    }
}
