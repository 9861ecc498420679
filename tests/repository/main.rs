//! What must hold of the repository itself. Nothing here runs the product.

#![forbid(unsafe_code)]

mod documents;
mod files;
mod incidents;
mod layering;
mod migrations;
mod packages;
mod rows;
mod rust_code;
mod sources;
mod units;
mod vocabulary;
mod write_points;
