//! The program as people and scripts use it: the built binary, real sockets, real TLS, real terminals.

mod code_trust;
mod compat;
mod decisions;
mod expressions;
mod functions;
mod generated;
mod joins;
mod licenses;
mod policies;
mod program;
mod runs;
mod server;
mod sessions;
mod signatures;
mod stamps;
mod tables;
mod terminal;
mod usage;
