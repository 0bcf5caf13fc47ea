//! Shapes, strides and checked offsets, counted in elements.

use std::fmt;
use std::ops::Index;

/// The largest number of dimensions of an array.
pub const DIMENSIONS_MAX: usize = 32;

/// The extent of an array along each of its dimensions, outermost first, in elements.
///
/// A shape without dimensions has one element. A shape with a zero extent has none.
///
/// # Examples
///
/// ```
/// use brigade::Shape;
/// let shape = Shape::from([2, 3]);
/// assert_eq!((shape.dims(), shape.ndim(), shape[1]), (&[2, 3][..], 2, 3));
/// assert_eq!((shape.len_elements(), shape.size_bytes(8)), (Some(6), Some(48)));
/// assert_eq!(shape.strides(), [3, 1]);
/// assert_eq!(shape.to_string(), "[2, 3]");
/// assert_eq!(shape.offset(&[1, 2]), Some(5));
/// assert_eq!(shape.offset(&[2, 0]), None);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The extents, outermost first.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// The number of dimensions.
    #[must_use]
    pub fn ndim(&self) -> usize {
        self.0.len()
    }

    /// The product of the extents, or `None` if it does not fit into a `usize`.
    ///
    /// A zero extent makes the product zero, however large the others are.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Shape;
    /// assert_eq!(Shape::from([2, 3]).len_elements(), Some(6));
    /// assert_eq!(Shape::from([usize::MAX, 2]).len_elements(), None);
    /// ```
    #[must_use]
    pub fn len_elements(&self) -> Option<usize> {
        if self.0.contains(&0) {
            return Some(0);
        }
        self.0.iter().try_fold(1usize, |len, &extent| len.checked_mul(extent))
    }

    /// The size in bytes for elements of `element_bytes`, or `None` if it exceeds `isize::MAX`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Shape;
    /// assert_eq!(Shape::from([2, 3]).size_bytes(8), Some(48));
    /// assert_eq!(Shape::from([usize::MAX]).size_bytes(8), None);
    /// ```
    #[must_use]
    pub fn size_bytes(&self, element_bytes: usize) -> Option<usize> {
        let bytes = self.len_elements()?.checked_mul(element_bytes)?;
        (isize::try_from(bytes).is_ok()).then_some(bytes)
    }

    /// The row-major position of `index`, or `None` if it has the wrong number of dimensions
    /// or lies outside.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Shape;
    /// let shape = Shape::from([2, 3]);
    /// assert_eq!((shape.offset(&[1, 2]), shape.offset(&[2, 0])), (Some(5), None));
    /// ```
    #[must_use]
    pub fn offset(&self, index: &[usize]) -> Option<usize> {
        if index.len() != self.0.len() {
            return None;
        }
        let mut offset = 0usize;
        for (&position, &extent) in index.iter().zip(&self.0) {
            if position >= extent {
                return None;
            }
            // Cannot overflow: the offset stays below the number of elements.
            offset = offset * extent + position;
        }
        Some(offset)
    }

    /// Row-major strides in elements, outermost first.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Shape;
    /// assert_eq!(Shape::from([2, 3, 4]).strides(), [12, 4, 1]);
    /// ```
    #[must_use]
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1usize; self.0.len()];
        for axis in (0..self.0.len().saturating_sub(1)).rev() {
            strides[axis] = strides[axis + 1].saturating_mul(self.0[axis + 1]);
        }
        strides
    }
}

/// The extent along one dimension.
impl Index<usize> for Shape {
    type Output = usize;

    /// # Panics
    ///
    /// If there is no such dimension.
    fn index(&self, dimension: usize) -> &usize {
        &self.0[dimension]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Shape {
        Shape(dims.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Shape {
        Shape(dims.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Shape {
        Shape(dims)
    }
}

impl From<usize> for Shape {
    fn from(len: usize) -> Shape {
        Shape(vec![len])
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Shape {
        shape.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_without_dimensions_has_one_element() {
        assert_eq!(Shape::from([]).len_elements(), Some(1));
        assert_eq!(Shape::from([]).offset(&[]), Some(0));
    }

    #[test]
    fn a_zero_extent_wins_over_an_overflow() {
        assert_eq!(Shape::from([usize::MAX, 2, 0]).len_elements(), Some(0));
        assert_eq!(Shape::from([usize::MAX, 2]).len_elements(), None);
    }

    #[test]
    fn a_size_above_isize_max_is_refused() {
        assert_eq!(Shape::from([1usize << 62]).size_bytes(2), None);
        assert_eq!(Shape::from([1usize << 61]).size_bytes(2), Some(1 << 62));
    }

    #[test]
    fn offsets_and_strides_agree() {
        let shape = Shape::from([2, 3, 4]);
        assert_eq!(shape.strides(), [12, 4, 1]);
        assert_eq!(shape.offset(&[1, 2, 3]), Some(12 + 8 + 3));
        assert_eq!(shape.offset(&[1, 3, 0]), None);
        assert_eq!(shape.offset(&[1, 2]), None);
    }
}
