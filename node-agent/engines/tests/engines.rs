//! Runs of real R and Python in the real jail.
//!
//! Needs `cargo build -p muster-sandbox` and `packaging/engines/make-venv.sh` first; a missing piece fails with
//! the command that makes it.

mod engines {
    mod bench;
    mod brokered;
    mod calls;
    mod data;
    mod endings;
    mod hazards;
    mod held;
    mod packages;
    mod policy;
    mod restricted;
    mod sessions;
    mod terr;
    mod trace;
    mod tricks;
    mod waiting;
}
