//! Big natural numbers: limb slices in, limb slices out.

mod limbs;
mod ntt;
mod params;

pub use limbs::add_limb;
pub use ntt::Backend;
