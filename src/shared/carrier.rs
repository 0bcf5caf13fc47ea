//! What every handle here is: words in an object memory.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::object::transfer::{deserialize_object, noted, serialize_object};
use crate::object::{Kind, Memory, Spec};

/// A primitive's words in the body of an object memory, as one process sees them.
pub(super) trait Words: Sized {
    /// What has to be known to make them.
    type Init;

    const KIND: Kind;

    /// A number that both who makes and who attaches must know.
    fn tag() -> u64 {
        0
    }

    /// Runs of futex words, and bytes of the body.
    ///
    /// # Errors
    ///
    /// Those of arguments out of range.
    fn size(init: &Self::Init) -> Result<(u32, usize)>;

    /// Makes them in a body of that size, which is zero, aligned to 128 bytes, and which nobody
    /// else knows yet.
    ///
    /// # Errors
    ///
    /// Those of the primitive.
    fn make(memory: &Memory, init: Self::Init) -> Result<Self>;

    /// Uses those that another process has made. Everything read is checked against the size of
    /// the body.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if they do not fit.
    fn attach(memory: &Memory) -> Result<Self>;
}

/// Words, and the memory in which they lie.
#[derive(Debug, Clone)]
pub(super) struct Carrier<W> {
    words: W,
    memory: Memory,
}

impl<W: Words> Carrier<W> {
    /// Makes new ones, without a name.
    pub(super) fn create(init: W::Init) -> Result<Carrier<W>> {
        let spec = Self::spec(&init)?;
        let (words, memory) = Memory::create(&spec, |memory| W::make(memory, init))?;
        Ok(Carrier { words, memory })
    }

    /// Makes new ones under a name.
    pub(super) fn create_named(name: &str, init: W::Init) -> Result<Carrier<W>> {
        let spec = Self::spec(&init)?;
        let (words, memory) = Memory::create_named(name, &spec, |memory| W::make(memory, init))?;
        Ok(Carrier { words, memory })
    }

    /// Those under a name.
    pub(super) fn open(name: &str) -> Result<Carrier<W>> {
        let (words, memory) = Memory::open_named(name, W::KIND, W::tag(), W::attach)?;
        Ok(Carrier { words, memory })
    }

    /// Those under a name, or new ones.
    pub(super) fn create_or_open(name: &str, init: W::Init) -> Result<Carrier<W>>
    where
        W::Init: Clone,
    {
        let spec = Self::spec(&init)?;
        let make = |memory: &Memory| W::make(memory, init.clone());
        let (words, memory) = Memory::create_or_open_named(name, &spec, make, W::attach)?;
        Ok(Carrier { words, memory })
    }

    fn spec(init: &W::Init) -> Result<Spec> {
        let (entries, body_bytes) = W::size(init)?;
        Ok(Spec { kind: W::KIND, tag: W::tag(), entries, body_bytes })
    }

    /// Those in a memory of their kind that was opened.
    pub(super) fn over(memory: Memory) -> Result<Carrier<W>> {
        Ok(Carrier { words: W::attach(&memory)?, memory })
    }

    /// The words. To be asked at the beginning of each operation.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a child that was forked by hand.
    #[inline]
    pub(super) fn words(&self) -> Result<&W> {
        self.memory.check()?;
        Ok(&self.words)
    }

    /// Whether [`words`](Carrier::words) would give them.
    #[inline]
    pub(super) fn is_ours(&self) -> bool {
        self.memory.check().is_ok()
    }

    /// The words, for a guard and its maker, who has asked whether they are
    /// [ours](Carrier::is_ours).
    #[inline]
    pub(super) fn words_held(&self) -> &W {
        &self.words
    }

    #[inline]
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl<W: Words> Serialize for Carrier<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serialize_object(&self.memory, serializer)
    }
}

impl<'de, W: Words> Deserialize<'de> for Carrier<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let memory = deserialize_object(deserializer, W::KIND, W::tag())?;
        Carrier::over(memory).map_err(|error| serde::de::Error::custom(noted(error.to_string())))
    }
}

/// An error unless a body has `bytes` bytes: what another build makes of the same name is refused.
pub(super) fn check_body(memory: &Memory, bytes: usize) -> Result<()> {
    match memory.body() {
        (_, body_bytes) if body_bytes == bytes => Ok(()),
        (_, body_bytes) => Err(spoilt(memory, format!("a body of {body_bytes} bytes"), bytes)),
    }
}

/// What is in a body is not what it should be.
pub(super) fn spoilt(memory: &Memory, found: String, expected_bytes: usize) -> Error {
    let place = memory.name().unwrap_or("object memory").to_owned();
    let expected = format!("{} of {expected_bytes} bytes", memory.kind().with_article());
    Error::Layout { place, found, expected }
}
