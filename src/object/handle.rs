//! The handle of a shared object, written once for every primitive.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::transfer::{deserialize_object, noted, serialize_object};
use super::{Kind, Memory, Spec};
use crate::error::{Error, Result};

/// A kind of shared object: its words in the body of an object memory, as one process sees them.
///
/// A value of the type holds pointers into the body, and keeps nothing alive: the [`ObjectHandle`]
/// around it keeps the memory.
pub(crate) trait Primitive: Sized {
    /// The settings of a new one.
    type Init;

    /// The primitive's kind, for the header.
    const KIND: Kind;

    /// A number that both creator and opener must know, for example of the type of a value.
    fn tag() -> u64 {
        0
    }

    /// The number of directory entries that the primitive needs, and the size of its body in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `init` is out of range.
    fn size(init: &Self::Init) -> Result<(u32, usize)>;

    /// Makes the words in a body of that size. The body is zero, aligned to 128 bytes, and has no
    /// other user. Called again if another program creates the same name first.
    ///
    /// # Errors
    ///
    /// Those of the primitive.
    fn make(memory: &Memory, init: &Self::Init) -> Result<Self>;

    /// Uses the words that another process made. All values are checked against the size of the
    /// body.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if the words do not fit.
    fn attach(memory: &Memory) -> Result<Self>;
}

/// A handle of a shared object: the primitive's view of its words, and their memory.
///
/// Clones refer to the same object. In a forked child, a handle is inert:
/// [`get`](ObjectHandle::get) is an error, and dropping it changes nothing.
#[derive(Debug, Clone)]
pub(crate) struct ObjectHandle<P> {
    primitive: P,
    memory: Memory,
}

impl<P: Primitive> ObjectHandle<P> {
    /// Makes an object without a name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::Os`], and those of [`Primitive::make`].
    pub(crate) fn new(init: &P::Init) -> Result<ObjectHandle<P>> {
        let (primitive, memory) =
            Memory::create(&spec::<P>(init)?, |memory| P::make(memory, init))?;
        Ok(ObjectHandle { primitive, memory })
    }

    /// Makes an object under a name that is free.
    ///
    /// # Errors
    ///
    /// As [`new`](ObjectHandle::new); [`Error::BadName`], [`Error::NameTaken`].
    pub(crate) fn create(name: &str, init: &P::Init) -> Result<ObjectHandle<P>> {
        let make = |memory: &Memory| P::make(memory, init);
        let (primitive, memory) = Memory::create_named(name, &spec::<P>(init)?, make)?;
        Ok(ObjectHandle { primitive, memory })
    }

    /// Opens the object of this name.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::NotFound`]; [`Error::Layout`] if it is not such an object;
    /// [`Error::PidNamespace`]; [`Error::Full`] if too many processes use it; [`Error::Os`].
    pub(crate) fn open(name: &str) -> Result<ObjectHandle<P>> {
        let (primitive, memory) = Memory::open_named(name, P::KIND, P::tag(), P::attach)?;
        Ok(ObjectHandle { primitive, memory })
    }

    /// Opens the object of this name, or makes it.
    ///
    /// # Errors
    ///
    /// As [`create`](ObjectHandle::create) and [`open`](ObjectHandle::open).
    pub(crate) fn create_or_open(name: &str, init: &P::Init) -> Result<ObjectHandle<P>> {
        let make = |memory: &Memory| P::make(memory, init);
        let (primitive, memory) =
            Memory::create_or_open_named(name, &spec::<P>(init)?, make, P::attach)?;
        Ok(ObjectHandle { primitive, memory })
    }

    /// A handle of an object in `memory`.
    pub(crate) fn over(primitive: P, memory: Memory) -> ObjectHandle<P> {
        ObjectHandle { primitive, memory }
    }

    /// A handle of the object in an opened memory of its kind.
    ///
    /// # Errors
    ///
    /// As [`Primitive::attach`].
    pub(crate) fn attach(memory: Memory) -> Result<ObjectHandle<P>> {
        Ok(ObjectHandle { primitive: P::attach(&memory)?, memory })
    }

    /// The primitive. Each operation begins with this.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a child that was forked by hand.
    #[inline]
    pub(crate) fn get(&self) -> Result<&P> {
        self.memory.check()?;
        Ok(&self.primitive)
    }

    /// Whether [`get`](ObjectHandle::get) succeeds.
    #[inline]
    pub(crate) fn is_usable(&self) -> bool {
        self.memory.check().is_ok()
    }

    /// The primitive without the check, for callers that know the answer of
    /// [`is_usable`](ObjectHandle::is_usable): guards, and the code that makes them.
    #[inline]
    pub(crate) fn primitive(&self) -> &P {
        &self.primitive
    }

    #[inline]
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }
}

fn spec<P: Primitive>(init: &P::Init) -> Result<Spec> {
    let (entries, body_bytes) = P::size(init)?;
    Ok(Spec { kind: P::KIND, tag: P::tag(), entries, body_bytes })
}

impl<P: Primitive> Serialize for ObjectHandle<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serialize_object(&self.memory, serializer)
    }
}

impl<'de, P: Primitive> Deserialize<'de> for ObjectHandle<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let memory = deserialize_object(deserializer, P::KIND, P::tag())?;
        ObjectHandle::attach(memory)
            .map_err(|error| serde::de::Error::custom(noted(error.to_string())))
    }
}

/// Checks that a body has `bytes` bytes: another build may make another body under the name.
///
/// # Errors
///
/// [`Error::Layout`].
pub(crate) fn check_body(memory: &Memory, bytes: usize) -> Result<()> {
    match memory.body() {
        (_, body_bytes) if body_bytes == bytes => Ok(()),
        (_, body_bytes) => Err(body_error(memory, format!("a body of {body_bytes} bytes"), bytes)),
    }
}

/// The error for a body with other contents than expected.
pub(crate) fn body_error(memory: &Memory, found: String, expected_bytes: usize) -> Error {
    let place = memory.name().unwrap_or("a shared object").to_owned();
    let expected = format!("{} of {expected_bytes} bytes", memory.kind().with_article());
    Error::Layout { place, found, expected }
}

/// Gives the public type of a shared object its functions for names: `create`, `open`,
/// `create_or_open`, `name`, `unlink` and `keep`, with documentation and examples.
///
/// The type is a tuple struct whose first field is an [`ObjectHandle`]. The arguments of `create`
/// after the name follow it, and the [`Primitive::Init`] made of them. The four strings after
/// `example` are for the documentation: the type's public module, its name, its generic arguments
/// in an expression, and the arguments of `create`.
///
/// A macro, because the public types are distinct types: so documentation and compiler messages
/// name `Event` and not `ObjectHandle<RawEvent>`. An alias of a generic type would also make the
/// primitives public, and `create` could not have one argument here and two there. A public trait
/// would have to be imported by every user.
macro_rules! named_object {
    (
        impl [$($generics:tt)*] $type:ty {
            create($($arg:ident: $kind:ty),*) = $init:expr;
            example $module:literal $name:literal $of:literal $args:literal;
        }
    ) => {
        /// # Objects with a name
        ///
        /// For programs that share nothing else.
        impl<$($generics)*> $type {
            /// Makes the object under a name in `/dev/shm`, for programs of this user that know
            /// the name and the type.
            ///
            /// No program sees the name before the object is complete. The last program to drop
            /// its handle removes the name, unless it was [kept](Self::keep). If a program dies,
            /// the others notice it as they do anywhere else: a waiter checks every 50 ms.
            ///
            /// # Errors
            ///
            /// [`BadName`](crate::Error::BadName); [`NameTaken`](crate::Error::NameTaken), unless
            /// the name was left by programs that died; [`NoSpace`](crate::Error::NoSpace);
            /// [`InvalidArgument`](crate::Error::InvalidArgument) for arguments out of range;
            /// [`Os`](crate::Error::Os).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use ", $module, "::", $name, ";")]
            #[doc = concat!("let name = format!(\"doc-", $name, "-1-{}\", std::process::id());")]
            #[doc = concat!("let ours = ", $name, $of, "::create(&name", $args, ")?;")]
            /// assert_eq!(ours.name(), Some(&*name));
            #[doc = concat!("assert!(", $name, $of, "::create(&name", $args, ").is_err());")]
            /// # Ok::<(), brigade::Error>(())
            /// ```
            pub fn create(name: &str, $($arg: $kind),*) -> $crate::error::Result<Self> {
                $crate::object::ObjectHandle::create(name, &$init).map(Self)
            }

            /// Opens the object of this name.
            ///
            /// # Errors
            ///
            /// [`BadName`](crate::Error::BadName); [`NotFound`](crate::Error::NotFound);
            /// [`Layout`](crate::Error::Layout) if it is another user's, not private, another kind
            /// of object, one of another type, or damaged;
            /// [`PidNamespace`](crate::Error::PidNamespace) if its processes cannot be seen from
            /// here; [`Full`](crate::Error::Full) if too many processes use it;
            /// [`Os`](crate::Error::Os).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use ", $module, "::", $name, ";")]
            #[doc = concat!("let name = format!(\"doc-", $name, "-2-{}\", std::process::id());")]
            #[doc = concat!("let ours = ", $name, $of, "::create(&name", $args, ")?;")]
            /// // In another program:
            #[doc = concat!("let theirs = ", $name, $of, "::open(&name)?;")]
            /// assert_eq!(theirs.name(), ours.name());
            /// # Ok::<(), brigade::Error>(())
            /// ```
            pub fn open(name: &str) -> $crate::error::Result<Self> {
                $crate::object::ObjectHandle::open(name).map(Self)
            }

            /// Opens the object of this name, as it is, or makes it.
            ///
            /// If many programs call this at once, one of them makes the object. An object that
            /// was left by programs that died is replaced, not opened.
            ///
            /// # Errors
            ///
            /// As [`create`](Self::create), except `NameTaken`, and as [`open`](Self::open).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use ", $module, "::", $name, ";")]
            #[doc = concat!("let name = format!(\"doc-", $name, "-3-{}\", std::process::id());")]
            #[doc = concat!("let first = ", $name, $of, "::create_or_open(&name", $args, ")?;")]
            #[doc = concat!("let second = ", $name, $of, "::create_or_open(&name", $args, ")?;")]
            /// assert_eq!(second.name(), first.name());
            /// # Ok::<(), brigade::Error>(())
            /// ```
            pub fn create_or_open(
                name: &str,
                $($arg: $kind),*
            ) -> $crate::error::Result<Self> {
                $crate::object::ObjectHandle::create_or_open(name, &$init).map(Self)
            }

            /// The name, without `/dev/shm/`. `None` for an object without a name.
            #[must_use]
            pub fn name(&self) -> Option<&str> {
                self.0.memory().name()
            }

            /// Removes the name. Programs that have a handle can still use the object.
            ///
            /// # Errors
            ///
            /// [`NotFound`](crate::Error::NotFound) if the object has no name, or if the name
            /// belongs to something else by now.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use ", $module, "::", $name, ";")]
            #[doc = concat!("let name = format!(\"doc-", $name, "-4-{}\", std::process::id());")]
            #[doc = concat!("let ours = ", $name, $of, "::create(&name", $args, ")?;")]
            /// ours.unlink()?;
            #[doc = concat!("assert!(", $name, $of, "::open(&name).is_err());")]
            /// # Ok::<(), brigade::Error>(())
            /// ```
            pub fn unlink(&self) -> $crate::error::Result<()> {
                self.0.memory().unlink()
            }

            /// Lets the name, and the object with its contents, outlive all handles, until it is
            /// unlinked.
            ///
            /// # Errors
            ///
            /// [`NotFound`](crate::Error::NotFound) if the object has no name;
            /// [`Os`](crate::Error::Os).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use ", $module, "::", $name, ";")]
            #[doc = concat!("let name = format!(\"doc-", $name, "-5-{}\", std::process::id());")]
            #[doc = concat!($name, $of, "::create(&name", $args, ")?.keep()?;")]
            #[doc = concat!($name, $of, "::open(&name)?.unlink()?;")]
            /// # Ok::<(), brigade::Error>(())
            /// ```
            pub fn keep(&self) -> $crate::error::Result<()> {
                self.0.memory().keep()
            }
        }
    };
}

pub(crate) use named_object;
