//! The element types that both NumPy and this crate have.

use std::fmt;

/// The type of an array's elements, in NumPy's terms.
///
/// # Examples
///
/// ```
/// use brigade::{Dtype, Element};
/// assert_eq!(f64::DTYPE.to_string(), "<f8");
/// assert_eq!(u8::DTYPE.to_string(), "|u1");
/// assert_eq!(Dtype::COMPLEX64.size_bytes(), 8);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dtype {
    kind: u8,
    size_bytes: u8,
    /// The unit of the byte order: half a complex number, else the whole element.
    unit_bytes: u8,
}

impl Dtype {
    /// `f32`.
    pub const F32: Dtype = Dtype::new(b'f', 4, 4);
    /// `f64`.
    pub const F64: Dtype = Dtype::new(b'f', 8, 8);
    /// `i8`.
    pub const I8: Dtype = Dtype::new(b'i', 1, 1);
    /// `i16`.
    pub const I16: Dtype = Dtype::new(b'i', 2, 2);
    /// `i32`.
    pub const I32: Dtype = Dtype::new(b'i', 4, 4);
    /// `i64`.
    pub const I64: Dtype = Dtype::new(b'i', 8, 8);
    /// `u8`.
    pub const U8: Dtype = Dtype::new(b'u', 1, 1);
    /// `u16`.
    pub const U16: Dtype = Dtype::new(b'u', 2, 2);
    /// `u32`.
    pub const U32: Dtype = Dtype::new(b'u', 4, 4);
    /// `u64`.
    pub const U64: Dtype = Dtype::new(b'u', 8, 8);
    /// `Complex<f32>`, real part first.
    pub const COMPLEX64: Dtype = Dtype::new(b'c', 8, 4);
    /// `Complex<f64>`, real part first.
    pub const COMPLEX128: Dtype = Dtype::new(b'c', 16, 8);

    const fn new(kind: u8, size_bytes: u8, unit_bytes: u8) -> Dtype {
        Dtype { kind, size_bytes, unit_bytes }
    }

    /// The size of one element, in bytes.
    #[must_use]
    pub const fn size_bytes(self) -> usize {
        self.size_bytes as usize
    }

    /// The size in bytes of the part of an element that is reversed in the other byte order.
    pub(crate) const fn unit_bytes(self) -> usize {
        self.unit_bytes as usize
    }

    /// Parses a dtype; the flag tells whether it is in this machine's byte order.
    pub(crate) fn parse(text: &str) -> Option<(Dtype, bool)> {
        let all = [
            Dtype::F32,
            Dtype::F64,
            Dtype::I8,
            Dtype::I16,
            Dtype::I32,
            Dtype::I64,
            Dtype::U8,
            Dtype::U16,
            Dtype::U32,
            Dtype::U64,
            Dtype::COMPLEX64,
            Dtype::COMPLEX128,
        ];
        let (&order, rest) = text.as_bytes().split_first()?;
        let dtype = all.into_iter().find(|dtype| dtype.code().as_bytes() == rest)?;
        let native = match order {
            b'=' => true,
            b'|' if dtype.unit_bytes == 1 => true,
            b'<' => dtype.unit_bytes == 1 || cfg!(target_endian = "little"),
            b'>' => dtype.unit_bytes == 1 || cfg!(target_endian = "big"),
            _ => return None,
        };
        Some((dtype, native))
    }

    /// The Rust type of one element.
    pub(crate) fn rust_name(self) -> String {
        let bits = 8 * u32::from(self.unit_bytes);
        match self.kind {
            b'c' => format!("Complex<f{bits}>"),
            kind => format!("{}{bits}", char::from(kind)),
        }
    }

    /// What to save in NumPy instead of an array `a` of dtype `text`, which this crate lacks.
    pub(crate) fn instead_of(text: &str) -> &'static str {
        let code = text.trim_start_matches(['<', '>', '|', '=']);
        match code.split_at_checked(1).map_or(("", ""), |parts| parts) {
            ("b", _) => "a.view('u1')",
            ("f", "2") => "a.astype('f4')",
            ("f", _) => "a.astype('f8')",
            ("c", _) => "a.astype('c16')",
            ("M" | "m", _) => "a.view('i8')",
            ("U", _) => "a.view('u4'), a number for each character",
            ("S" | "a" | "V", _) => "a.view('u1'), its bytes",
            ("O", _) => "a.astype('f8'), if its objects are numbers",
            _ => "an array of one of these",
        }
    }

    fn code(self) -> String {
        format!("{}{}", char::from(self.kind), self.size_bytes)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.unit_bytes {
            1 => '|',
            _ if cfg!(target_endian = "big") => '>',
            _ => '<',
        };
        write!(f, "{order}{}", self.code())
    }
}
