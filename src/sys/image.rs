//! The main executable as it is mapped.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::ops::Range;

use crate::sys::per_process::Once;

/// An entry of `.init_array`; glibc passes what `main` will get.
pub(crate) type InitFunction = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// Where the main executable's code lies in this process.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// What addresses in the file are relative to.
    pub(crate) base: usize,
    /// Its executable segments.
    text: Vec<Range<usize>>,
}

impl Image {
    /// The main executable of this process.
    pub(crate) fn main() -> &'static Image {
        static MAIN: Once<Image> = Once::new();
        MAIN.get_or_init(|| {
            let mut image = Image { base: 0, text: Vec::new() };
            // SAFETY: `visit` has the type asked for and gets the pointer to the local back.
            unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut image).cast()) };
            image
        })
    }

    /// Whether there is code of the main executable at `address`.
    pub(crate) fn contains(&self, address: usize) -> bool {
        self.text.iter().any(|segment| segment.contains(&address))
    }
}

extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    image: *mut libc::c_void,
) -> c_int {
    // SAFETY: `Image::main` passes a pointer to its own local.
    let image = unsafe { &mut *image.cast::<Image>() };
    // SAFETY: the loader passes a valid description.
    let info = unsafe { &*info };
    // SAFETY: the loader's array of `dlpi_phnum` program headers stays mapped with the object.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let base = usize::try_from(info.dlpi_addr).unwrap_or(0);
    image.base = base;
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            let start = base.wrapping_add(usize::try_from(header.p_vaddr).unwrap_or(0));
            let size = usize::try_from(header.p_memsz).unwrap_or(0);
            image.text.push(start..start.wrapping_add(size));
        }
    }
    // Not zero: stop. The first object is the main executable.
    1
}

unsafe extern "C" {
    /// First entry of this object's `.init_array`, defined by the linker.
    static __init_array_start: [InitFunction; 0];
    /// End of this object's `.init_array`, defined by the linker.
    static __init_array_end: [InitFunction; 0];
}

/// Runs the entries of `.init_array` that come after `entry`, as the C library would have done.
///
/// # Safety
///
/// - Called from `entry` itself, while the C library runs the array, with what it was passed.
/// - `entry` does not return to the C library afterwards.
pub(crate) unsafe fn run_initialisers_after(
    entry: InitFunction,
    argc: c_int,
    argv: *const *const c_char,
    envp: *const *const c_char,
) {
    let start = (&raw const __init_array_start).cast::<InitFunction>();
    let end = (&raw const __init_array_end).cast::<InitFunction>();
    let count = (end as usize).saturating_sub(start as usize) / size_of::<InitFunction>();
    // SAFETY: the linker puts the two symbols around an array of function pointers, relocated
    // before the first of them is called.
    let entries = unsafe { std::slice::from_raw_parts(start, count) };
    let Some(own) = entries.iter().position(|&other| std::ptr::fn_addr_eq(other, entry)) else {
        return;
    };
    for later in &entries[own + 1..] {
        later(argc, argv, envp);
    }
}
