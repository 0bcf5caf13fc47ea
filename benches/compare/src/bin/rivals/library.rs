//! A C library from a Python wheel, opened by its path.

use brigade_compare::protocol::Arguments;
use libloading::Library;

/// The library that the argument `library` names; it stays loaded.
pub(crate) fn open(arguments: &Arguments) -> &'static Library {
    let path = arguments.text("library");
    // SAFETY: the constructors of the numeric libraries named by `compare.py` have no
    // requirements; nothing else runs in this process yet.
    let library = unsafe { Library::new(path) };
    Box::leak(Box::new(library.unwrap_or_else(|error| panic!("{path}: {error}"))))
}

/// The function `name` of `library`, as the function pointer type `F`.
///
/// # Safety
///
/// `F` must be the type that the library's header gives to `name`.
pub(crate) unsafe fn function<F: Copy>(library: &'static Library, name: &str) -> F {
    // SAFETY: the type is right by this function's contract, and the library stays loaded.
    let symbol = unsafe { library.get::<F>(name) };
    *symbol.unwrap_or_else(|error| panic!("{name}: {error}"))
}
