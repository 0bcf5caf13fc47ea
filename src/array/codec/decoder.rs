//! postcard's decoding within [`Bounds`].

use postcard::Deserializer;
use postcard::de_flavors::Slice;
use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer, Visitor};

use super::bounds::Bounds;

type Result<R> = postcard::Result<R>;

/// Decodes postcard's encoding: values with parts by itself, all others by postcard.
pub(super) struct Decoder<'de> {
    rest: &'de [u8],
    bounds: Bounds,
}

impl<'de> Decoder<'de> {
    #[inline]
    pub(super) fn new(bytes: &'de [u8]) -> Decoder<'de> {
        Decoder { rest: bytes, bounds: Bounds::default() }
    }

    /// Decodes one more value, with its own bounds.
    #[inline]
    pub(super) fn decode<T: Deserialize<'de>>(&mut self) -> Result<T> {
        self.bounds = Bounds::default();
        T::deserialize(self)
    }

    /// The bytes that are not decoded yet.
    #[inline]
    pub(super) fn rest(&self) -> &'de [u8] {
        self.rest
    }

    /// Reads a value that has no parts.
    #[inline]
    fn read<R>(
        &mut self,
        read: impl FnOnce(&mut Deserializer<'de, Slice<'de>>) -> Result<R>,
    ) -> Result<R> {
        let mut inner = Deserializer::from_bytes(self.rest);
        let value = read(&mut inner)?;
        self.rest = inner.finalize()?;
        Ok(value)
    }

    #[inline]
    fn within<R>(&mut self, body: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        self.bounds.enter()?;
        let result = body(self);
        self.bounds.leave();
        result
    }

    /// Reads parts whose number the type determines.
    #[inline]
    fn parts<V: Visitor<'de>>(&mut self, left: usize, visitor: V) -> Result<V::Value> {
        visitor.visit_seq(PartsAccess { decoder: self, left })
    }

    /// Reads elements whose number is encoded.
    #[inline]
    fn elements<R>(&mut self, visit: impl FnOnce(PartsAccess<'_, 'de>) -> Result<R>) -> Result<R> {
        let left = self.read(|inner| usize::deserialize(inner))?;
        let before = self.rest.len();
        self.bounds.check(left, before)?;
        let value = self.within(|decoder| visit(PartsAccess { decoder, left }))?;
        self.bounds.count(left, before - self.rest.len())?;
        Ok(value)
    }
}

/// The parts of a struct, the elements of a sequence, or the entries of a map.
struct PartsAccess<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl PartsAccess<'_, '_> {
    /// At most the number of bytes, because memory is reserved for that many elements.
    #[inline]
    fn hint(&self) -> usize {
        self.left.min(self.decoder.rest.len())
    }
}

impl<'de> de::SeqAccess<'de> for PartsAccess<'_, 'de> {
    type Error = postcard::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> de::MapAccess<'de> for PartsAccess<'_, 'de> {
    type Error = postcard::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        seed.deserialize(&mut *self.decoder)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

/// Methods whose values have no parts.
macro_rules! by_postcard {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.read(|inner| inner.$method(visitor))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = postcard::Error;

    by_postcard! {
        deserialize_any deserialize_bool
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_identifier deserialize_ignored_any
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.read(|inner| u8::deserialize(inner))? {
            0 => visitor.visit_none(),
            1 => self.within(|decoder| visitor.visit_some(decoder)),
            _ => Err(postcard::Error::DeserializeBadOption),
        }
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value> {
        self.within(|decoder| visitor.visit_newtype_struct(decoder))
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.elements(|elements| visitor.visit_seq(elements))
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.within(|decoder| decoder.parts(len, visitor))
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.elements(|entries| visitor.visit_map(entries))
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &str,
        fields: &[&str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &str,
        _: &[&str],
        visitor: V,
    ) -> Result<V::Value> {
        self.within(|decoder| visitor.visit_enum(decoder))
    }
}

impl<'de> de::EnumAccess<'de> for &mut Decoder<'de> {
    type Error = postcard::Error;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let variant = self.read(|inner| u32::deserialize(inner))?;
        Ok((seed.deserialize(variant.into_deserializer())?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Decoder<'de> {
    type Error = postcard::Error;

    #[inline]
    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.parts(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, fields: &[&str], visitor: V) -> Result<V::Value> {
        self.parts(fields.len(), visitor)
    }
}
