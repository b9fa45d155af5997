//! What the cache has to do with an exchange.

pub mod background;
pub mod hit;
pub mod lookup;
pub mod record;
pub mod revalidate;
pub mod state;
