//! postcard's encoding within [`Bounds`].

use std::fmt::Display;

use postcard::Serializer;
use postcard::ser_flavors::Flavor;
use serde::ser::{self, Serialize};

use super::bounds::{Bounds, EMPTY_MAX};
use crate::object::transfer;

type Result<R> = postcard::Result<R>;

/// Encodes values one after the other at the end of a buffer.
pub(crate) struct Encoder<'a> {
    inner: Serializer<Appended<'a>>,
    bounds: Bounds,
}

impl<'a> Encoder<'a> {
    #[inline]
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Encoder<'a> {
        Encoder { inner: Serializer { output: Appended(out) }, bounds: Bounds::default() }
    }

    /// Encodes one more value. If that fails, what was written stays in the buffer.
    #[inline]
    pub(crate) fn encode<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
    ) -> std::result::Result<(), String> {
        self.bounds = Bounds::default();
        value.serialize(self).map_err(|error| transfer::explain(&error))
    }

    /// The buffer.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.inner.output.0
    }

    /// Encodes one level deeper.
    #[inline]
    fn inside<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.bounds.enter()?;
        value.serialize(&mut *self)?;
        self.bounds.leave();
        Ok(())
    }

    /// Enters a level for the parts that follow.
    #[inline]
    fn parts(&mut self) -> Result<PartsSerializer<'_, 'a>> {
        self.bounds.enter()?;
        let start = self.buffer().len();
        Ok(PartsSerializer { encoder: self, elements: 0, start })
    }
}

/// The greatest length of an encoded number, in bytes.
const SHORT_BYTES: usize = 10;

/// Appends to a buffer, for the codec.
struct Appended<'a>(&'a mut Vec<u8>);

impl Flavor for Appended<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() > SHORT_BYTES {
            self.0.extend_from_slice(bytes);
            return Ok(());
        }
        // Most writes are one encoded number. This is faster than a call to copy it.
        self.0.extend(bytes.iter().copied());
        Ok(())
    }

    fn finalize(self) -> Result<()> {
        Ok(())
    }
}

/// Methods whose values have no parts.
macro_rules! by_postcard {
    ($($method:ident: $type:ty,)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<()> {
            self.inner.$method(value)
        }
    )*};
}

impl<'b, 'a> ser::Serializer for &'b mut Encoder<'a> {
    type Ok = ();
    type Error = postcard::Error;
    type SerializeSeq = PartsSerializer<'b, 'a>;
    type SerializeTuple = PartsSerializer<'b, 'a>;
    type SerializeTupleStruct = PartsSerializer<'b, 'a>;
    type SerializeTupleVariant = PartsSerializer<'b, 'a>;
    type SerializeMap = PartsSerializer<'b, 'a>;
    type SerializeStruct = PartsSerializer<'b, 'a>;
    type SerializeStructVariant = PartsSerializer<'b, 'a>;

    by_postcard! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
        serialize_unit_struct: &'static str,
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_unit(self) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<()> {
        self.inner.collect_str(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<()> {
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        self.inner.serialize_u8(1)?;
        self.inside(value)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        self.inside(value)
    }

    #[inline]
    fn serialize_unit_variant(self, _: &str, index: u32, _: &str) -> Result<()> {
        // An enum is decoded as a level, so it counts as one.
        self.inner.serialize_u32(index)?;
        self.inside(&())
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        self.inner.serialize_u32(index)?;
        self.inside(value)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<PartsSerializer<'b, 'a>> {
        self.inner.serialize_seq(len)?;
        self.parts()
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<PartsSerializer<'b, 'a>> {
        self.parts()
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &str, _: usize) -> Result<PartsSerializer<'b, 'a>> {
        self.parts()
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &str,
        index: u32,
        _: &str,
        _: usize,
    ) -> Result<PartsSerializer<'b, 'a>> {
        self.inner.serialize_u32(index)?;
        self.parts()
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<PartsSerializer<'b, 'a>> {
        self.inner.serialize_map(len)?;
        self.parts()
    }

    #[inline]
    fn serialize_struct(self, _: &str, _: usize) -> Result<PartsSerializer<'b, 'a>> {
        self.parts()
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &str,
        index: u32,
        _: &str,
        _: usize,
    ) -> Result<PartsSerializer<'b, 'a>> {
        self.inner.serialize_u32(index)?;
        self.parts()
    }
}

/// The parts of a sequence, a map, a struct.
pub(crate) struct PartsSerializer<'b, 'a> {
    encoder: &'b mut Encoder<'a>,
    /// The number of elements so far, if the type does not determine it.
    elements: usize,
    /// Where the parts begin.
    start: usize,
}

impl PartsSerializer<'_, '_> {
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.encoder)
    }

    /// Encodes one of any number of elements.
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.part(value)?;
        self.elements += 1;
        // Checked regularly, because the elements may be endless.
        if self.elements.is_multiple_of(EMPTY_MAX) {
            let bytes = self.bytes();
            self.encoder.bounds.check(self.elements, bytes)?;
        }
        Ok(())
    }

    fn bytes(&mut self) -> usize {
        self.encoder.buffer().len() - self.start
    }

    #[inline]
    fn leave(mut self) -> Result<()> {
        let bytes = self.bytes();
        self.encoder.bounds.count(self.elements, bytes)?;
        self.encoder.bounds.leave();
        Ok(())
    }
}

/// The traits of parts, which differ only in names.
macro_rules! parts {
    ($($trait:ident $method:ident $part:ident,)*) => {$(
        impl ser::$trait for PartsSerializer<'_, '_> {
            type Ok = ();
            type Error = postcard::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.$part(value)
            }

            #[inline]
            fn end(self) -> Result<()> {
                self.leave()
            }
        }
    )*};
}

parts! {
    SerializeSeq serialize_element element,
    SerializeTuple serialize_element part,
    SerializeTupleStruct serialize_field part,
    SerializeTupleVariant serialize_field part,
}

impl ser::SerializeMap for PartsSerializer<'_, '_> {
    type Ok = ();
    type Error = postcard::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.element(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.part(value)
    }

    #[inline]
    fn end(self) -> Result<()> {
        self.leave()
    }
}

impl ser::SerializeStruct for PartsSerializer<'_, '_> {
    type Ok = ();
    type Error = postcard::Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &str, value: &T) -> Result<()> {
        self.part(value)
    }

    #[inline]
    fn end(self) -> Result<()> {
        self.leave()
    }
}

impl ser::SerializeStructVariant for PartsSerializer<'_, '_> {
    type Ok = ();
    type Error = postcard::Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &str, value: &T) -> Result<()> {
        self.part(value)
    }

    #[inline]
    fn end(self) -> Result<()> {
        self.leave()
    }
}
