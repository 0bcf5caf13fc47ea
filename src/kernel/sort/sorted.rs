//! Whether keys are already in order.

use super::key::Key;
use crate::kernel::vectorized::vectorized;

/// Keys that are compared before the result is checked.
const BLOCK: usize = 1024;

vectorized! {
    /// Whether a chunk is in the order of [`Key::to_bits`], and not below the key before it.
    ///
    /// Stops at the first block that is out of order, so it costs little for keys that are not
    /// sorted.
    pub(crate) fn is_sorted<K: Key>(keys: &[K], before: Option<K>) -> bool {
        let Some(&first) = keys.first() else { return true };
        if before.is_some_and(|before| before.to_bits() > first.to_bits()) {
            return false;
        }
        keys.chunks(BLOCK).zip(keys[1..].chunks(BLOCK)).all(|(lower, upper)| {
            let pairs = lower.iter().zip(upper);
            pairs.fold(true, |sorted, (a, b)| sorted & (a.to_bits() <= b.to_bits()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_inversion_is_found_at_every_place() {
        let keys: Vec<i32> = (-1500..1500).collect();
        assert!(is_sorted(&keys, None) && is_sorted(&keys, Some(-1500)));
        assert!(!is_sorted(&keys, Some(-1499)));
        for i in 1..keys.len() {
            let mut keys = keys.clone();
            keys.swap(i - 1, i);
            assert!(!is_sorted(&keys, None));
        }
        assert!(is_sorted::<f32>(&[], Some(1.0)) && is_sorted(&[-0.0, 0.0, f64::NAN], None));
        assert!(!is_sorted(&[0.0, -0.0], None));
    }
}
