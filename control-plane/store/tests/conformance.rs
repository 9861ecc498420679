//! What the store promises, shown on both databases by the same functions.

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/world.rs"]
mod world;

#[path = "conformance/audit.rs"]
mod audit;
#[path = "conformance/authority.rs"]
mod authority;
#[path = "conformance/blob.rs"]
mod blob;
#[path = "conformance/bookkeeping.rs"]
mod bookkeeping;
#[path = "conformance/crash.rs"]
mod crash;
#[path = "conformance/crowd.rs"]
mod crowd;
#[path = "conformance/directory.rs"]
mod directory;
#[path = "conformance/epoch.rs"]
mod epoch;
#[path = "conformance/join.rs"]
mod join;
#[path = "conformance/join_token.rs"]
mod join_token;
#[path = "conformance/library.rs"]
mod library;
#[path = "conformance/node.rs"]
mod node;
#[path = "conformance/place.rs"]
mod place;
#[path = "conformance/run.rs"]
mod run;
#[path = "conformance/schema.rs"]
mod schema;
#[path = "conformance/signing.rs"]
mod signing;
#[path = "conformance/trust.rs"]
mod trust;
