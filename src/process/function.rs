//! Functions as offsets into the executable's image.
//!
//! They are the same in every process that runs it.
#![allow(unsafe_code)]

use crate::error::{Error, Result};
use crate::sys::elf_image::ElfImage;

/// The offset of a function in the main executable.
///
/// It is the same in all processes that execute the same file, wherever the loader has mapped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FunctionOffset(u64);

impl FunctionOffset {
    /// The offset of no function.
    pub(crate) const NONE: FunctionOffset = FunctionOffset(u64::MAX);

    /// The offset of the function at `address`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it lies outside the main executable (in a library that was
    /// loaded at run time, or in generated code): other processes may not have it.
    #[inline]
    pub(crate) fn of(address: *const ()) -> Result<FunctionOffset> {
        let image = ElfImage::main();
        if !image.contains(address as usize) {
            return Err(Error::invalid(
                "the task's function",
                format_args!("at {address:p}, outside the program's own code"),
                "a function that is linked into the executable",
            ));
        }
        Ok(FunctionOffset((address as usize - image.base) as u64))
    }

    /// The offset as a word for another process.
    pub(crate) fn to_word(self) -> u64 {
        self.0
    }

    /// The address of the function whose offset another process sent as `word`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if there is no code at that offset.
    pub(crate) fn address(word: u64) -> Result<*const ()> {
        let image = ElfImage::main();
        let address = usize::try_from(word).ok().and_then(|offset| image.base.checked_add(offset));
        match address {
            Some(address) if image.contains(address) => Ok(address as *const ()),
            _ => Err(Error::Corrupt { what: "a function offset", found: format!("{word:#x}") }),
        }
    }
}

/// A value of a function type that has no data: the name of a function, or a closure that
/// captures nothing.
///
/// A closure may also capture values of size zero, and then these are created anew in another
/// process. If such a value proves something (that a static is initialised, say), the proof may be
/// false there. Rust cannot query what a closure's type captures, so this limit is documented in
/// `docs/internals/safety.md`.
///
/// # Safety
///
/// - The host got a value of this type for the call, so the type is inhabited.
pub(crate) unsafe fn function_value<F: Copy + Send + 'static>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "a task's function must not capture anything: pass what it needs as its argument, \
             or to every call with `with(value)`; see docs/compiler-errors.md"
        );
    }
    // SAFETY: the type has size zero and is `Copy`, so there is nothing to read or to drop; it
    // is inhabited, by the contract.
    unsafe { std::ptr::NonNull::<F>::dangling().as_ptr().read() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nine() -> u32 {
        9
    }

    #[test]
    fn a_function_survives_the_way_through_a_word() {
        let word = FunctionOffset::of(nine as *const ()).unwrap().to_word();
        let address = FunctionOffset::address(word).unwrap();
        assert_eq!(address, nine as *const ());
        // SAFETY: the address is that of `nine`, as the assertion above shows.
        let again = unsafe { std::mem::transmute::<*const (), fn() -> u32>(address) };
        assert_eq!(again(), 9);
    }

    #[test]
    fn an_address_outside_the_image_is_refused() {
        let local = 0u8;
        let refused = FunctionOffset::of((&raw const local).cast());
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
        assert!(matches!(FunctionOffset::address(u64::MAX), Err(Error::Corrupt { .. })));
        assert!(matches!(FunctionOffset::address(0), Err(Error::Corrupt { .. })));
    }
}
