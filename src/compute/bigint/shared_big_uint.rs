//! A big natural number whose limbs lie in shared memory.

use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::array::SharedArray;
use crate::error::{Error, Result};
use crate::kernel::bigint::{LIMBS_MAX, mul_table_limbs, shift_left, to_decimal, trim};
use crate::object::source::Source;
use crate::pool::{CodecError, Invocation};
use crate::region::host_arena;
use crate::sys::mmap::Access;

/// The size of a limb.
pub(super) const LIMB_BYTES: u64 = size_of::<u64>() as u64;

/// A natural number of any size, in memory that workers see without a copy (except small numbers).
///
/// Its limbs are `u64`, the least significant first, without zeros at the end; zero has none. Pools
/// return such numbers ([`Pool::factorial`](crate::Pool::factorial),
/// [`Pool::multiply`](crate::Pool::multiply)); [`from_limbs`](SharedBigUint::from_limbs) makes one
/// from its limbs.
///
/// # Examples
///
/// ```
/// use brigade::SharedBigUint;
/// let number = SharedBigUint::from_limbs(&[3, 1, 0])?;
/// assert_eq!(number.limbs(), [3, 1]);
/// assert_eq!(number.bits(), 65);
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct SharedBigUint {
    memory: LimbStorage,
    len: usize,
}

/// The memory of the limbs; it may be longer than they are.
enum LimbStorage {
    Shared(SharedArray<u64>),
    /// A few limbs in private memory, and a copy for workers once they need it: allocating a span
    /// of shared memory takes longer than a small product.
    Own(Vec<u64>, OnceLock<SharedArray<u64>>),
}

/// Numbers of fewer limbs stay in private memory until workers need them.
const SHARED_MIN: usize = 4096;

impl SharedBigUint {
    /// A copy of `limbs`, the least significant first, without zeros at the end.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace) if there is not enough memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedBigUint;
    /// assert!(SharedBigUint::from_limbs(&[0, 0])?.is_zero());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn from_limbs(limbs: &[u64]) -> Result<SharedBigUint> {
        let limbs = trim(limbs);
        if limbs.len() < SHARED_MIN {
            return Ok(SharedBigUint::own(limbs.to_vec()));
        }
        let memory = LimbStorage::Shared(SharedArray::from_slice(limbs)?);
        Ok(SharedBigUint { memory, len: limbs.len() })
    }

    /// The number in private memory.
    fn own(limbs: Vec<u64>) -> SharedBigUint {
        let len = trim(&limbs).len();
        SharedBigUint { memory: LimbStorage::Own(limbs, OnceLock::new()), len }
    }

    /// The number that `write` writes into `limbs` limbs of unspecified contents.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`].
    pub(super) fn written(limbs: usize, write: impl FnOnce(&mut [u64])) -> Result<SharedBigUint> {
        if limbs < SHARED_MIN {
            let mut out = vec![0; limbs];
            write(&mut out);
            return Ok(SharedBigUint::own(out));
        }
        let mut out = SharedArray::for_overwrite([limbs])?;
        write(out.as_mut_slice());
        Ok(SharedBigUint::of_array(out, limbs))
    }

    /// `number 2^bits`. The memory of low limbs that are zero is allocated and not written to.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if it has more than [`LIMBS_MAX`] limbs, [`Error::NoSpace`].
    pub(super) fn shifted(number: &[u64], bits: u64) -> Result<SharedBigUint> {
        let number = trim(number);
        let Some(top) = number.last() else { return Ok(SharedBigUint::own(Vec::new())) };
        let spills = bits % 64 > u64::from(top.leading_zeros());
        let (zeros, limbs) = usize::try_from(bits / 64)
            .ok()
            .and_then(|zeros| {
                Some((zeros, (zeros + usize::from(spills)).checked_add(number.len())?))
            })
            .filter(|&(_, limbs)| limbs <= LIMBS_MAX)
            .ok_or(Error::TooLarge {
                what: "a product",
                size_bytes: (bits / 8).saturating_add(number.len() as u64 * LIMB_BYTES),
                limit_bytes: LIMBS_MAX as u64 * LIMB_BYTES,
            })?;
        let write = |out: &mut [u64]| {
            out[zeros..zeros + number.len()].copy_from_slice(number);
            shift_left(&mut out[zeros..], bits % 64);
        };
        if limbs < SHARED_MIN {
            let mut out = vec![0; limbs];
            write(&mut out);
            return Ok(SharedBigUint::own(out));
        }
        let mut out = SharedArray::zeroed([limbs])?;
        write(out.as_mut_slice());
        Ok(SharedBigUint::of_array(out, limbs))
    }

    /// The number in the first `len` elements of `array`, without zeros at the end.
    pub(super) fn of_array(array: SharedArray<u64>, len: usize) -> SharedBigUint {
        let len = trim(&array.as_slice()[..len]).len();
        SharedBigUint { memory: LimbStorage::Shared(array), len }
    }

    /// The limbs, the least significant first, without zeros at the end.
    ///
    /// # Examples
    ///
    /// ```
    /// let number = brigade::SharedBigUint::from_limbs(&[7])?;
    /// assert_eq!(number.limbs(), [7]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn limbs(&self) -> &[u64] {
        let limbs = match &self.memory {
            LimbStorage::Shared(array) => array.as_slice(),
            LimbStorage::Own(limbs, _) => limbs,
        };
        &limbs[..self.len]
    }

    /// The number of bits; zero has none.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedBigUint;
    /// assert_eq!(SharedBigUint::from_limbs(&[0, 4])?.bits(), 64 + 3);
    /// assert_eq!(SharedBigUint::from_limbs(&[])?.bits(), 0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn bits(&self) -> u64 {
        let leading = self.limbs().last().map_or(0, |limb| limb.leading_zeros());
        self.len as u64 * u64::from(u64::BITS) - u64::from(leading)
    }

    /// Whether it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!brigade::SharedBigUint::from_limbs(&[1])?.is_zero());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.len == 0
    }

    /// Its decimal digits, computed by the caller; [`Pool::to_decimal`](crate::Pool::to_decimal)
    /// uses the workers.
    ///
    /// # Examples
    ///
    /// ```
    /// let number = brigade::SharedBigUint::from_limbs(&[0, 1])?;
    /// assert_eq!(number.to_decimal(), "18446744073709551616");
    /// assert_eq!(number.to_string(), "18446744073709551616");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn to_decimal(&self) -> String {
        to_decimal(self.limbs())
    }

    /// The limbs in shared memory, where workers find them.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if they have to be copied and there is not enough memory.
    pub(super) fn shared(&self) -> Result<SharedLimbs> {
        let array = match &self.memory {
            LimbStorage::Shared(array) => array,
            LimbStorage::Own(limbs, copy) => match copy.get() {
                Some(array) => array,
                None => {
                    let array = SharedArray::from_slice(limbs)?;
                    copy.get_or_init(|| array)
                }
            },
        };
        Ok(SharedLimbs { source: array.source(), limbs: self.len })
    }
}

/// Limbs in shared memory, for the members of a team.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SharedLimbs {
    source: Source,
    pub(super) limbs: usize,
}

impl SharedLimbs {
    pub(super) fn of_array(array: &SharedArray<u64>) -> SharedLimbs {
        SharedLimbs { source: array.source(), limbs: array.len() }
    }

    /// The address of the limbs in this worker; they may be written only with that `access`.
    ///
    /// # Errors
    ///
    /// An error for limbs that are not in this pool's arena, or more limbs than the array has.
    pub(super) fn find(
        &self,
        invocation: &Invocation<'_>,
        access: Access,
    ) -> std::result::Result<*mut u64, CodecError> {
        let bytes = (self.limbs as u64).checked_mul(LIMB_BYTES);
        if bytes.is_none_or(|bytes| bytes > self.source.len_bytes()) {
            let text = format!("{} limbs in {:?}", self.limbs, self.source);
            return Err(CodecError::Argument(text));
        }
        // Numbers lie in the arena, whose windows stay mapped, so nothing else has to keep them.
        Ok(invocation.resolve(&self.source, access)?.as_ptr().cast())
    }
}

/// Checks that the system has memory for tables of products of these factors in each of `members`
/// workers, and for `more` further private limbs in each.
///
/// # Errors
///
/// [`Error::NoSpace`].
pub(super) fn grant_members(members: usize, factors: [usize; 2], more: usize) -> Result<()> {
    let tables = mul_table_limbs(factors[0], factors[1]);
    grant_scratch(members.saturating_mul(tables.saturating_add(more)))
}

/// Checks that the system has private memory for that many limbs. For a few limbs this is skipped:
/// the check takes longer than a small product.
///
/// # Errors
///
/// [`Error::NoSpace`].
pub(super) fn grant_scratch(limbs: usize) -> Result<()> {
    /// Up to this number of limbs the check is skipped.
    const FREE: usize = 1 << 20;
    let bytes = limbs as u64 * LIMB_BYTES;
    if limbs < FREE { Ok(()) } else { host_arena::grant_outside(bytes) }
}

/// Two arrays, of these numbers of limbs.
///
/// # Errors
///
/// [`Error::NoSpace`] with the size of both, if one of them cannot be allocated.
pub(super) fn reserve(limbs: [usize; 2]) -> Result<[SharedArray<u64>; 2]> {
    let bytes = limbs.map(|limbs| limbs as u64 * LIMB_BYTES);
    let name_both = |error, had_bytes: u64| match error {
        Error::NoSpace { free_bytes, limited_by, .. } => Error::NoSpace {
            requested_bytes: bytes[0].saturating_add(bytes[1]),
            free_bytes: free_bytes.saturating_add(had_bytes),
            limited_by,
        },
        other => other,
    };
    let first = SharedArray::for_overwrite([limbs[0]]).map_err(|error| name_both(error, 0))?;
    let second = SharedArray::for_overwrite([limbs[1]]);
    Ok([first, second.map_err(|error| name_both(error, bytes[0]))?])
}

/// Equal numbers.
impl PartialEq for SharedBigUint {
    fn eq(&self, other: &SharedBigUint) -> bool {
        self.limbs() == other.limbs()
    }
}

impl Eq for SharedBigUint {}

/// Its decimal digits, as [`SharedBigUint::to_decimal`].
impl fmt::Display for SharedBigUint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(true, "", &self.to_decimal())
    }
}

impl fmt::Debug for SharedBigUint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.limbs() {
            [] => write!(f, "SharedBigUint(0)"),
            [limb] => write!(f, "SharedBigUint({limb})"),
            [.., top] => write!(f, "SharedBigUint({} bits, from {top:#x})", self.bits()),
        }
    }
}
