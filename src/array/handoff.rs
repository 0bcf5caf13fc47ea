//! stub
use crate::error::Result;
use crate::region::windows::Windows;
#[derive(Debug)]
pub(crate) struct Lease;
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct WireLease { pub(crate) arena: u64, pub(crate) offset: u64, pub(crate) len_bytes: u64, pub(crate) kind: u64 }
impl Lease { pub(crate) fn wire(&self) -> WireLease { WireLease { arena: 0, offset: 0, len_bytes: 0, kind: 0 } } }
pub(crate) fn encode<R>(f: impl FnOnce() -> R) -> (R, Vec<Lease>) { (f(), Vec::new()) }
pub(crate) fn decode<R>(_w: &Windows, _l: &[WireLease], f: impl FnOnce() -> R) -> R { f() }
pub(crate) fn redeem<R>(_l: Vec<Lease>, f: impl FnOnce() -> R) -> R { f() }
pub(crate) fn live_handles() -> usize { 0 }
