//! What a filter reads beyond the ends of an axis.

use serde::{Deserialize, Serialize};

/// What a filter reads beyond the ends of an axis of `n` elements `a b c d`.
///
/// | variant       | left of `a b c d`, right of it | `scipy.ndimage` mode          |
/// |---------------|--------------------------------|-------------------------------|
/// | `Clamp`       | `a a a a`, `d d d d`           | `nearest`                     |
/// | `Reflect`     | `d c b a`, `d c b a`           | `reflect` (`grid-mirror`)     |
/// | `Mirror`      | `. d c b`, `c b a .`           | `mirror`                      |
/// | `Wrap`        | `a b c d`, `a b c d`           | `grid-wrap`; filters: `wrap`  |
/// | `Constant(v)` | `v v v v`, `v v v v`           | `constant` (`grid-constant`)  |
/// | `Shrink`      | nothing, nothing               | none                          |
///
/// `Shrink` makes the window smaller at the border. There a closure over a neighbourhood sees
/// `None`, and a weighted sum adds zero and does not rescale the other weights.
///
/// # Examples
///
/// ```
/// use brigade::Boundary;
/// // Two places before an axis of four elements, and one after it.
/// let places = |boundary: Boundary| [-2, -1, 4].map(|i| boundary.index(i, 4));
/// assert_eq!(places(Boundary::Clamp), [Some(0), Some(0), Some(3)]);
/// assert_eq!(places(Boundary::Reflect), [Some(1), Some(0), Some(3)]);
/// assert_eq!(places(Boundary::Mirror), [Some(2), Some(1), Some(2)]);
/// assert_eq!(places(Boundary::Wrap), [Some(2), Some(3), Some(0)]);
/// assert_eq!(places(Boundary::Constant(0.5)), [None; 3]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Boundary<T = f64> {
    /// The nearest element of the axis.
    Clamp,
    /// The axis reversed, with its end element twice; SciPy's default.
    #[default]
    Reflect,
    /// The axis reversed about its end element, which occurs once.
    Mirror,
    /// The axis continued from its other end.
    Wrap,
    /// This value.
    Constant(T),
    /// No element: the window is smaller.
    Shrink,
}

impl<T: Copy> Boundary<T> {
    /// The index of the element that stands for place `i` of an axis of `n` elements, for any `i`;
    /// `None` if there is none: a constant, a smaller window, or an axis without elements.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Boundary;
    /// assert_eq!(Boundary::<f64>::Wrap.index(-1, 4), Some(3));
    /// assert_eq!(Boundary::<f64>::Shrink.index(-1, 4), None);
    /// ```
    #[inline]
    #[must_use]
    pub fn index(&self, i: isize, n: usize) -> Option<usize> {
        match usize::try_from(i) {
            Ok(i) if i < n => Some(i),
            _ => self.index_outside(i, n),
        }
    }

    fn index_outside(&self, i: isize, n: usize) -> Option<usize> {
        if n == 0 {
            return None;
        }
        // In 128 bits, because twice the length may not fit into an `isize`.
        let (i, n) = (i as i128, n as i128);
        let index = match self {
            Self::Clamp => i.clamp(0, n - 1),
            Self::Reflect => {
                let place = i.rem_euclid(2 * n);
                place.min(2 * n - 1 - place)
            }
            Self::Mirror => {
                let period = (2 * n - 2).max(1);
                let place = i.rem_euclid(period);
                place.min(period - place)
            }
            Self::Wrap => i.rem_euclid(n),
            Self::Constant(_) | Self::Shrink => return None,
        };
        usize::try_from(index).ok()
    }

    /// The same boundary for elements of another type.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Boundary;
    /// assert_eq!(Boundary::Constant(7u8).map(f64::from), Boundary::Constant(7.0));
    /// ```
    #[must_use]
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Boundary<U> {
        match self {
            Self::Clamp => Boundary::Clamp,
            Self::Reflect => Boundary::Reflect,
            Self::Mirror => Boundary::Mirror,
            Self::Wrap => Boundary::Wrap,
            Self::Constant(value) => Boundary::Constant(f(value)),
            Self::Shrink => Boundary::Shrink,
        }
    }

    /// The value that a weighted sum reads where [`index`](Self::index) is `None`.
    pub(crate) fn outside(&self) -> T
    where
        T: Default,
    {
        match self {
            Self::Constant(value) => *value,
            _ => T::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns of the table: the elements at the places from `from` to `to`.
    fn spelled(boundary: Boundary<char>, axis: &str, from: isize, to: isize) -> String {
        let axis: Vec<char> = axis.chars().collect();
        let at = |i| boundary.index(i, axis.len()).map_or('.', |i| axis[i]);
        (from..to).map(at).collect()
    }

    #[test]
    fn a_boundary_repeats_the_axis_as_scipy_does() {
        for (boundary, expected) in [
            (Boundary::Clamp, "aaaaabcddddd"),
            (Boundary::Reflect, "dcbaabcddcba"),
            (Boundary::Mirror, "cdcbabcdcbab"),
            (Boundary::Wrap, "abcdabcdabcd"),
            (Boundary::Constant('v'), "....abcd...."),
            (Boundary::Shrink, "....abcd...."),
        ] {
            assert_eq!(spelled(boundary, "abcd", -4, 8), expected, "{boundary:?}");
        }
    }

    #[test]
    fn a_boundary_is_periodic_far_outside() {
        for n in 1..6_usize {
            let cases = [
                (Boundary::<f64>::Reflect, 2 * n),
                (Boundary::Mirror, 2 * n - 2),
                (Boundary::Wrap, n),
            ];
            for (boundary, period) in cases {
                let period = isize::try_from(period.max(1)).unwrap();
                for i in -30..30 {
                    let found = boundary.index(i, n);
                    assert!(found.unwrap() < n);
                    assert_eq!(found, boundary.index(i + 1000 * period, n), "{boundary:?} {i} {n}");
                }
            }
        }
    }

    #[test]
    fn a_boundary_takes_any_place_and_any_length() {
        for boundary in [Boundary::Clamp, Boundary::Reflect, Boundary::Mirror, Boundary::<u8>::Wrap]
        {
            for i in [isize::MIN, -1, 0, 1, isize::MAX] {
                assert_eq!(boundary.index(i, 0), None);
                assert_eq!(boundary.index(i, 1), Some(0));
                assert!(boundary.index(i, usize::MAX).is_some());
            }
        }
        assert_eq!(Boundary::Constant(7).index(-1, 3), None);
        assert_eq!(Boundary::Constant(7).outside(), 7);
        assert_eq!(Boundary::<i32>::Shrink.outside(), 0);
    }
}
