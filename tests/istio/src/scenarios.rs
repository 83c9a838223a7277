//! The scenarios: each sets something up, asserts what clients and servers see, and gives what is to be the same with every proxy.

mod edge;
mod install;
mod life;
mod observed;
mod operations;
mod places;
mod policies;
mod protocols;
mod routing;
mod security;

use anyhow::Result;
use serde_json::Value;

use crate::world::World;

/// One of them.
pub struct Scenario {
    pub name: &'static str,
    pub run: fn(&World) -> Result<Value>,
}

/// All of them, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    [
        protocols::ALL,
        routing::ALL,
        security::ALL,
        policies::ALL,
        places::ALL,
        observed::ALL,
        edge::ALL,
        install::ALL,
        operations::ALL,
        life::ALL,
    ]
    .into_iter()
    .flatten()
}
