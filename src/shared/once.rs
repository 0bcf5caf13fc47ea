//! A function that runs once among all processes.
#![allow(unsafe_code)]

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::object::{Kind, Memory, ObjectHandle, Primitive, check_body, named_object};
use crate::sync::raw::{OnceWords, RawOnce};

/// A function that runs once among all processes: the first caller runs it.
///
/// If the process that runs it is killed or panics during the call, the next caller runs it again,
/// even one that already waits. Its function gets `true`: an earlier run has begun.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::shared::{Once, Value};
///
/// fn visit((once, visits): (Once, Value<u32>)) {
///     once.call(|_begun_before| visits.update(|n| n + 1).map(drop).unwrap()).unwrap();
/// }
///
/// let pool = Pool::builder().workers(2).build()?;
/// let (once, visits) = (Once::new()?, Value::new(0)?);
/// pool.map((0..4).map(|_| (once.clone(), visits.clone())), visit)?.for_each(drop);
/// assert!(once.is_done());
/// assert_eq!(visits.get()?, 1);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Once(ObjectHandle<RawOnce>);

impl Primitive for RawOnce {
    type Init = ();
    const KIND: Kind = Kind::Once;

    fn size((): &()) -> Result<(u32, usize)> {
        Ok((1, size_of::<OnceWords>()))
    }

    fn make(memory: &Memory, (): &()) -> Result<Self> {
        let once = Self::attach(memory)?;
        once.register()?;
        Ok(once)
    }

    fn attach(memory: &Memory) -> Result<Self> {
        check_body(memory, size_of::<OnceWords>())?;
        // SAFETY: aligned, inside, checked above, and zero or such words since it was made; the
        // owner, which it keeps, keeps the memory. Registered by `make`.
        Ok(unsafe { Self::new(memory.body().0.cast(), memory.owner()) })
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("done", &self.is_done()).finish_non_exhaustive()
    }
}

impl Once {
    /// Makes a `Once` whose function has not run.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace) without memory for it;
    /// [`Error::Os`](crate::Error::Os).
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!brigade::shared::Once::new()?.is_done());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new() -> Result<Once> {
        ObjectHandle::new(&()).map(Once)
    }

    /// Runs `function` if it has not run; waits if another caller runs it. The argument of
    /// `function` is whether an earlier run began and did not end. It must not call the same
    /// `Once`.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let once = brigade::shared::Once::new()?;
    /// let mut runs = 0;
    /// for _ in 0..2 {
    ///     once.call(|_begun_before| runs += 1)?;
    /// }
    /// assert_eq!(runs, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn call(&self, function: impl FnOnce(bool)) -> Result<()> {
        self.0.get()?.call(function);
        Ok(())
    }

    /// Whether the function has ended. Then its writes are visible.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.get().is_ok_and(RawOnce::is_done)
    }
}

named_object! {
    impl [] Once {
        create() = ();
        example "brigade::shared" "Once" "" "";
    }
}
