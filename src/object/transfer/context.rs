//! The codec call of a thread, and its slots.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use bytemuck::Pod;

use crate::error;
use crate::object::transfer::lease::{
    ChunkOwner, Hold, KIND_FROZEN, KIND_OBJECT, KIND_OWNED, Lease, LeaseList, LentObject,
    OwnerCell, Part, Right, WireLease,
};
use crate::object::transfer::leased_bytes::{LeasedBytes, NO_TASK};
use crate::object::{Kind, Memory};
use crate::region::arena::Span;
use crate::region::windows::Windows;

/// Why a handle could not cross, as text for the codec's error.
pub(crate) type Refusal = String;

/// The number of the latest [`decoding`] of this process.
static TASK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Without a destructor, so it exists until the thread's end, also in destructors of other
    /// values. Between calls it holds at most the text of a refusal.
    static LOCAL: RefCell<ManuallyDrop<Local>> =
        const { RefCell::new(ManuallyDrop::new(Local { context: None, refusal: None })) };
}

/// A thread's state during a call.
struct Local {
    context: Option<Context>,
    /// The text of the latest refusal, which codecs do not keep.
    refusal: Option<Refusal>,
}

/// Stores the text of a refusal, because codecs drop it.
pub(crate) fn noted(refusal: Refusal) -> Refusal {
    LOCAL.with_borrow_mut(|local| local.refusal = Some(refusal.clone()));
    refusal
}

/// The cause of a failed encoding or decoding on this thread.
pub(crate) fn explain(error: &postcard::Error) -> String {
    use postcard::Error::{SerdeDeCustom, SerdeSerCustom, WontImplement};
    let refusal = LOCAL.with_borrow_mut(|local| local.refusal.take());
    refusal.unwrap_or_else(|| match error {
        WontImplement => "its type needs a self-describing encoding, as `untagged`, `flatten` and \
                          `serde_json::Value` do, and this one is not; use another type, or send \
                          text"
            .to_owned(),
        SerdeSerCustom | SerdeDeCustom => {
            "its own code refused; the encoding does not keep the error's text".to_owned()
        }
        other => other.to_string(),
    })
}

/// Runs `ask` with the current call of this thread, if there is one.
#[inline]
pub(super) fn in_context<R>(ask: impl FnOnce(&mut Option<Context>) -> R) -> R {
    LOCAL.with_borrow_mut(|local| ask(&mut local.context))
}

/// The current call of this thread. Two words, because every task passes through them.
pub(super) enum Context {
    Encode(LeaseList),
    /// The same for a result, in a pool without processes.
    EncodeResult(LeaseList),
    /// The same for a value that several workers get.
    EncodeShared(LeaseList),
    Decode(Box<Decoding>),
    EncodeBack {
        task: u64,
        /// How many spans the result has.
        spans: u32,
    },
    Redeem(LeaseList),
}

/// The windows and leases of which a worker may make handles.
pub(super) struct Decoding {
    windows: Windows,
    leases: Vec<WireLease>,
    is_taken: Vec<bool>,
    task: u64,
}

impl Decoding {
    fn new(windows: &Windows, leases: &[WireLease], task: u64) -> Box<Decoding> {
        let (leases, is_taken) = (leases.to_vec(), vec![false; leases.len()]);
        Box::new(Decoding { windows: windows.clone(), leases, is_taken, task })
    }
}

/// Host: runs `encoder`; each handle that it serialises leaves its lease.
///
/// If it fails or panics, every chunk is back in its handle.
///
/// # Errors
///
/// Those of `encoder`.
#[inline]
pub(crate) fn encode<R, E>(encoder: impl FnOnce() -> Result<R, E>) -> Result<(R, LeaseList), E> {
    encode_within(Context::Encode(LeaseList::default()), encoder)
}

/// Host: as [`encode`], for a result.
///
/// # Errors
///
/// Those of `encoder`.
pub(crate) fn encode_result<R, E>(
    encoder: impl FnOnce() -> Result<R, E>,
) -> Result<(R, LeaseList), E> {
    encode_within(Context::EncodeResult(LeaseList::default()), encoder)
}

/// Host: as [`encode`], after the `leases` of a shared value, which keep their slots. Further
/// leases follow them.
///
/// # Errors
///
/// Those of `encoder`.
#[inline]
pub(crate) fn encode_after<R, E>(
    leases: LeaseList,
    encoder: impl FnOnce() -> Result<R, E>,
) -> Result<(R, LeaseList), E> {
    encode_within(Context::Encode(leases), encoder)
}

/// Host: as [`encode`], for a value that several workers get: chunks are refused.
///
/// # Errors
///
/// Those of `encoder`.
pub(crate) fn encode_shared<R, E>(
    encoder: impl FnOnce() -> Result<R, E>,
) -> Result<(R, LeaseList), E> {
    encode_within(Context::EncodeShared(LeaseList::default()), encoder)
}

#[inline]
fn encode_within<R, E>(
    context: Context,
    encoder: impl FnOnce() -> Result<R, E>,
) -> Result<(R, LeaseList), E> {
    let scope = Scope::enter(context);
    let result = encoder();
    match scope.leave() {
        Context::Encode(leases) | Context::EncodeResult(leases) | Context::EncodeShared(leases) => {
            Ok((result?, leases))
        }
        _ => unreachable!("a context keeps its kind"),
    }
}

/// Worker: what is decoded before the scope ends makes handles that see the leased bytes through
/// `windows`.
pub(crate) fn decoding(windows: &Windows, leases: &[WireLease]) -> Scope {
    // Relaxed: the number must only be new.
    let task = TASK.fetch_add(1, Ordering::Relaxed) + 1;
    Scope::enter(Context::Decode(Decoding::new(windows, leases, task)))
}

/// Worker: as [`decoding`], for a value of [`encode_shared`] that is kept for longer than a task.
/// The host keeps the leases of its arrays as long as this process lives. The current task stays
/// the current one.
pub(crate) fn decoding_kept(windows: &Windows, leases: &[WireLease]) -> Scope {
    Scope::enter(Context::Decode(Decoding::new(windows, leases, NO_TASK)))
}

/// Worker: what is encoded before the scope ends may hold handles of the latest [`decoding`].
pub(crate) fn encoding_back() -> Scope {
    // Relaxed: the number was stored by this worker's own `decoding`, earlier on this thread.
    let task = TASK.load(Ordering::Relaxed);
    Scope::enter(Context::EncodeBack { task, spans: 0 })
}

/// Host: what is decoded before the scope ends makes the handles that left `leases`.
///
/// Handles that it does not take are released when the leases are dropped.
pub(crate) fn redeeming(leases: LeaseList) -> Scope {
    Scope::enter(Context::Redeem(leases))
}

/// A context of this thread. When it ends, also by a panic, the previous one is restored.
#[must_use]
pub(crate) struct Scope {
    previous: Option<Context>,
}

impl Scope {
    fn enter(context: Context) -> Scope {
        let previous = LOCAL.with_borrow_mut(|local| {
            local.refusal = None;
            local.context.replace(context)
        });
        Scope { previous }
    }

    /// Ends the scope, and returns its context.
    fn leave(mut self) -> Context {
        let ours = self.restore();
        std::mem::forget(self);
        ours.expect("the context set by `enter` is there until it is replaced here")
    }

    fn restore(&mut self) -> Option<Context> {
        in_context(|context| std::mem::replace(context, self.previous.take()))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        // Dropped after the borrow, because dropping a lease takes locks.
        let _ours = self.restore();
    }
}

pub(super) fn outside() -> Refusal {
    "arrays, chunks and shared handles can only be sent in the argument or the result of a task; \
     copy the elements out, or send a name"
        .to_owned()
}

fn for_one_task() -> Refusal {
    "an OwnedChunk moves into one task, and this value is given to several workers; give each task \
     its chunk as an argument or an item, or give all of them a Frozen array"
        .to_owned()
}

fn made_inside() -> Refusal {
    "an object that a task made in shared memory cannot be its result; return a SharedArray, or \
     its contents"
        .to_owned()
}

pub(super) fn from_another_task() -> Refusal {
    "this array, chunk or shared handle belongs to another task, or to another pool's arena"
        .to_owned()
}

pub(super) fn push(
    leases: &mut LeaseList,
    right: Right,
    element_bytes: usize,
) -> Result<u32, Refusal> {
    let slot = u32::try_from(leases.len()).map_err(|_| "too many arrays in one task")?;
    let element_bytes = u32::try_from(element_bytes).map_err(|_| "elements above 4 GiB")?;
    leases.push(Lease { right: Some(right), element_bytes });
    Ok(slot)
}

/// Leases a host's frozen span; a span that is met twice has one slot.
pub(crate) fn lend_frozen(span: &Arc<Span>, element_bytes: usize) -> Result<u32, Refusal> {
    in_context(|context| match context {
        Some(
            Context::Encode(leases) | Context::EncodeResult(leases) | Context::EncodeShared(leases),
        ) => {
            let is_same = |lease: &Lease| match &lease.right {
                Some(Right::Frozen(other)) => Arc::ptr_eq(other, span),
                _ => false,
            };
            match leases.iter().position(is_same) {
                Some(slot) => u32::try_from(slot).map_err(|e| e.to_string()),
                None => push(leases, Right::Frozen(Arc::clone(span)), element_bytes),
            }
        }
        Some(Context::EncodeBack { .. }) => Err(made_inside()),
        _ => Err(outside()),
    })
}

/// The slot of a frozen array that a worker returns.
pub(crate) fn return_frozen(leased: &LeasedBytes) -> Result<u32, Refusal> {
    return_slot(leased)
}

/// Moves a chunk out of its handle: into a lease in the host, back to its slot in a worker.
pub(crate) fn move_chunk(owner_cell: &OwnerCell, element_bytes: usize) -> Result<u32, Refusal> {
    let mut owner = owner_cell.lock().unwrap_or_else(PoisonError::into_inner);
    match owner.take() {
        None => Err("this chunk was moved into a task already".to_owned()),
        Some(ChunkOwner::Worker(leased)) => {
            let slot = return_slot(&leased);
            if slot.is_err() {
                *owner = Some(ChunkOwner::Worker(leased));
            }
            slot
        }
        Some(ChunkOwner::Host(part)) => in_context(|context| match context {
            Some(Context::Encode(leases) | Context::EncodeResult(leases)) => push(
                leases,
                Right::Owned { part, owner_cell: Arc::clone(owner_cell) },
                element_bytes,
            ),
            other => {
                *owner = Some(ChunkOwner::Host(part));
                Err(match other {
                    Some(Context::EncodeBack { .. }) => made_inside(),
                    Some(Context::EncodeShared(_)) => for_one_task(),
                    _ => outside(),
                })
            }
        }),
    }
}

fn return_slot(leased: &LeasedBytes) -> Result<u32, Refusal> {
    in_context(|context| match context {
        Some(Context::EncodeBack { task, .. }) if *task == leased.task => Ok(leased.slot),
        None | Some(Context::Decode(_) | Context::Redeem(_)) => Err(outside()),
        Some(_) => Err(from_another_task()),
    })
}

/// The value of a slot: the host's own record, or a worker's leased bytes.
pub(crate) enum Received<H, W> {
    Host(H),
    Worker(W),
}

/// Turns a frozen slot into the parts of a handle.
pub(crate) fn take_frozen<T: Pod>(
    slot: u32,
    len: usize,
) -> Result<Received<Arc<Span>, Arc<LeasedBytes>>, Refusal> {
    in_context(|context| match context {
        Some(Context::Redeem(leases)) => {
            let lease = find(slot, leases)?;
            match &lease.right {
                Some(Right::Frozen(span)) => {
                    fits::<T>(lease.element_bytes, span.len_bytes() as u64, len)?;
                    Ok(Received::Host(Arc::clone(span)))
                }
                _ => Err(wrong_kind()),
            }
        }
        Some(Context::Decode(_)) => {
            let leased = borrow_lease::<T>(context, slot, len, KIND_FROZEN)?;
            Ok(Received::Worker(Arc::new(leased)))
        }
        _ => Err(outside()),
    })
}

/// Turns an owned slot into the parts of a handle, once.
pub(crate) fn take_chunk<T: Pod>(
    slot: u32,
    len: usize,
) -> Result<Received<Part, LeasedBytes>, Refusal> {
    in_context(|context| match context {
        Some(Context::Redeem(leases)) => {
            let lease = find(slot, leases)?;
            let Some(Right::Owned { part, .. }) = &lease.right else { return Err(wrong_kind()) };
            fits::<T>(lease.element_bytes, part.len_bytes as u64, len)?;
            match lease.right.take() {
                Some(Right::Owned { part, .. }) => Ok(Received::Host(part)),
                _ => unreachable!("matched three lines above"),
            }
        }
        Some(Context::Decode(_)) => {
            borrow_lease::<T>(context, slot, len, KIND_OWNED).map(Received::Worker)
        }
        _ => Err(outside()),
    })
}

/// Leases a host's object memory, once for each serialisation. `hold` makes the value that the
/// lease keeps beside it; its argument is whether several workers may decode it. In a worker,
/// describes the memory that is returned, without a `hold`.
pub(crate) fn lend_object(
    memory: &Memory,
    hold: Option<&dyn Fn(bool) -> error::Result<Hold>>,
) -> Result<LentObject, Refusal> {
    memory.check().map_err(|error| error.to_string())?;
    let (arena_id, offset, _) = memory.address();
    in_context(|context| {
        let is_shared = matches!(context, Some(Context::EncodeShared(_)));
        match context {
            Some(
                Context::Encode(leases)
                | Context::EncodeResult(leases)
                | Context::EncodeShared(leases),
            ) if memory.is_own() => {
                let hold = hold.map(|hold| hold(is_shared)).transpose();
                let hold = hold.map_err(|error| error.to_string())?;
                push(leases, Right::Object { memory: memory.clone(), _hold: hold }, 1)?;
            }
            Some(Context::EncodeBack { .. }) if !memory.is_own() => {}
            Some(Context::EncodeBack { .. }) => return Err(made_inside()),
            None | Some(Context::Decode(_) | Context::Redeem(_)) => return Err(outside()),
            Some(_) => return Err(from_another_task()),
        }
        Ok(LentObject { arena_id, offset, kind: memory.kind().number(), tag: memory.tag() })
    })
}

/// Turns the result of [`lend_object`] into a handle of the same memory.
pub(crate) fn take_object(wire: &LentObject, kind: Kind, tag: u64) -> Result<Memory, Refusal> {
    let LentObject { arena_id, offset, .. } = *wire;
    if (wire.kind, wire.tag) != (kind.number(), tag) {
        return Err(format!("a handle of another type than this {}", kind.name()));
    }
    in_context(|context| match context {
        Some(Context::Redeem(leases)) => leases
            .iter()
            .filter_map(Lease::object)
            .find(|memory| {
                let (id, start, _) = memory.address();
                (id, start) == (arena_id, offset)
            })
            .cloned()
            .ok_or_else(from_another_task),
        Some(Context::Decode(decoding)) => {
            let Decoding { windows, leases, .. } = &**decoding;
            let is_it = |lease: &&WireLease| {
                (lease.kind, lease.arena_id, lease.offset) == (KIND_OBJECT, arena_id, offset)
            };
            let lease = leases.iter().find(is_it).filter(|_| arena_id == windows.id());
            let lease = lease.ok_or_else(from_another_task)?;
            let len_bytes = usize::try_from(lease.len_bytes).map_err(|e| e.to_string())?;
            Memory::attach(windows, offset, len_bytes, kind, tag).map_err(|e| e.to_string())
        }
        _ => Err(outside()),
    })
}

fn find<S>(slot: u32, slots: &mut [S]) -> Result<&mut S, Refusal> {
    let count = slots.len();
    let found = usize::try_from(slot).ok().and_then(|slot| slots.get_mut(slot));
    found.ok_or_else(|| format!("slot {slot} of {count}"))
}

fn wrong_kind() -> Refusal {
    "its slot was taken already, or is of another kind".to_owned()
}

/// Checks that `len` elements of `T` are exactly the leased bytes.
fn fits<T>(element_bytes: u32, len_bytes: u64, len: usize) -> Result<(), Refusal> {
    let requested = (len as u64).checked_mul(size_of::<T>() as u64);
    if element_bytes as usize == size_of::<T>() && requested == Some(len_bytes) {
        return Ok(());
    }
    let (size, have) = (size_of::<T>(), element_bytes);
    Err(format!("{len} elements of {size} bytes are not the {len_bytes} leased, {have} each"))
}

/// Worker: checks a lease and makes the bytes of a handle from it.
fn borrow_lease<T: Pod>(
    context: &mut Option<Context>,
    slot: u32,
    len: usize,
    kind: u32,
) -> Result<LeasedBytes, Refusal> {
    let Some(Context::Decode(decoding)) = context else { return Err(outside()) };
    let Decoding { windows, leases, is_taken, task } = &mut **decoding;
    let lease = *find(slot, leases)?;
    let is_taken = find(slot, is_taken)?;
    if lease.kind != kind || *is_taken {
        return Err(wrong_kind());
    }
    if lease.arena_id != windows.id() {
        return Err(from_another_task());
    }
    fits::<T>(lease.element_bytes, lease.len_bytes, len)?;
    let len_bytes = usize::try_from(lease.len_bytes).map_err(|e| e.to_string())?;
    let start = match kind {
        KIND_OWNED => windows.write(lease.offset, len_bytes),
        _ => windows.read(lease.offset, len_bytes).map(<*const u8>::cast_mut),
    }
    .map_err(|e| e.to_string())?;
    if !start.addr().is_multiple_of(align_of::<T>()) {
        return Err(format!("offset {} is not aligned for its elements", lease.offset));
    }
    *is_taken = kind == KIND_OWNED;
    Ok(LeasedBytes::new(windows, start, slot, *task))
}

/// FNV-1a of the type's name: host and worker run the same program, so the names agree.
pub(crate) fn type_tag<T>() -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    std::any::type_name::<T>().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step)
}
