//! What holds for every world: who may run what never depends on order or place, and restrictions only restrict.

mod alike;
mod changes;
mod entries;
mod narrowing;
mod operations;
mod questions;
mod scene;
