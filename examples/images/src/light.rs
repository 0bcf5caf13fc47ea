//! Tables between the values of sRGB and linear light.

use std::sync::OnceLock;

/// The linear value, from 0 to 1, of a value of sRGB.
fn linear(value: f64) -> f64 {
    match value <= 0.040_45 {
        true => value / 12.92,
        false => ((value + 0.055) / 1.055).powf(2.4),
    }
}

/// The value of sRGB of a linear value, from 0 to 1.
fn companded(value: f64) -> f64 {
    match value <= 0.003_130_8 {
        true => value * 12.92,
        false => 1.055 * value.powf(1.0 / 2.4) - 0.055,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to the maximum"
)]
fn table(function: fn(f64) -> f64, len: u32, max: f64) -> Vec<u16> {
    let values = (0..len).map(|i| function(f64::from(i) / f64::from(len - 1)));
    values.map(|value| (max * value).round() as u16).collect()
}

/// The linear values, to 65535, of the 256 values of sRGB.
pub fn from_8() -> &'static [u16] {
    static TABLE: OnceLock<Vec<u16>> = OnceLock::new();
    TABLE.get_or_init(|| table(linear, 1 << 8, 65_535.0))
}

/// The linear values, to 65535, of the 65536 values of sRGB.
pub fn from_16() -> &'static [u16] {
    static TABLE: OnceLock<Vec<u16>> = OnceLock::new();
    TABLE.get_or_init(|| table(linear, 1 << 16, 65_535.0))
}

/// The values of sRGB, to 255, of the 65536 linear values.
pub fn to_8() -> &'static [u16] {
    static TABLE: OnceLock<Vec<u16>> = OnceLock::new();
    TABLE.get_or_init(|| table(companded, 1 << 16, 255.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_8_bits_returns_as_it_was() {
        for value in 0..=255u16 {
            assert_eq!(to_8()[usize::from(from_8()[usize::from(value)])], value);
            assert_eq!(from_16()[usize::from(value) * 257], from_8()[usize::from(value)]);
        }
    }
}
