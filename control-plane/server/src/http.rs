//! HTTP: what each listener answers. Handlers parse by type, call one use case, convert once.

pub mod admin;
pub mod console;
mod error;
mod extract;
mod late_end;
pub mod node;
pub mod ops;
pub mod registration;

pub use error::Failure;
