//! What the tests of the whole share: golden files, and a harness that starts the real programs and speaks their
//! real protocols.

#![forbid(unsafe_code)]

mod agent;
mod command_line;
mod database;
pub mod flood;
mod golden;
pub mod member;
mod middle;
mod node;
pub mod parsers;
mod person;
mod process;
mod server;
mod wrong_clock;

pub use self::{
    agent::{RealNode, approve},
    command_line::CommandLine,
    database::Sqlite,
    golden::golden,
    member::{Claimed, Member, ReceiptSigner, challenge},
    middle::Middle,
    node::{Applicant, Offered, answer_of},
    person::{Person, problem, refusal},
    process::{Process, folder, needs_crash_points, program, run_program, run_program_in, until, within},
    server::{Blank, PASSWORD, Server, Settings},
    wrong_clock::WrongClock,
};

use std::path::Path;

use muster_daemon::{Clock, Random};

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the folder tests is in the workspace")
}

/// Milliseconds since 1970, UTC.
pub fn now() -> i64 {
    Clock::system().unix_ms()
}

/// `word` and a number that no other test has.
pub fn unique(word: &str) -> String {
    format!("{word}-{:08x}", u32::from_be_bytes(Random::system().bytes()))
}
