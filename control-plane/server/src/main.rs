//! `muster-server`: see `muster-server --help`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Thousands of nodes hold little each and ask for short: docs/adr/0021.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    muster_server::cli::main()
}
