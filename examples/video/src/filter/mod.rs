//! Filters: pure functions from rows to rows.
//!
//! A filter sees the rows of a [`Window`] and computes those of the output, by integer arithmetic.
//! The samples do not depend on which rows are computed together, nor on the processor.

mod blur;
mod denoise;
mod edges;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::picture::Sample;

/// The standard deviations of a blur, in samples of each plane.
pub const SIGMAS: RangeInclusive<f64> = 0.1..=20.0;
/// The strengths of a denoise, in levels of 8 bits.
pub const STRENGTHS: RangeInclusive<u16> = 1..=127;

/// What a plane holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Brightness.
    Luma,
    /// Colour; grey is the middle of the range.
    Chroma,
}

impl Role {
    /// The role of plane `index` of a frame.
    #[must_use]
    pub fn of_plane(index: usize) -> Role {
        if index == 0 { Role::Luma } else { Role::Chroma }
    }
}

/// Rows of a plane that a filter reads: those of the output, and those around them.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a, T> {
    samples: &'a [T],
    above: usize,
    width: usize,
}

impl<'a, T> Window<'a, T> {
    /// Rows of `width` samples, of which `above` stand before the first of the output. There must
    /// be as many rows around those of the output as the filter reaches, or else the plane ends
    /// there.
    ///
    /// # Panics
    ///
    /// If `samples` are no whole rows, or no more than `above`.
    #[must_use]
    pub fn new(samples: &'a [T], above: usize, width: usize) -> Window<'a, T> {
        assert!(width > 0 && samples.len().is_multiple_of(width), "rows of {width} samples");
        assert!(samples.len() > above * width, "no rows after {above}");
        Window { samples, above, width }
    }

    /// The samples of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `i`, counted from the first of the output. Beyond the ends of the plane it is the row at
    /// the end.
    #[inline(always)]
    #[must_use]
    pub fn row(&self, i: isize) -> &'a [T] {
        let last = self.samples.len() / self.width - 1;
        let row = self.above.saturating_add_signed(i).min(last);
        &self.samples[row * self.width..][..self.width]
    }
}

/// A filter, with what it needs for samples of a number of bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    kind: Kind,
    bits: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Grey,
    Edges,
    Blur(Vec<u16>),
    Denoise { spatial: i16, temporal: i16 },
}

impl Filter {
    /// Chroma becomes neutral; luma stays as it is.
    #[must_use]
    pub fn grey(bits: u32) -> Filter {
        Filter { kind: Kind::Grey, bits }
    }

    /// Luma becomes the magnitude of its gradient, by Sobel's operator; chroma becomes neutral.
    #[must_use]
    pub fn edges(bits: u32) -> Filter {
        Filter { kind: Kind::Edges, bits }
    }

    /// Each plane is blurred by a Gaussian of standard deviation `sigma`, in its own samples, which
    /// is cut off at three standard deviations.
    ///
    /// # Panics
    ///
    /// If `sigma` is not in [`SIGMAS`].
    #[must_use]
    pub fn blur(bits: u32, sigma: f64) -> Filter {
        assert!(SIGMAS.contains(&sigma), "a sigma of {sigma}");
        Filter { kind: Kind::Blur(blur::weights(sigma)), bits }
    }

    /// Each sample is moved towards its eight neighbours and towards the same sample of the frame
    /// before, but not towards those that differ by twice the strength or more (in time: three
    /// times), which are edges and movement.
    ///
    /// # Panics
    ///
    /// If `strength` is not in [`STRENGTHS`].
    #[must_use]
    pub fn denoise(bits: u32, strength: u16) -> Filter {
        assert!(STRENGTHS.contains(&strength), "a strength of {strength}");
        let level = |times: u16| (strength * times).min(255).cast_signed() << (bits - 8);
        Filter { kind: Kind::Denoise { spatial: level(2), temporal: level(3) }, bits }
    }

    /// How many rows above and below each row of the output the filter reads.
    #[must_use]
    pub fn reach(&self) -> usize {
        match &self.kind {
            Kind::Grey => 0,
            Kind::Edges | Kind::Denoise { .. } => 1,
            Kind::Blur(weights) => weights.len() - 1,
        }
    }

    /// Computes rows of the output: as many as `previous` has, which are the same rows of the frame
    /// before. For the first frame they are those of the frame itself.
    ///
    /// # Panics
    ///
    /// If `previous` and `out` differ in size, or are no whole rows.
    pub fn apply<T: Sample>(
        &self,
        role: Role,
        window: Window<'_, T>,
        previous: &[T],
        out: &mut [T],
    ) {
        assert_eq!(previous.len(), out.len(), "the rows of the frame before");
        assert!(out.len().is_multiple_of(window.width), "rows of {} samples", window.width);
        // Compiled for AVX2 too; a call runs what the processor has.
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || self.compute(role, window, previous, out),
        );
    }

    #[inline(always)]
    fn compute<T: Sample>(&self, role: Role, window: Window<'_, T>, previous: &[T], out: &mut [T]) {
        let (max, neutral) = ((1 << self.bits) - 1, 1 << (self.bits - 1));
        match (&self.kind, role) {
            (Kind::Blur(weights), _) => blur::blur(weights, self.bits, window, out),
            (&Kind::Denoise { spatial, temporal }, _) => {
                denoise::denoise([spatial, temporal], max, window, previous, out);
            }
            (Kind::Edges, Role::Luma) => edges::edges(max, window, out),
            (Kind::Grey, Role::Luma) => {
                for (i, out) in (0..).zip(out.chunks_exact_mut(window.width)) {
                    for (to, from) in out.iter_mut().zip(window.row(i)) {
                        *to = T::from_value(from.value(max));
                    }
                }
            }
            (Kind::Grey | Kind::Edges, Role::Chroma) => out.fill(T::from_value(neutral)),
        }
    }
}

/// Copies a row into the middle of `line`, and its first and last sample around it.
#[inline(always)]
fn pad<T: Sample>(row: &[T], reach: usize, max: u16, line: &mut [i16]) {
    for (to, &from) in line[reach..].iter_mut().zip(row) {
        *to = from.value(max).cast_signed();
    }
    let (first, last) = (line[reach], line[reach + row.len() - 1]);
    line[..reach].fill(first);
    line[reach + row.len()..].fill(last);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A plane of noise, with some whole rows at the ends of the range.
    pub(super) fn plane(rows: usize, width: usize, bits: u32, seed: u64) -> Vec<u16> {
        let mut state = seed | 1;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u16::try_from(state >> 49).expect("15 bits")
        };
        let max = (1 << bits) - 1;
        let row = |kind: u16| -> Vec<u16> {
            match kind % 8 {
                0 => vec![max; width],
                1 => vec![0; width],
                _ => Vec::new(),
            }
        };
        (0..rows)
            .flat_map(|_| {
                let flat = row(random());
                if flat.is_empty() { (0..width).map(|_| random() & max).collect() } else { flat }
            })
            .collect()
    }

    /// All rows of a plane, computed in bands of `band` rows with halos.
    pub(super) fn in_bands<T: Sample>(
        filter: &Filter,
        role: Role,
        (plane, previous): (&[T], &[T]),
        width: usize,
        band: usize,
    ) -> Vec<T> {
        let rows = plane.len() / width;
        let mut out = plane.to_vec();
        for (i, out) in out.chunks_mut(band * width).enumerate() {
            let (first, len) = (i * band, out.len() / width);
            let above = filter.reach().min(first);
            let end = (first + len + filter.reach()).min(rows);
            let window = Window::new(&plane[(first - above) * width..end * width], above, width);
            filter.apply(role, window, &previous[first * width..][..len * width], out);
        }
        out
    }

    fn filters(bits: u32) -> [Filter; 6] {
        [
            Filter::grey(bits),
            Filter::edges(bits),
            Filter::blur(bits, 0.5),
            Filter::blur(bits, 2.0),
            Filter::denoise(bits, 6),
            Filter::denoise(bits, 127),
        ]
    }

    proptest! {
        #[test]
        fn the_samples_do_not_depend_on_the_bands(
            rows in 1usize..30, width in 1usize..150, band in 1usize..12, seed: u64,
            bits in 0usize..4,
        ) {
            let bits = [8, 9, 10, 12][bits];
            let (now, before) = (plane(rows, width, bits, seed), plane(rows, width, bits, !seed));
            for filter in filters(bits) {
                for role in [Role::Luma, Role::Chroma] {
                    let whole = in_bands(&filter, role, (&now, &before), width, rows);
                    let banded = in_bands(&filter, role, (&now, &before), width, band);
                    prop_assert_eq!(&whole, &banded, "{:?}", filter);
                    prop_assert!(whole.iter().all(|&sample| u32::from(sample) < 1 << bits));
                }
            }
        }

        #[test]
        fn bytes_and_words_of_8_bits_give_the_same(
            rows in 1usize..9, width in 1usize..150, seed: u64,
        ) {
            let words = [plane(rows, width, 8, seed), plane(rows, width, 8, !seed)];
            let bytes = words.clone().map(|plane| {
                plane.iter().map(|&x| u8::try_from(x).expect("8 bits")).collect::<Vec<_>>()
            });
            for filter in filters(8) {
                let words = in_bands(&filter, Role::Luma, (&words[0], &words[1]), width, rows);
                let bytes = in_bands(&filter, Role::Luma, (&bytes[0], &bytes[1]), width, rows);
                prop_assert!(bytes.iter().zip(&words).all(|(&b, &w)| u16::from(b) == w));
            }
        }

        #[test]
        fn samples_above_the_greatest_count_as_the_greatest(
            width in 1usize..100, seed: u64,
        ) {
            let wild: Vec<u16> = plane(5, width, 15, seed).iter().map(|x| x << 1).collect();
            let tame: Vec<u16> = wild.iter().map(|&x| x.min(1023)).collect();
            for filter in &filters(10) {
                prop_assert_eq!(
                    in_bands(filter, Role::Luma, (&wild, &wild), width, 2),
                    in_bands(filter, Role::Luma, (&tame, &tame), width, 2)
                );
            }
        }
    }

    #[test]
    fn grey_keeps_luma_and_makes_chroma_neutral() {
        let now = plane(4, 7, 10, 5);
        let run = |role| in_bands(&Filter::grey(10), role, (&now, &now), 7, 3);
        assert_eq!(run(Role::Luma), now);
        assert_eq!(run(Role::Chroma), [512; 28]);
        let chroma = in_bands(&Filter::edges(8), Role::Chroma, (&[3u8; 6], &[3; 6]), 3, 1);
        assert_eq!(chroma, [128; 6]);
    }
}
