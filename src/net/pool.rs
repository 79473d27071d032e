//! Pool.
/// x
pub struct Pool;
