//! `muster-server`: see `muster-server --help`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    muster_server::cli::main()
}
