//! A list that many processes read and change.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cells::{Cells, ListLimits};
use crate::array::codec;
use crate::error::{Error, Result};
use crate::object::transfer::type_tag;
use crate::object::{Kind, Memory, ObjectHandle, Primitive, named_object};

/// A bounded list of serde values in shared memory.
///
/// It holds up to `items_max` items, each of at most `item_bytes` bytes when encoded (a number
/// takes at most ten, a string its length and up to three more). The memory for all of them is
/// reserved. An item that does not fit is an error. Clones are handles of the same list.
///
/// If a process is killed at any instruction of a change, the change is complete or not made: one
/// store commits it. No other process hangs.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::shared::SharedList;
///
/// fn sign((guests, name): (SharedList<String>, String)) {
///     guests.push(&name).unwrap();
/// }
///
/// let pool = Pool::builder().workers(2).build()?;
/// let guests = SharedList::new(10, 30)?;
/// let names = ["Ada", "Grace"].map(String::from);
/// pool.map(names.map(|name| (guests.clone(), name)), sign)?.for_each(drop);
/// let mut all = guests.to_vec()?;
/// all.sort();
/// assert_eq!(all, ["Ada", "Grace"]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct SharedList<T>(ObjectHandle<ListWords<T>>);

#[derive(Debug)]
struct ListWords<T> {
    cells: Cells,
    item: PhantomData<fn() -> T>,
}

impl<T> Clone for ListWords<T> {
    fn clone(&self) -> ListWords<T> {
        ListWords { cells: self.cells.clone(), item: PhantomData }
    }
}

impl<T> Primitive for ListWords<T> {
    type Init = ListLimits;
    const KIND: Kind = Kind::SharedList;

    fn tag() -> u64 {
        type_tag::<T>()
    }

    fn size(limits: &ListLimits) -> Result<(u32, usize)> {
        Ok((1, limits.body_bytes()?))
    }

    fn make(memory: &Memory, &limits: &ListLimits) -> Result<ListWords<T>> {
        Ok(ListWords { cells: Cells::make(memory, limits)?, item: PhantomData })
    }

    fn attach(memory: &Memory) -> Result<ListWords<T>> {
        Ok(ListWords { cells: Cells::attach(memory)?, item: PhantomData })
    }
}

impl<T> Clone for SharedList<T> {
    fn clone(&self) -> SharedList<T> {
        SharedList(self.0.clone())
    }
}

impl<T> fmt::Debug for SharedList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, items_max) = (self.len(), self.items_max());
        f.debug_struct("SharedList").field("len", &len).field("items_max", &items_max).finish()
    }
}

impl<T> SharedList<T> {
    /// Makes an empty list with room for `items_max` items of at most `item_bytes` bytes each.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if either is 0 or above 2^31; [`Error::NoSpace`] without memory
    /// for all of it.
    ///
    /// # Examples
    ///
    /// ```
    /// let list = brigade::shared::SharedList::<u8>::new(3, 8)?;
    /// assert_eq!((list.len(), list.items_max(), list.item_bytes()), (0, 3, 8));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new(items_max: usize, item_bytes: usize) -> Result<SharedList<T>> {
        ObjectHandle::new(&ListLimits::new(items_max, item_bytes)?).map(SharedList)
    }

    /// The number of items. It may be outdated at once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.get().map_or(0, |words| words.cells.len())
    }

    /// Whether there is no item. The answer may be outdated at once.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most items that the list holds.
    #[must_use]
    pub fn items_max(&self) -> usize {
        self.0.get().map_or(0, |words| words.cells.limits().items_max())
    }

    /// The most bytes of an encoded item.
    #[must_use]
    pub fn item_bytes(&self) -> usize {
        self.0.get().map_or(0, |words| words.cells.limits().item_bytes())
    }

    /// Removes all items.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let list = brigade::shared::SharedList::<u8>::new(3, 8)?;
    /// list.push(&1)?;
    /// list.clear()?;
    /// assert!(list.is_empty());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn clear(&self) -> Result<()> {
        self.0.get()?.cells.open()?.set_len(0);
        Ok(())
    }
}

named_object! {
    impl [T] SharedList<T> {
        create(items_max: usize, item_bytes: usize) = ListLimits::new(items_max, item_bytes)?;
        example "brigade::shared" "SharedList" "::<String>" ", 10, 30";
    }
}

impl<T: Serialize + DeserializeOwned> SharedList<T> {
    /// Appends an item.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] without room; [`Error::TooLarge`] if the item is too long; [`Error::Codec`]
    /// if it cannot be encoded, such as an array or a handle without a name; [`Error::Corrupt`] if
    /// the list was overwritten; [`Error::Closed`] in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let list = brigade::shared::SharedList::<u8>::new(3, 8)?;
    /// list.push(&1)?;
    /// assert_eq!(list.to_vec()?, [1]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn push(&self, item: &T) -> Result<()> {
        self.extend(std::iter::once(item))
    }

    /// Appends items: all of them, or none if they do not fit.
    ///
    /// # Errors
    ///
    /// As for [`push`](SharedList::push).
    ///
    /// # Examples
    ///
    /// ```
    /// let list = brigade::shared::SharedList::<u8>::new(3, 8)?;
    /// list.extend(&[1, 2])?;
    /// assert!(list.extend(&[3, 4]).is_err(), "one of them does not fit");
    /// assert_eq!(list.to_vec()?, [1, 2]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn extend<'a>(&self, items: impl IntoIterator<Item = &'a T>) -> Result<()>
    where
        T: 'a,
    {
        let cells = &self.0.get()?.cells;
        let items = items.into_iter().map(|item| self.encode(item)).collect::<Result<Vec<_>>>()?;
        let mut open = cells.open()?;
        let len = open.len();
        open.check_room(items.len())?;
        for (index, item) in (len..).zip(&items) {
            open.write(index, item)?;
        }
        open.set_len(len + items.len());
        Ok(())
    }

    /// Removes the last item and returns it; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`] if the item is not a `T`: it is removed, and others can be taken;
    /// [`Error::Corrupt`] if the list was overwritten; [`Error::Closed`] in a child that was forked
    /// by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let list = brigade::shared::SharedList::<u8>::new(3, 8)?;
    /// list.push(&1)?;
    /// assert_eq!((list.pop()?, list.pop()?), (Some(1), None));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn pop(&self) -> Result<Option<T>> {
        let mut open = self.0.get()?.cells.open()?;
        let Some(last) = open.len().checked_sub(1) else { return Ok(None) };
        let bytes = open.read(last)?;
        open.set_len(last);
        drop(open);
        decode(&bytes).map(Some)
    }

    /// The item at `index`, or `None` past the end.
    ///
    /// # Errors
    ///
    /// As for [`pop`](SharedList::pop); nothing is removed.
    ///
    /// # Examples
    ///
    /// ```
    /// let list = brigade::shared::SharedList::<u8>::new(3, 8)?;
    /// list.push(&1)?;
    /// assert_eq!((list.get(0)?, list.get(1)?), (Some(1), None));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn get(&self, index: usize) -> Result<Option<T>> {
        let open = self.0.get()?.cells.open()?;
        if index >= open.len() {
            return Ok(None);
        }
        let bytes = open.read(index)?;
        drop(open);
        decode(&bytes).map(Some)
    }

    /// Replaces the item at `index`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] past the end; and as for [`push`](SharedList::push).
    ///
    /// # Examples
    ///
    /// ```
    /// let list = brigade::shared::SharedList::<u8>::new(3, 8)?;
    /// list.push(&1)?;
    /// list.set(0, &5)?;
    /// assert_eq!(list.get(0)?, Some(5));
    /// assert!(list.set(1, &5).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn set(&self, index: usize, item: &T) -> Result<()> {
        let (cells, bytes) = (&self.0.get()?.cells, self.encode(item)?);
        let mut open = cells.open()?;
        open.check_index(index, open.len())?;
        open.replace(index, &bytes)
    }

    /// Replaces the item at `index` by the result of `new`, atomically with respect to other
    /// changes of the list. `new` must not use the same list.
    ///
    /// # Errors
    ///
    /// As for [`set`](SharedList::set); [`Error::Codec`] also if the old item is not a `T`. On an
    /// error nothing is changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::SharedList;
    /// let counts = SharedList::new(3, 10)?;
    /// counts.extend(&[0u64, 0, 0])?;
    /// counts.update(1, |count| count + 1)?;
    /// assert_eq!(counts.to_vec()?, [0, 1, 0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn update(&self, index: usize, new: impl FnOnce(T) -> T) -> Result<()> {
        let mut open = self.0.get()?.cells.open()?;
        open.check_index(index, open.len())?;
        let item = new(decode(&open.read(index)?)?);
        let bytes = self.encode(&item)?;
        open.replace(index, &bytes)
    }

    /// Inserts an item before the one at `index`, or at the end.
    ///
    /// # Errors
    ///
    /// As for [`set`](SharedList::set).
    ///
    /// # Examples
    ///
    /// ```
    /// let list = brigade::shared::SharedList::<u8>::new(3, 8)?;
    /// list.push(&2)?;
    /// list.insert(0, &1)?;
    /// assert_eq!(list.to_vec()?, [1, 2]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn insert(&self, index: usize, item: &T) -> Result<()> {
        let (cells, bytes) = (&self.0.get()?.cells, self.encode(item)?);
        let mut open = cells.open()?;
        open.check_index(index, open.len() + 1)?;
        open.check_room(1)?;
        open.insert(index, &bytes)
    }

    /// Removes the item at `index` and returns it; later items move up.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] past the end; and as for [`pop`](SharedList::pop).
    ///
    /// # Examples
    ///
    /// ```
    /// let list = brigade::shared::SharedList::<u8>::new(3, 8)?;
    /// list.extend(&[1, 2])?;
    /// assert_eq!(list.remove(0)?, 1);
    /// assert_eq!(list.to_vec()?, [2]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn remove(&self, index: usize) -> Result<T> {
        let mut open = self.0.get()?.cells.open()?;
        open.check_index(index, open.len())?;
        let bytes = open.read(index)?;
        open.remove(index)?;
        drop(open);
        decode(&bytes)
    }

    /// All items, as of one moment.
    ///
    /// # Errors
    ///
    /// As for [`get`](SharedList::get).
    ///
    /// # Examples
    ///
    /// ```
    /// let list = brigade::shared::SharedList::<u8>::new(3, 8)?;
    /// list.extend(&[1, 2])?;
    /// assert_eq!(list.to_vec()?, [1, 2]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn to_vec(&self) -> Result<Vec<T>> {
        let open = self.0.get()?.cells.open()?;
        let all = (0..open.len()).map(|index| open.read(index)).collect::<Result<Vec<_>>>()?;
        drop(open);
        all.iter().map(|bytes| decode(bytes)).collect()
    }

    fn encode(&self, item: &T) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        codec::encode_onto(&mut bytes, item).map_err(|reason| codec_error("encoded", reason))?;
        let limit = self.item_bytes();
        if bytes.len() > limit {
            let (size_bytes, limit_bytes) = (bytes.len() as u64, limit as u64);
            return Err(Error::TooLarge { what: "an item", size_bytes, limit_bytes });
        }
        Ok(bytes)
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    codec::decode(bytes).map_err(|reason| codec_error("decoded", reason))
}

fn codec_error(action: &'static str, reason: String) -> Error {
    Error::Codec { what: "item of the list", action, reason }
}
