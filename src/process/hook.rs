//! Catches the fork server before `main`.
//!
//! The fork server is the host's own executable, started anew. An entry of `.init_array` runs in
//! every process of that executable before `main`; it does nothing unless an environment variable
//! says that this process is a fork server.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::process::server;
use crate::sys::image::{self, Image};
use crate::sys::process;

/// Name of the variable that makes a process a fork server; its value is the token.
pub(super) const VARIABLE: &str = "BRIGADE_FORK_SERVER";

/// The descriptor on which a fork server finds its socket.
const SOCKET_FD: i32 = 3;

static RAN: AtomicBool = AtomicBool::new(false);

/// The section holds pointers to functions of exactly this type, which the C library calls once,
/// before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static HOOK: image::InitFunction = hook;

/// Whether the hook runs in processes of this executable: it ran in this one, and is part of the
/// main executable rather than of a library that something else has loaded.
pub(super) fn is_in_place() -> bool {
    // Naming the entry keeps the linker from dropping it.
    let entry = HOOK as *const () as usize;
    RAN.load(Ordering::Relaxed) && Image::main().contains(entry)
}

extern "C" fn hook(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) {
    RAN.store(true, Ordering::Relaxed);
    let Some(token) = std::env::var_os(VARIABLE) else { return };
    if process::is_privileged_exec() || !Image::main().contains(HOOK as *const () as usize) {
        return;
    }
    let Some(token) = token.to_str().and_then(|text| text.parse::<u64>().ok()) else { return };
    // SAFETY: before `main` there is one thread, unless a library's constructor has started more;
    // then the server refuses to serve, and nothing of ours reads the environment until it ends.
    unsafe { process::remove_env(VARIABLE) };
    // SAFETY: this is `HOOK`, called by the C library, and `serve` does not return.
    unsafe { image::run_initialisers_after(HOOK, argc, argv, envp) };
    // SAFETY: the host, and only it, sets the variable, and passes the socket as this descriptor.
    let socket = unsafe { process::inherited(SOCKET_FD) };
    server::serve(socket.into(), token)
}
