//! Making and opening named arrays.

use crate::array::array_ref::checked_size;
use crate::array::element::{Element, check_header, dtype_of};
use crate::array::named_array::NamedArray;
use crate::array::shared_array::SharedArray;
use crate::error::{Error, Result};
use crate::region::Dtype;
use crate::region::name::Name;
use crate::region::named_region::NamedRegion;
use crate::region::npy::NpyHeader;
use crate::shape::Shape;

impl<T: Element> SharedArray<T> {
    /// Makes an array of zeros under a name in `/dev/shm`, with mode 600.
    ///
    /// The name appears when the array is complete. The last program to drop its handle removes
    /// the name.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::NameTaken`], unless it was left by a program that died;
    /// [`Error::NoSpace`] if memory or `/dev/shm` has no room; [`Error::InvalidArgument`] if the
    /// shape overflows.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, SharedArray};
    /// let name = format!("doc-create-{}", std::process::id());
    /// let mut array = SharedArray::<u16>::create(&name, [3])?;
    /// array.set([2], 7)?;
    /// assert!(matches!(SharedArray::<u16>::create(&name, [3]), Err(Error::NameTaken { .. })));
    /// let opened = SharedArray::<u16>::open(&name)?;
    /// drop(array);
    /// assert_eq!(SharedArray::<u16>::open(&name)?.copy_to_vec(), [0, 0, 7]);
    /// drop(opened);
    /// assert!(matches!(SharedArray::<u16>::open(&name), Err(Error::NotFound { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn create(name: &str, shape: impl Into<Shape>) -> Result<NamedArray<T>> {
        let (name, shape) = (Name::new(name)?, shape.into());
        let (_, bytes) = checked_size::<T>(&shape)?;
        let (region, header) = NamedRegion::create(name, dtype_of::<T>(), &shape, bytes)?;
        NamedArray::new(region, header)
    }

    /// Opens an array that this or another program made under a name.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::NotFound`]; [`Error::Layout`] if it belongs to another user, is
    /// not private, is not a `.npy` file, has another dtype, is not row-major, or is in the other
    /// byte order; [`Error::Os`] if this user may not open it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, SharedArray};
    /// let name = format!("doc-open-{}", std::process::id());
    /// assert!(matches!(SharedArray::<u16>::open(&name), Err(Error::NotFound { .. })));
    /// let array = SharedArray::<u16>::create(&name, [3])?;
    /// assert_eq!(SharedArray::<u16>::open(&name)?.shape().dims(), [3]);
    /// assert!(matches!(SharedArray::<f64>::open(&name), Err(Error::Layout { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn open(name: &str) -> Result<NamedArray<T>> {
        let (region, header) = NamedRegion::attach(Name::new(name)?)?;
        NamedArray::new(region, header)
    }

    /// Opens the array of this name, or makes one of zeros. If several programs call this at once,
    /// one of them [makes](NamedArray::is_creator) it.
    ///
    /// An array left by a program that died is replaced, not opened.
    ///
    /// # Errors
    ///
    /// As [`create`](SharedArray::create), except [`Error::NameTaken`], and as
    /// [`open`](SharedArray::open); [`Error::Layout`] also if there is an array of another shape.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, SharedArray};
    /// let name = format!("doc-either-{}", std::process::id());
    /// let first = SharedArray::<f32>::create_or_open(&name, [2, 2])?;
    /// let second = SharedArray::<f32>::create_or_open(&name, [2, 2])?;
    /// assert!(first.is_creator() && !second.is_creator());
    /// let larger = SharedArray::<f32>::create_or_open(&name, [4, 4]);
    /// assert!(matches!(larger, Err(Error::Layout { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn create_or_open(name: &str, shape: impl Into<Shape>) -> Result<NamedArray<T>> {
        let (name, shape) = (Name::new(name)?, shape.into());
        let (_, bytes) = checked_size::<T>(&shape)?;
        let dtype = dtype_of::<T>();
        let (region, header) = NamedRegion::create_or_attach(&name, dtype, &shape, bytes)?;
        let array = NamedArray::new(region, header)?;
        if *array.shape() != shape {
            let (found, expected) = (format!("shape {}", array.shape()), format!("shape {shape}"));
            return Err(Error::Layout { place: name.to_string(), found, expected });
        }
        Ok(array)
    }

    /// As [`create`](SharedArray::create), but the name is removed with this handle, even if others
    /// then have the array open.
    ///
    /// # Errors
    ///
    /// As [`create`](SharedArray::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, SharedArray};
    /// let name = format!("doc-creators-{}", std::process::id());
    /// let array = SharedArray::<u8>::named(&name, [3])?;
    /// let opened = SharedArray::<u8>::open(&name)?;
    /// drop(array);
    /// assert_eq!(opened.len(), 3);
    /// assert!(matches!(SharedArray::<u8>::open(&name), Err(Error::NotFound { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn named(name: &str, shape: impl Into<Shape>) -> Result<NamedArray<T>> {
        let array = SharedArray::create(name, shape)?;
        array.region.remove_with_creator();
        Ok(array)
    }

    /// Opens elements in a file under `/dev/shm` that has no header, for example the memory of
    /// Python's `SharedMemory`.
    ///
    /// `dtype` is the type of the elements according to the other program, `shape` their extents,
    /// and `offset_bytes` the position of the first one. Dropping the handle does not remove the
    /// name. The other program may not have reserved the memory of the file (Python does not): if
    /// `/dev/shm` is full when an element is first accessed, the kernel sends SIGBUS.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::NotFound`]; [`Error::InvalidArgument`] if the shape overflows;
    /// [`Error::Layout`] if it belongs to another user, is not private, is too small for the shape,
    /// if `offset_bytes` is not a multiple of the elements' alignment, or `dtype` is not that of
    /// `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Dtype, Error, SharedArray};
    /// let name = format!("doc-raw-{}", std::process::id());
    /// let mut whole = SharedArray::<f64>::create(&name, [4])?;
    /// whole.copy_from_slice(&[1.0, 2.0, 3.0, 4.0])?;
    /// // It does have a header, of 4096 bytes; this skips it, and the first element.
    /// let raw = SharedArray::<f64>::attach_raw(&name, Dtype::F64, [3], 4096 + 8)?;
    /// assert_eq!(raw.copy_to_vec(), [2.0, 3.0, 4.0]);
    /// let beyond = SharedArray::<f64>::attach_raw(&name, Dtype::F64, [4], 4096 + 8);
    /// assert!(matches!(beyond, Err(Error::Layout { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn attach_raw(
        name: &str,
        dtype: Dtype,
        shape: impl Into<Shape>,
        offset_bytes: usize,
    ) -> Result<NamedArray<T>> {
        let (name, shape) = (Name::new(name)?, shape.into());
        let (_, data_bytes) = checked_size::<T>(&shape)?;
        let end = offset_bytes.checked_add(data_bytes).filter(|&end| isize::try_from(end).is_ok());
        let Some(end_bytes) = end else {
            let value = format!("{offset_bytes} bytes before shape {shape}");
            return Err(Error::invalid("the offset", value, "at most isize::MAX bytes in all"));
        };
        if !offset_bytes.is_multiple_of(align_of::<T>()) {
            let found = format!("elements at byte {offset_bytes}");
            let expected = format!("a multiple of {}", align_of::<T>());
            return Err(Error::Layout { place: name.to_string(), found, expected });
        }
        let data_offset = offset_bytes;
        let (is_native, is_fortran) = (true, false);
        let header = NpyHeader { dtype, is_native, is_fortran, shape, data_offset, data_bytes };
        check_header::<T>(&header, name.as_str())?;
        Ok(NamedArray::of(NamedRegion::attach_raw(name, end_bytes)?, header))
    }
}
