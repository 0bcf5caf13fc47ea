//! Values grouped by byte strings.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::kernel::group::{Aggregates, BytesTable, GroupWords};
use crate::kernel::number::Number;
#[cfg(doc)]
use crate::pool::Pool;

/// Values grouped by byte strings: a partial result for a [`fold`](crate::ParLoop::fold), as over
/// the records of a text.
///
/// The function of the loop finds the keys and the values in its piece, however they are written,
/// and [`add`](ByteGroups::add)s them; nothing is copied but the first occurrence of a key. The
/// partial results are [`merged`](ByteGroups::merged) in a fixed tree, so the result has the same
/// bits for any number of workers. Floats follow the rules of [`Pool::group_by`].
///
/// # Examples
///
/// ```
/// use brigade::{ByteGroups, Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let text = SharedArray::from_slice(b"tea 3\ncoffee 4\ntea 5\n")?;
/// let groups = pool
///     .par_records(&text, b'\n', 8)
///     .fold(ByteGroups::new, |groups: &mut ByteGroups<u32>, piece| {
///         for line in str::from_utf8(piece).expect("ASCII").lines() {
///             let (name, number) = line.split_once(' ').expect("a name and a number");
///             groups.add(name.as_bytes(), number.parse().expect("a number"));
///         }
///     })
///     .merge(ByteGroups::merged)?;
/// let found = groups.sorted();
/// assert_eq!((found[0].0, found[0].1.sum), (&b"coffee"[..], 4));
/// let tea = groups.get(b"tea").expect("it occurs");
/// assert_eq!((tea.count, tea.sum, tea.mean, tea.min, tea.max), (2, 8, 4.0, 3, 5));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ByteGroups<V> {
    table: BytesTable,
    values: PhantomData<fn(V)>,
}

/// The aggregates of the values of one key.
///
/// # Examples
///
/// ```
/// use brigade::{ByteGroups, Group};
/// let mut groups = ByteGroups::new();
/// groups.add(b"x", 1.5f32);
/// let Group { count, sum, mean, min, max } = groups.get(b"x").expect("it was added");
/// assert_eq!((count, sum, mean, min, max), (1, 1.5, 1.5, 1.5, 1.5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group<V: Number> {
    /// The number of values.
    pub count: u64,
    /// Their sum.
    pub sum: V::Sum,
    /// Their mean.
    pub mean: V::Mean,
    /// The least value.
    pub min: V,
    /// The greatest value.
    pub max: V,
}

impl<V: Number> Group<V> {
    fn of(words: &GroupWords) -> Group<V> {
        let Aggregates { count, sum, mean, min, max } = Aggregates::of(words);
        Group { count, sum, mean, min, max }
    }
}

impl<V: Number> ByteGroups<V> {
    /// No groups.
    ///
    /// # Examples
    ///
    /// ```
    /// let groups = brigade::ByteGroups::<u64>::new();
    /// assert!(groups.is_empty() && groups.get(b"a").is_none());
    /// ```
    #[must_use]
    pub fn new() -> ByteGroups<V> {
        ByteGroups { table: BytesTable::default(), values: PhantomData }
    }

    /// Adds a value to the group of `key`.
    ///
    /// # Panics
    ///
    /// If there are 2^32 groups.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut groups = brigade::ByteGroups::new();
    /// groups.add(b"a", 2u64);
    /// groups.add(b"a", 3);
    /// assert_eq!(groups.get(b"a").expect("it occurs").sum, 5);
    /// ```
    #[inline]
    pub fn add(&mut self, key: &[u8], value: V) {
        self.table.add(key, value);
    }

    /// The groups of the values of `self`, followed by those of `other`.
    ///
    /// # Panics
    ///
    /// If there are 2^32 groups.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::ByteGroups;
    /// let (mut a, mut b) = (ByteGroups::new(), ByteGroups::new());
    /// a.add(b"x", 1u8);
    /// b.add(b"x", 255);
    /// assert_eq!(a.merged(b).get(b"x").expect("it occurs").sum, 256);
    /// ```
    #[must_use]
    pub fn merged(self, other: ByteGroups<V>) -> ByteGroups<V> {
        ByteGroups { table: self.table.merged::<V>(&other.table), values: PhantomData }
    }

    /// The number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are no groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The group of `key`; `None` if it did not occur.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut groups = brigade::ByteGroups::new();
    /// groups.add(b"a", 2u64);
    /// assert_eq!(groups.get(b"a").expect("it occurs").count, 1);
    /// assert!(groups.get(b"b").is_none());
    /// ```
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Group<V>> {
        self.table.get(key).map(Group::of)
    }

    /// All keys and their groups, in the order of the keys' bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut groups = brigade::ByteGroups::new();
    /// [(&b"b"[..], 2), (b"", 0), (b"a", 1)].map(|(key, value)| groups.add(key, value));
    /// let keys = groups.sorted().into_iter().map(|(key, _)| key);
    /// assert_eq!(keys.collect::<Vec<_>>(), [&b""[..], b"a", b"b"]);
    /// ```
    #[must_use]
    pub fn sorted(&self) -> Vec<(&[u8], Group<V>)> {
        let sorted = self.table.sorted().into_iter();
        sorted.map(|(key, words)| (key, Group::of(words))).collect()
    }
}

impl<V: Number> Default for ByteGroups<V> {
    fn default() -> ByteGroups<V> {
        ByteGroups::new()
    }
}

impl<V: Number> fmt::Debug for ByteGroups<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteGroups").field("len", &self.len()).finish_non_exhaustive()
    }
}
