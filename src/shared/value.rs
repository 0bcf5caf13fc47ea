//! A value that many processes read and change.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::mem::size_of;
use std::ops::Add;
use std::ptr::NonNull;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::Result;
use crate::object::transfer::type_tag;
use crate::object::{Kind, Memory, ObjectHandle, Primitive, check_body, named_object};
use crate::region::atomic_copy;
use crate::sync::{LockWord, RobustLock};

/// A value in shared memory that is read and changed as a whole.
///
/// A value of up to eight bytes is one atomic word, and no operation waits for another process. A
/// larger value has a lock and two copies; one store selects the current copy.
///
/// So if a process is killed at any instruction of a change, the value is the old one or the new
/// one, never a mixture, and no other process hangs.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::shared::Value;
///
/// fn add((total, n): (Value<f64>, u32)) -> f64 {
///     total.fetch_add(f64::from(n)).unwrap()
/// }
///
/// let pool = Pool::builder().workers(2).build()?;
/// let total = Value::new(0.5)?;
/// for before in pool.map((1..=4).map(|n| (total.clone(), n)), add)? {
///     assert!(before < 10.0);
/// }
/// assert_eq!(total.get()?, 10.5);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "T: Pod")]
pub struct Value<T: Pod>(ObjectHandle<ValueWords<T>>);

/// The words of a value of up to eight bytes:
///
/// | field | written by | read by | guard       | if the writer dies    |
/// |-------|------------|---------|-------------|-----------------------|
/// | word  | all        | all     | it is atomic | it is old, or it is new |
///
/// The words of a larger value:
///
/// | field     | written by              | read by | guard  | if the writer dies              |
/// |-----------|-------------------------|---------|--------|---------------------------------|
/// | `lock`    | all                     | all     | itself | a sweep frees it                |
/// | `current` | lockers, after the copy | lockers | `lock` | it is the old or the new       |
/// | copies    | lockers: the other one  | lockers | `lock` | the other one is written again  |
#[derive(Debug)]
struct ValueWords<T> {
    body: NonNull<u8>,
    /// None if the value is one word.
    lock: Option<RobustLock>,
    value: PhantomData<fn() -> T>,
}

// SAFETY: the body is only used by atomics, in memory that the handle keeps.
unsafe impl<T> Send for ValueWords<T> {}
// SAFETY: as for `Send`.
unsafe impl<T> Sync for ValueWords<T> {}

impl<T> Clone for ValueWords<T> {
    fn clone(&self) -> ValueWords<T> {
        ValueWords { body: self.body, lock: self.lock.clone(), value: PhantomData }
    }
}

const WORD_BYTES: usize = size_of::<u64>();
/// The index of the current copy: 0 or 1.
const CURRENT_OFFSET: usize = 4;
const COPIES_OFFSET: usize = 64;

impl<T: Pod> ValueWords<T> {
    const IS_WORD: bool = size_of::<T>() <= WORD_BYTES;
    const STRIDE: usize = size_of::<T>().next_multiple_of(WORD_BYTES);
    const BODY_BYTES: usize =
        if Self::IS_WORD { WORD_BYTES } else { COPIES_OFFSET + 2 * Self::STRIDE };

    fn over(memory: &Memory) -> Result<ValueWords<T>> {
        check_body(memory, Self::BODY_BYTES)?;
        let (body, _) = memory.body();
        let lock = (!Self::IS_WORD).then(|| {
            // SAFETY: aligned, inside, checked above, and zero or a lock word since it was made;
            // the owner, which the lock keeps, keeps the memory. Registered by `make`.
            unsafe { RobustLock::new(body.cast::<LockWord>(), memory.owner()) }
        });
        Ok(ValueWords { body, lock, value: PhantomData })
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: aligned and inside, checked in `over`; an atomic to all.
        unsafe { self.body.cast().as_ref() }
    }

    fn current(&self) -> &AtomicU32 {
        // SAFETY: inside, checked in `over`.
        let word = unsafe { self.body.add(CURRENT_OFFSET) }.cast::<AtomicU32>();
        // SAFETY: aligned, and an atomic to all.
        unsafe { word.as_ref() }
    }

    fn copy(&self, index: u32) -> *mut u8 {
        // Only the low bit, since the word may have any value.
        let offset = COPIES_OFFSET + Self::STRIDE * usize::from(index & 1 == 1);
        // SAFETY: inside, checked in `over`.
        unsafe { self.body.add(offset) }.as_ptr()
    }

    /// The value of a body with a lock, which the caller holds.
    fn read(&self) -> T {
        let mut value = T::zeroed();
        // Relaxed: the lock orders it.
        let copy = self.copy(self.current().load(Ordering::Relaxed));
        // SAFETY: the copy has as many bytes, inside the body.
        unsafe { atomic_copy::copy_out(copy, bytemuck::bytes_of_mut(&mut value)) };
        value
    }

    /// Changes the value of a body with a lock, which the caller holds.
    fn write(&self, value: &T) {
        // Relaxed: the lock orders it.
        let other = self.current().load(Ordering::Relaxed) & 1 ^ 1;
        // SAFETY: the copy has as many bytes, inside the body.
        unsafe { atomic_copy::copy_in(self.copy(other), bytemuck::bytes_of(value)) };
        // Release: if this process dies after the store, the next locker sees the whole copy. It
        // pairs with the Acquire of the next locker, through the sweep.
        self.current().store(other, Ordering::Release);
    }

    /// Replaces the value by the result of `new` if that is `Some`. Returns the old value.
    fn change(&self, mut new: impl FnMut(T) -> Option<T>) -> T {
        if let Some(lock) = &self.lock {
            // If the last holder died, the value is complete nevertheless.
            let _guard = lock.lock();
            let old = self.read();
            if let Some(value) = new(old) {
                self.write(&value);
            }
            return old;
        }
        let mut seen = self.word().load(Ordering::Acquire);
        loop {
            let old = from_word(seen);
            let Some(value) = new(old) else { return old };
            // AcqRel and Acquire: what was written before a change is visible with the change.
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.word().compare_exchange(seen, to_word(&value), success, failure) {
                Ok(_) => return old,
                Err(now) => seen = now,
            }
        }
    }
}

/// The bytes of a value of at most eight, and zeros.
fn to_word<T: Pod>(value: &T) -> u64 {
    let mut bytes = [0; WORD_BYTES];
    bytes[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(value));
    u64::from_ne_bytes(bytes)
}

fn from_word<T: Pod>(word: u64) -> T {
    bytemuck::pod_read_unaligned(&word.to_ne_bytes()[..size_of::<T>()])
}

impl<T: Pod> Primitive for ValueWords<T> {
    type Init = T;
    const KIND: Kind = Kind::Value;

    fn tag() -> u64 {
        type_tag::<T>()
    }

    fn size(_: &T) -> Result<(u32, usize)> {
        Ok((1, Self::BODY_BYTES))
    }

    fn make(memory: &Memory, value: &T) -> Result<ValueWords<T>> {
        let words = Self::over(memory)?;
        match &words.lock {
            Some(lock) => {
                lock.register()?;
                words.write(value);
            }
            // Relaxed: the word has no other user yet.
            None => words.word().store(to_word(value), Ordering::Relaxed),
        }
        Ok(words)
    }

    fn attach(memory: &Memory) -> Result<ValueWords<T>> {
        Self::over(memory)
    }
}

impl<T: Pod> Clone for Value<T> {
    fn clone(&self) -> Value<T> {
        Value(self.0.clone())
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Ok(value) => f.debug_tuple("Value").field(&value).finish(),
            Err(_) => f.write_str("Value(<forked>)"),
        }
    }
}

impl<T: Pod> Value<T> {
    /// Makes a value.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace) without memory for it;
    /// [`Error::Os`](crate::Error::Os).
    ///
    /// # Examples
    ///
    /// ```
    /// let value = brigade::shared::Value::new(7)?;
    /// assert_eq!(value.get()?, 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new(value: T) -> Result<Value<T>> {
        ObjectHandle::new(&value).map(Value)
    }

    /// Returns the value. It may be outdated at once.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::Value;
    /// let value = Value::new(7u32)?;
    /// assert_eq!(value.get()?, 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn get(&self) -> Result<T> {
        let words = self.0.get()?;
        if ValueWords::<T>::IS_WORD {
            return Ok(from_word(words.word().load(Ordering::Acquire)));
        }
        Ok(words.change(|_| None))
    }

    /// Sets the value. A process that reads it also sees what was written before.
    ///
    /// # Errors
    ///
    /// As for [`get`](Value::get).
    ///
    /// # Examples
    ///
    /// ```
    /// let value = brigade::shared::Value::new(7)?;
    /// value.set(8)?;
    /// assert_eq!(value.get()?, 8);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn set(&self, value: T) -> Result<()> {
        let words = self.0.get()?;
        if ValueWords::<T>::IS_WORD {
            // Release pairs with the Acquire in `get` and `change`.
            words.word().store(to_word(&value), Ordering::Release);
        } else {
            words.change(|_| Some(value));
        }
        Ok(())
    }

    /// Replaces the value, and returns the old one.
    ///
    /// # Errors
    ///
    /// As for [`get`](Value::get).
    ///
    /// # Examples
    ///
    /// ```
    /// let value = brigade::shared::Value::new(7)?;
    /// assert_eq!(value.swap(8)?, 7);
    /// assert_eq!(value.get()?, 8);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn swap(&self, value: T) -> Result<T> {
        Ok(self.0.get()?.change(|_| Some(value)))
    }

    /// Replaces the value by `new(value)`, and returns the old value.
    ///
    /// `new` may be called several times, each time with the current value, and must not use the
    /// same `Value`. If it panics, nothing is changed.
    ///
    /// # Errors
    ///
    /// As for [`get`](Value::get).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::Value;
    /// let range = Value::new([5i64, 5, 0])?;
    /// range.update(|[low, high, count]| [low.min(3), high.max(3), count + 1])?;
    /// assert_eq!(range.get()?, [3, 5, 1]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn update(&self, mut new: impl FnMut(T) -> T) -> Result<T> {
        Ok(self.0.get()?.change(|old| Some(new(old))))
    }

    /// Replaces the value by `new` if its bytes equal those of `current`. Returns the old value: in
    /// `Ok` if it was replaced, in `Err` if not.
    ///
    /// # Errors
    ///
    /// As for [`get`](Value::get).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::Value;
    /// let turn = Value::new(1u8)?;
    /// assert_eq!(turn.compare_exchange(1, 2)?, Ok(1));
    /// assert_eq!(turn.compare_exchange(1, 3)?, Err(2));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn compare_exchange(&self, current: T, new: T) -> Result<std::result::Result<T, T>> {
        let is_current = |old: &T| bytemuck::bytes_of(old) == bytemuck::bytes_of(&current);
        let old = self.0.get()?.change(|old| is_current(&old).then_some(new));
        Ok(if is_current(&old) { Ok(old) } else { Err(old) })
    }

    /// Adds to the value, and returns the old value. An overflow behaves as that of `+`: it panics
    /// in a debug build, and nothing is changed.
    ///
    /// # Errors
    ///
    /// As for [`get`](Value::get).
    ///
    /// # Examples
    ///
    /// ```
    /// let value = brigade::shared::Value::new(7)?;
    /// assert_eq!(value.fetch_add(3)?, 7);
    /// assert_eq!(value.get()?, 10);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn fetch_add(&self, amount: T) -> Result<T>
    where
        T: Add<Output = T>,
    {
        self.update(|old| old + amount)
    }
}

named_object! {
    impl [T: Pod] Value<T> {
        create(value: T) = value;
        example "brigade::shared" "Value" "::<u32>" ", 7";
    }
}
