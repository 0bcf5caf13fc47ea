//! Catches the fork server before `main`.
//!
//! The fork server is the host's own executable, started again. An entry of `.init_array` runs in
//! every process of that executable before `main`. It does nothing unless an environment variable
//! marks this process as a fork server. Then it becomes one, or ends with an error: see `peer`.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::process::peer::{self, SOCKET_FD, VARIABLE, refuse};
use crate::process::server_main;
use crate::sys::elf_image::{self, ElfImage};
use crate::sys::{process, signal};

static RAN: AtomicBool = AtomicBool::new(false);

/// The section holds pointers to functions of exactly this type, which the C library calls once,
/// before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static HOOK: elf_image::InitFunction = hook;

/// Whether the hook is active: it ran in this process, and belongs to the main executable, not to a
/// library that other code has loaded.
pub(super) fn is_in_place() -> bool {
    // Using the entry keeps the linker from dropping it.
    let entry = HOOK as *const () as usize;
    RAN.load(Ordering::Relaxed) && ElfImage::main().contains(entry)
}

extern "C" fn hook(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) {
    RAN.store(true, Ordering::Relaxed);
    signal::record_ignored_at_start();
    let Some(token) = std::env::var_os(VARIABLE) else { return };
    if !ElfImage::main().contains(HOOK as *const () as usize) {
        // A library's copy leaves the work to the executable's own.
        return;
    }
    // From here on this process never reaches `main`, which might make another pool, and thus
    // another process like this one, without end.
    // SAFETY: before `main` there is one thread, unless a library's constructor has started more;
    // then the server refuses to serve, and no code of this crate reads the environment until it
    // ends.
    unsafe { process::remove_env(VARIABLE) };
    if !process::is_open(SOCKET_FD) {
        refuse("it is not open");
    }
    // SAFETY: open, as checked above, and not opened by this crate. A constructor that owns it
    // loses it: this process is a fork server from now on, or ends at once.
    let socket = unsafe { process::inherited(SOCKET_FD) };
    let admitted = peer::socket(socket).and_then(|(socket, peer)| {
        let token = token.to_str().and_then(|text| text.parse::<u64>().ok());
        Ok((socket, peer, token.ok_or("the variable is not a number")?))
    });
    match admitted {
        Ok((socket, peer, token)) => {
            // SAFETY: this is `HOOK`, called by the C library, and `serve` does not return.
            unsafe { elf_image::run_initialisers_after(HOOK, argc, argv, envp) };
            server_main::serve(socket, peer, token, process::SERVER)
        }
        Err(found) => refuse(&found),
    }
}
