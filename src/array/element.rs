//! Element types that files and other programs understand.

use bytemuck::Pod;

use crate::region::Dtype;

/// A type of element with a NumPy dtype: what can be stored in files and named regions.
///
/// Arrays in the arena take any [`Pod`] type; names and files need one of these.
///
/// # Examples
///
/// A type of your own that has the layout of one of them:
///
/// ```
/// use brigade::{Dtype, Element};
///
/// #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
/// #[repr(transparent)]
/// struct Metres(f64);
///
/// impl Element for Metres {
///     const DTYPE: Dtype = Dtype::F64;
/// }
/// assert_eq!(Metres::DTYPE.to_string(), "<f8");
/// ```
pub trait Element: Pod + Send + Sync {
    /// What NumPy calls it. Its size must be that of the type: another does not compile.
    const DTYPE: Dtype;
}

/// The dtype of `T`, after a check at compile time that it has the size of `T`.
pub(crate) fn dtype_of<T: Element>() -> Dtype {
    const {
        assert!(size_of::<T>() == T::DTYPE.size_bytes(), "Element::DTYPE has another size");
    }
    T::DTYPE
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;
}
impl Element for f64 {
    const DTYPE: Dtype = Dtype::F64;
}
impl Element for i8 {
    const DTYPE: Dtype = Dtype::I8;
}
impl Element for i16 {
    const DTYPE: Dtype = Dtype::I16;
}
impl Element for i32 {
    const DTYPE: Dtype = Dtype::I32;
}
impl Element for i64 {
    const DTYPE: Dtype = Dtype::I64;
}
impl Element for u8 {
    const DTYPE: Dtype = Dtype::U8;
}
impl Element for u16 {
    const DTYPE: Dtype = Dtype::U16;
}
impl Element for u32 {
    const DTYPE: Dtype = Dtype::U32;
}
impl Element for u64 {
    const DTYPE: Dtype = Dtype::U64;
}
/// A complex number, real part first.
impl Element for [f32; 2] {
    const DTYPE: Dtype = Dtype::COMPLEX64;
}
/// A complex number, real part first.
impl Element for [f64; 2] {
    const DTYPE: Dtype = Dtype::COMPLEX128;
}
