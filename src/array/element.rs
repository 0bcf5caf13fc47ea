//! Element types that files and other programs understand.

use bytemuck::Pod;
use num_complex::Complex;

use crate::error::{Error, Result};
use crate::region::Dtype;
use crate::region::npy::NpyHeader;

/// An element type with a NumPy dtype, which can be stored in files and named regions.
///
/// Implemented for the integers and floats of 1 to 8 bytes, and for complex numbers: `Complex<f32>`
/// and `Complex<f64>`, or `[f32; 2]` and `[f64; 2]` with the real part first. Arrays in the arena
/// may have elements of any [`Pod`] type; named regions and files need one of these.
///
/// # Examples
///
/// A user-defined type with the layout of one of them:
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an element type of files and named arrays",
    label = "not an integer or a float of 1 to 8 bytes, or a complex number of two of them",
    note = "implement `brigade::Element` for a type with the layout of one; `u8` instead of `bool`"
)]
pub trait Element: Pod + Send + Sync {
    /// NumPy's name of the type. Its size must be that of the type; another size does not compile.
    const DTYPE: Dtype;
}

/// The dtype of `T`, after a check at compile time that it has the size of `T`.
pub(crate) fn dtype_of<T: Element>() -> Dtype {
    const {
        assert!(size_of::<T>() == T::DTYPE.size_bytes(), "Element::DTYPE has another size");
    }
    T::DTYPE
}

/// Checks that elements are of type `T`.
pub(crate) fn check_dtype<T: Element>(found: Dtype, place: &str) -> Result<()> {
    let wanted = dtype_of::<T>();
    if found == wanted {
        return Ok(());
    }
    let other = found.rust_name();
    let expected = format!(
        "dtype {wanted} (use SharedArray::<{other}>, or in NumPy save a.astype('{wanted}'))"
    );
    Err(Error::Layout { place: place.to_owned(), found: format!("dtype {found}"), expected })
}

/// Checks that the elements can be used in place: dtype, byte order, index order, alignment.
pub(crate) fn check_header<T: Element>(header: &NpyHeader, place: &str) -> Result<()> {
    let wrong = |found: String, expected: String| {
        Err(Error::Layout { place: place.to_owned(), found, expected })
    };
    check_dtype::<T>(header.dtype, place)?;
    let copy = "(or read a copy with from_npy)";
    if !header.is_native {
        return wrong("the other byte order".to_owned(), format!("this machine's {copy}"));
    }
    if header.is_fortran && header.shape.ndim() > 1 {
        return wrong("Fortran order".to_owned(), format!("row-major order {copy}"));
    }
    if !header.data_offset.is_multiple_of(align_of::<T>()) {
        let found = format!("elements at byte {}", header.data_offset);
        return wrong(found, format!("a multiple of {} {copy}", align_of::<T>()));
    }
    Ok(())
}

// A macro, because the implementations differ only in two names.
macro_rules! element {
    ($($element:ty = $dtype:ident),+ $(,)?) => {
        $(impl Element for $element {
            const DTYPE: Dtype = Dtype::$dtype;
        })+
    };
}
element! {
    f32 = F32,
    f64 = F64,
    i8 = I8,
    i16 = I16,
    i32 = I32,
    i64 = I64,
    u8 = U8,
    u16 = U16,
    u32 = U32,
    u64 = U64,
    Complex<f32> = COMPLEX64,
    Complex<f64> = COMPLEX128,
    [f32; 2] = COMPLEX64,
    [f64; 2] = COMPLEX128,
}
