//! A kernel, container or unit that says yes and does nothing: no launcher believes it.

use std::process::Command;

use muster_lock::{
    client::Launcher,
    protocol::{FromLauncher, Mode},
};

use crate::harness::{built, program, root, start};

/// What a launcher says to whom these calls are answered without being done.
fn refused(mode: Mode, lies: &[String]) -> String {
    let mut command = Command::new(built("liar"));
    command.args(lies).arg("--").arg(program());
    let mut plan = start(mode);
    if !root() {
        plan.ids = None;
    }
    let launcher = Launcher::start_by(command, plan).expect("start");
    match launcher.receive() {
        Ok(Some(FromLauncher::Refused { why })) => why,
        other => panic!("{mode:?} {lies:?}: {other:?}"),
    }
}

#[test]
fn a_call_that_is_answered_and_not_done_is_noticed() {
    let (dumpable, last_privileges) = (libc::PR_SET_DUMPABLE, libc::PR_SET_NO_NEW_PRIVS);
    let lies = [
        (
            format!("{}=0", libc::SYS_seccomp),
            "did not withstand its own test: unshare",
        ),
        (
            format!("{}=0", libc::SYS_landlock_restrict_self),
            "did not withstand its own test: /proc/self",
        ),
        (
            format!("{}=0", libc::SYS_mount_setattr),
            "did not withstand its own test: /usr/muster-test",
        ),
        (format!("{}=0", libc::SYS_close_range), "descriptor"),
        (format!("{}=0", libc::SYS_connect), "network is not empty"),
        (
            format!("{}=0", libc::SYS_capset),
            "the lock is not whole: CapPrm is",
        ),
        (format!("{}:{dumpable}=0", libc::SYS_prctl), "memory is"),
        (format!("{}=0", libc::SYS_prlimit64), "it stayed as it was"),
        (format!("{}=0", libc::SYS_setresuid), ""),
        (format!("{}=0", libc::SYS_setresgid), ""),
    ];
    for mode in [Mode::Restricted, Mode::Unrestricted] {
        for (lie, said) in &lies {
            let why = refused(mode, std::slice::from_ref(lie));
            assert!(why.contains(said), "{mode:?}, {lie}: {why}");
        }
        if root() {
            let why = refused(mode, &[format!("{}:{last_privileges}=0", libc::SYS_prctl)]);
            // Process 1 of the run says it, or the payload that waits for it; whoever is first.
            let said = ["Landlock", "the supervisor is gone"];
            assert!(said.iter().any(|said| why.contains(said)), "{mode:?}: {why}");
        }
    }
}

#[test]
fn a_wall_that_cannot_be_built_is_named() {
    let absent = libc::ENOSYS;
    for (call, said) in [
        (libc::SYS_landlock_create_ruleset, "use Landlock"),
        (libc::SYS_open_tree, "in the jail"),
        (libc::SYS_pivot_root, "exchange the root"),
        // Process 1 of the run says it, or the payload that waits for it; whoever is first.
        (libc::SYS_seccomp, "the run could not be set up"),
        (libc::SYS_setsid, "session"),
    ] {
        let why = refused(Mode::Restricted, &[format!("{call}={absent}")]);
        assert!(why.contains(said), "{call}: {why}");
    }
}
