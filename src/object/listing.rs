//! Lists the files under `/dev/shm`, and the processes that hold them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;

use super::snapshot::{self, Snapshot};
use crate::error::{Error, Result};
use crate::region::dtype::Dtype;
use crate::region::name::Name;
use crate::region::npy;
use crate::region::reclaim;
use crate::shape::Shape;
use crate::sync::report::{Claimant, TakenLock};
use crate::sys::file::FileId;
use crate::sys::{open_files, process, shm};

/// A file under `/dev/shm`, as it was when it was examined.
///
/// The listing takes no lock and maps nothing, so it disturbs no process.
///
/// # Examples
///
/// ```
/// use brigade::{RegionInfo, RegionKind, RegionState, SharedArray};
/// let name = format!("doc-info-{}", std::process::id());
/// let array = SharedArray::<f32>::create(&name, [2, 3])?;
/// let info = RegionInfo::of(&name)?;
/// assert_eq!((info.state(), info.size_bytes()), (RegionState::Live, 4096 + 24));
/// assert!(matches!(info.kind(), RegionKind::Array { shape, .. } if shape.dims() == [2, 3]));
/// assert_eq!(info.holders()[0].pid, std::process::id());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RegionInfo {
    name: String,
    id: FileId,
    uid: u32,
    mode: u32,
    size_bytes: u64,
    used_bytes: u64,
    kind: RegionKind,
    state: RegionState,
    holders: Vec<Holder>,
    participants: Vec<Participant>,
    locks: Vec<LockState>,
}

/// The contents of a file under `/dev/shm`.
///
/// # Examples
///
/// ```
/// use brigade::{Queue, RegionInfo, RegionKind};
/// let name = format!("doc-kind-{}", std::process::id());
/// let queue = Queue::<u32>::create(&name, 8)?;
/// queue.put(7)?;
/// let info = RegionInfo::of(&name)?;
/// assert!(matches!(info.kind(), RegionKind::Primitive { name: "queue", messages: Some(1), .. }));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionKind {
    /// An array: a whole `.npy` file.
    Array {
        /// The type of its elements.
        dtype: Dtype,
        /// Its extents.
        shape: Shape,
    },
    /// A queue, a lock or another primitive.
    Primitive {
        /// Its name.
        name: &'static str,
        /// The size of its body in bytes; for a queue this includes the room for messages.
        body_bytes: usize,
        /// The number of messages in it, if it is a queue.
        messages: Option<u64>,
    },
    /// Anything else: the memory of Python's `SharedMemory`, say.
    Raw,
    /// It cannot be read by this user.
    Unreadable,
}

/// Whether any process holds a region, and what happens to its name if none does.
///
/// # Examples
///
/// ```
/// use brigade::{RegionInfo, RegionState, SharedArray};
/// let name = format!("doc-state-{}", std::process::id());
/// let mut array = SharedArray::<f32>::create(&name, [8])?;
/// assert_eq!(RegionInfo::of(&name)?.state(), RegionState::Live);
/// array.keep()?;
/// drop(array);
/// assert_eq!(RegionInfo::of(&name)?.state(), RegionState::Kept);
/// RegionInfo::of(&name)?.remove()?;
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegionState {
    /// A living process holds it open or has it mapped.
    Live,
    /// No process has it; it stays until it is unlinked, because it was [kept].
    ///
    /// [kept]: crate::NamedArray::keep
    Kept,
    /// No process has it: programs that died left it. [`reclaim`](crate::reclaim) removes it.
    Dead,
    /// No process has it, and [`reclaim`](crate::reclaim) may not remove it: another user's, or not
    /// made by this crate, as a file that [`to_npy`](crate::ArrayRef::to_npy) wrote, or a copy.
    Foreign,
}

/// A process that holds a region.
///
/// # Examples
///
/// ```
/// use brigade::{RegionInfo, SharedArray};
/// let name = format!("doc-holder-{}", std::process::id());
/// let array = SharedArray::<f32>::create(&name, [8])?;
/// let info = RegionInfo::of(&name)?;
/// assert!(info.holders().iter().any(|holder| holder.pid == std::process::id()));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number in the pid namespace of this process.
    pub pid: u32,
    /// Its name (`comm`), if it still lives.
    pub command: Option<String>,
}

/// A process that has a handle of a primitive, or had one when it died.
///
/// # Examples
///
/// ```
/// use brigade::RegionInfo;
/// use brigade::shared::Lock;
/// let name = format!("doc-participant-{}", std::process::id());
/// let lock = Lock::create(&name, 0u32)?;
/// let info = RegionInfo::of(&name)?;
/// assert!(info.participants().iter().all(|participant| participant.lives));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// Its number in the pid namespace of the primitive.
    pub pid: u32,
    /// Whether it lives. Locks that a dead process held come free for the next process.
    pub lives: bool,
}

/// A lock of a primitive that is not free: its own, or one of a queue's two sides.
///
/// # Examples
///
/// ```
/// use brigade::{LockState, RegionInfo};
/// use brigade::shared::Lock;
/// let name = format!("doc-lock-state-{}", std::process::id());
/// let lock = Lock::create(&name, 0u32)?;
/// assert!(RegionInfo::of(&name)?.locks().is_empty());
/// let guard = lock.lock().map_err(brigade::Error::from)?;
/// assert!(matches!(RegionInfo::of(&name)?.locks(), [LockState::Held { .. }]));
/// # drop(guard);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// Held by a process that lives.
    Held {
        /// The process.
        pid: u32,
    },
    /// Its holder died; the next locker gets it.
    Orphaned {
        /// The process, if it is still known.
        pid: Option<u32>,
    },
}

/// Lists the files under `/dev/shm`, by name.
///
/// # Errors
///
/// [`Error::Os`] if `/dev/shm` cannot be listed. Files that vanish meanwhile are omitted.
///
/// # Examples
///
/// ```
/// use brigade::SharedArray;
/// let name = format!("doc-regions-{}", std::process::id());
/// let array = SharedArray::<f32>::create(&name, [8])?;
/// assert!(brigade::regions()?.iter().any(|region| region.name() == name));
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn regions() -> Result<Vec<RegionInfo>> {
    let entries =
        fs::read_dir(shm::DIRECTORY).map_err(|e| Error::os("readdir", shm::DIRECTORY, e))?;
    let holders = open_files::holders();
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    // This crate makes no names that are not text.
    let names = names.filter_map(|name| name.into_string().ok());
    let mut regions: Vec<_> =
        names.filter_map(|name| RegionInfo::look(&name, &holders).ok()).collect();
    regions.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(regions)
}

impl RegionInfo {
    /// Examines the region of this name.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::NotFound`]; [`Error::Layout`] if it is not a regular file.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{RegionInfo, SharedArray};
    /// let name = format!("doc-of-{}", std::process::id());
    /// assert!(RegionInfo::of(&name).is_err());
    /// let array = SharedArray::<f32>::create(&name, [8])?;
    /// assert_eq!(RegionInfo::of(&name)?.name(), name);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn of(name: &str) -> Result<RegionInfo> {
        RegionInfo::look(Name::new(name)?.as_str(), &open_files::holders())
    }

    fn look(name: &str, holders: &HashMap<FileId, BTreeSet<u32>>) -> Result<RegionInfo> {
        let found = shm::inspect(name)?;
        let pids = holders.get(&found.id).into_iter().flatten();
        let holder = |&pid| Holder { pid, command: open_files::command(pid) };
        let holders: Vec<Holder> = pids.map(holder).collect();
        let place = shm::path_of(name).display().to_string();
        let header = found.file.as_ref().map(|file| npy::read(file, found.size_bytes, &place));
        let is_made_here =
            matches!(&header, Some(Ok(header)) if reclaim::is_made_here(header, found.size_bytes));
        let snapshot = found.file.as_ref().filter(|_| is_made_here);
        let is_own = found.uid == process::effective_user();
        let snapshot = snapshot.and_then(|file| snapshot::read(file, found.size_bytes, is_own));
        let (participants, locks) = users(snapshot.as_ref().and_then(|all| all.users.as_ref()));
        let kind = match (snapshot, header) {
            (Some(Snapshot { kind, body_bytes, messages, .. }), _) => {
                RegionKind::Primitive { name: kind.name(), body_bytes, messages }
            }
            (None, None) => RegionKind::Unreadable,
            (None, Some(Err(_))) => RegionKind::Raw,
            (None, Some(Ok(header))) => {
                RegionKind::Array { dtype: header.dtype, shape: header.shape }
            }
        };
        let is_region = found
            .file
            .as_ref()
            .is_some_and(|file| reclaim::is_region(file, name, found.id, found.size_bytes));
        let state = if !holders.is_empty() {
            RegionState::Live
        } else if is_region && found.is_kept() {
            RegionState::Kept
        } else if is_region && found.is_reclaimable() {
            // No visible holder; the lock also shows those that are invisible here.
            if reclaim::is_stale(name) { RegionState::Dead } else { RegionState::Live }
        } else {
            RegionState::Foreign
        };
        let shm::FileStatus { id, uid, mode, size_bytes, used_bytes, .. } = found;
        let name = name.to_owned();
        Ok(RegionInfo {
            name,
            id,
            uid,
            mode,
            size_bytes,
            used_bytes,
            kind,
            state,
            holders,
            participants,
            locks,
        })
    }

    /// The name, without `/dev/shm/`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The full path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        shm::path_of(&self.name)
    }

    /// The id of its user.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether it belongs to the effective user of this process.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.uid == process::effective_user()
    }

    /// Its permission bits.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Its size in bytes, header included.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Its memory in bytes: more than its size by rounding, less if it has holes.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Its contents.
    #[must_use]
    pub fn kind(&self) -> &RegionKind {
        &self.kind
    }

    /// Whether any process has it.
    #[must_use]
    pub fn state(&self) -> RegionState {
        self.state
    }

    /// The processes that hold it open or have it mapped, as far as this user can see them.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }

    /// The processes that use a primitive, including dead ones that were not swept yet; none for an
    /// array, and if the primitive belongs to another user or another pid namespace.
    #[must_use]
    pub fn participants(&self) -> &[Participant] {
        &self.participants
    }

    /// The locks of a primitive that are not free.
    #[must_use]
    pub fn locks(&self) -> &[LockState] {
        &self.locks
    }

    /// Removes the name, even if processes have the region. They can still use it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the name is gone, or refers to another file; [`Error::Os`] if this
    /// user may not remove it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{RegionInfo, SharedArray};
    /// let name = format!("doc-remove-{}", std::process::id());
    /// let array = SharedArray::<f32>::create(&name, [8])?;
    /// RegionInfo::of(&name)?.remove()?;
    /// assert!(RegionInfo::of(&name).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn remove(&self) -> Result<()> {
        if !shm::refers_to(&self.name, self.id) {
            return Err(Error::NotFound { name: self.name.clone(), place: shm::DIRECTORY });
        }
        shm::unlink(&self.name)
    }

    /// Removes the name if no program of this crate holds the region now; false if one does.
    ///
    /// # Errors
    ///
    /// As [`remove`](RegionInfo::remove).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{RegionInfo, SharedArray};
    /// let name = format!("doc-unheld-{}", std::process::id());
    /// let mut array = SharedArray::<f32>::create(&name, [8])?;
    /// assert!(!RegionInfo::of(&name)?.remove_unheld()?);
    /// array.keep()?;
    /// drop(array);
    /// assert!(RegionInfo::of(&name)?.remove_unheld()?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn remove_unheld(&self) -> Result<bool> {
        // Held until the name is gone, so that no process begins to use it meanwhile.
        let locked = shm::lock_unheld(&self.name)?;
        if locked.is_none() {
            return Ok(false);
        }
        self.remove().map(|()| true)
    }
}

/// Describes claims and lock words for users.
fn users(users: Option<&(Vec<Claimant>, Vec<TakenLock>)>) -> (Vec<Participant>, Vec<LockState>) {
    let Some((claimants, taken)) = users else { return (Vec::new(), Vec::new()) };
    let state = |taken: &TakenLock| match *taken {
        TakenLock::Dead => LockState::Orphaned { pid: None },
        TakenLock::By(token) => match claimants.iter().find(|claimant| claimant.token == token) {
            Some(&Claimant { pid, lives: true, .. }) => LockState::Held { pid },
            Some(&Claimant { pid, .. }) => LockState::Orphaned { pid: Some(pid) },
            // It was swept after the words were copied, or was overwritten.
            None => LockState::Orphaned { pid: None },
        },
    };
    let participant =
        |claimant: &Claimant| Participant { pid: claimant.pid, lives: claimant.lives };
    (claimants.iter().map(participant).collect(), taken.iter().map(state).collect())
}
