//! The main executable as it is mapped.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::per_process::OnceBox;

/// An entry of `.init_array`; glibc passes the arguments of `main`.
pub(crate) type InitFunction = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// The addresses of the main executable's code in this process.
#[derive(Debug, Clone)]
pub(crate) struct ElfImage {
    /// What addresses in the file are relative to.
    pub(crate) base: usize,
    /// Its executable segments.
    text: Vec<Range<usize>>,
    /// All its segments.
    loaded: Vec<Range<usize>>,
    /// Its entries of `.init_array`, by the dynamic section.
    initialisers: Range<usize>,
}

impl ElfImage {
    /// The main executable of this process.
    pub(crate) fn main() -> &'static ElfImage {
        static MAIN: OnceBox<ElfImage> = OnceBox::new();
        MAIN.get_or_init(|| {
            let (text, loaded) = (Vec::new(), Vec::new());
            let mut image = ElfImage { base: 0, text, loaded, initialisers: 0..0 };
            // SAFETY: `visit` has the required type and gets back the pointer to the local.
            unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut image).cast()) };
            image
        })
    }

    /// Whether there is code of the main executable at `address`.
    pub(crate) fn contains(&self, address: usize) -> bool {
        self.text.iter().any(|segment| segment.contains(&address))
    }

    /// `N` words at `address`, if it is aligned for them and they lie in one segment of the main
    /// executable.
    pub(crate) fn words<const N: usize>(&self, address: usize) -> Option<[usize; N]> {
        let end = address.checked_add(N * size_of::<usize>())?;
        let is_inside = |segment: &Range<usize>| segment.start <= address && end <= segment.end;
        if !address.is_multiple_of(align_of::<usize>()) || !self.loaded.iter().any(is_inside) {
            return None;
        }
        let first = address as *const AtomicUsize;
        Some(std::array::from_fn(|index| {
            // SAFETY: aligned, and inside a segment that stays mapped, both checked above. Relaxed
            // loads of a word are allowed of read-only memory, and do not race with atomics.
            let word = unsafe { &*first.wrapping_add(index) };
            word.load(Ordering::Relaxed)
        }))
    }
}

extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    image: *mut libc::c_void,
) -> c_int {
    // SAFETY: `ElfImage::main` passes a pointer to its own local.
    let image = unsafe { &mut *image.cast::<ElfImage>() };
    // SAFETY: the loader passes a valid description.
    let info = unsafe { &*info };
    // SAFETY: the loader's array of `dlpi_phnum` program headers stays mapped with the object.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let base = usize::try_from(info.dlpi_addr).unwrap_or(0);
    image.base = base;
    let at = |address: u64| base.wrapping_add(usize::try_from(address).unwrap_or(0));
    for header in headers {
        let start = at(header.p_vaddr);
        let range = start..start.wrapping_add(usize::try_from(header.p_memsz).unwrap_or(0));
        match header.p_type {
            libc::PT_LOAD => {
                if header.p_flags & libc::PF_X != 0 {
                    image.text.push(range.clone());
                }
                // Unreadable segments contain nothing that is needed here.
                if header.p_flags & libc::PF_R != 0 {
                    image.loaded.push(range);
                }
            }
            libc::PT_DYNAMIC => {
                let mut len = 0;
                let first = range.start as *const [u64; 2];
                for index in 0..range.len() / size_of::<[u64; 2]>() {
                    // SAFETY: an entry, a tag and a value, of the dynamic section, which stays
                    // mapped and is not written after the loader has relocated the object.
                    let [tag, value] = unsafe { first.wrapping_add(index).read() };
                    match tag {
                        DT_NULL => break,
                        DT_INIT_ARRAY => image.initialisers.start = at(value),
                        DT_INIT_ARRAYSZ => len = usize::try_from(value).unwrap_or(0),
                        _ => {}
                    }
                }
                image.initialisers.end = image.initialisers.start.wrapping_add(len);
            }
            _ => {}
        }
    }
    // Not zero: stop after the first object, which is the main executable.
    1
}

/// Tags of entries of a dynamic section.
const DT_NULL: u64 = 0;
const DT_INIT_ARRAY: u64 = 25;
const DT_INIT_ARRAYSZ: u64 = 27;

/// The bounds of the `.init_array` of a static executable, which has no dynamic section. The
/// symbols are used in static executables only: a linker need not define them in a library.
#[cfg(target_feature = "crt-static")]
fn static_initialisers() -> Range<usize> {
    unsafe extern "C" {
        static __init_array_start: [InitFunction; 0];
        static __init_array_end: [InitFunction; 0];
    }
    (&raw const __init_array_start) as usize..(&raw const __init_array_end) as usize
}

#[cfg(not(target_feature = "crt-static"))]
fn static_initialisers() -> Range<usize> {
    0..0
}

/// Runs the entries of the main executable's `.init_array` that come after `entry`, as the C
/// library would have done.
///
/// It uses the dynamic section and not the symbols `__init_array_start` and `__init_array_end`:
/// some linkers leave those undefined in a library, which then cannot be loaded.
///
/// # Safety
///
/// - Called from `entry` itself, while the C library runs the array, with the arguments of `entry`.
/// - `entry` does not return to the C library afterwards.
pub(crate) unsafe fn run_initialisers_after(
    entry: InitFunction,
    argc: c_int,
    argv: *const *const c_char,
    envp: *const *const c_char,
) {
    let image = ElfImage::main();
    let by_section = image.initialisers.clone();
    let array = if by_section.is_empty() { static_initialisers() } else { by_section };
    if array.is_empty() {
        return;
    }
    let (start, count) = (array.start as *const InitFunction, array.len() / size_of::<usize>());
    // SAFETY: the dynamic section, or the linker's symbols, describe an array of function pointers
    // there, which are relocated before the first of them is called.
    let entries = unsafe { std::slice::from_raw_parts(start, count) };
    let Some(own) = entries.iter().position(|&other| std::ptr::fn_addr_eq(other, entry)) else {
        return;
    };
    for later in &entries[own + 1..] {
        later(argc, argv, envp);
    }
}
