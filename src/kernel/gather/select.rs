//! One of two values, by a mask.

use crate::kernel::vectorized::vectorized;

vectorized! {
    /// `out[i] = if mask[i] != 0 { x[i] } else { y[i] }`, as in `numpy.where`, up to the length of
    /// the shortest slice.
    pub(crate) fn select<T: Copy>(out: &mut [T], mask: &[u8], x: &[T], y: &[T]) {
        for (((out, &byte), &x), &y) in out.iter_mut().zip(mask).zip(x).zip(y) {
            *out = if byte != 0 { x } else { y };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_place_has_the_operand_of_its_mask(
            cells in prop::collection::vec((0..3_u8, any::<u32>(), any::<u32>()), 0..300),
        ) {
            let mask: Vec<u8> = cells.iter().map(|cell| cell.0).collect();
            // Compared as bits, so that different NaN count as different.
            let x: Vec<f32> = cells.iter().map(|cell| f32::from_bits(cell.1)).collect();
            let y: Vec<f32> = cells.iter().map(|cell| f32::from_bits(cell.2)).collect();
            let mut out = vec![1.0; cells.len()];
            select(&mut out, &mask, &x, &y);
            for (found, cell) in out.iter().zip(&cells) {
                let expected = if cell.0 != 0 { cell.1 } else { cell.2 };
                prop_assert_eq!(found.to_bits(), expected);
            }
        }
    }
}
