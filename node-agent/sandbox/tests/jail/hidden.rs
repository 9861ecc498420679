//! Processes of the jail that are not the payload: nobody looks into them, and they know nothing of the agent.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    process::{Command, Output},
};

use muster_lock::{
    client::Launcher,
    protocol::{FromLauncher, Mode},
};

use crate::harness::{begin, eventually, family, field, limits, lines, program, root, start};

/// What the agent's environment holds; nobody in the jail may know it.
const SECRET: &str = "kept-from-every-run";

/// Processes by what they are, while one run waits.
struct Cast {
    launcher: u32,
    keeper: Option<u32>,
    first: u32,
    engine: u32,
    supervisor: u32,
    payload: u32,
}

/// Children of a process, the oldest first.
fn children(of: u32) -> Vec<u32> {
    let family = family(of);
    let mut children: Vec<u32> = family
        .into_iter()
        .filter(|pid| field(*pid, "PPid").as_deref() == Some(&of.to_string()))
        .collect();
    children.sort_unstable();
    children
}

fn cast(launcher: u32) -> Cast {
    let (one, two) = (children(launcher), |pid: u32| children(pid).first().copied());
    let inside = |pid: &u32| field(*pid, "NSpid").is_some_and(|pids| pids.split_whitespace().count() > 1);
    let first = one.iter().copied().find(inside).expect("the jail's process 1");
    let engine = two(first).expect("the engine");
    let supervisor = two(engine).expect("the run's process 1");
    Cast {
        launcher,
        keeper: one.into_iter().find(|pid| !inside(pid)),
        first,
        engine,
        supervisor,
        payload: two(supervisor).expect("the payload"),
    }
}

/// A launcher with a secret in its environment, and a run that waits.
fn with_secret(mode: Mode) -> (Launcher, muster_lock::client::Run) {
    let mut plan = start(mode);
    plan.environment
        .insert("FOR_ENGINE".to_owned(), "known".to_owned());
    let mut command = Command::new("env");
    command.arg(format!("AGENTS={SECRET}")).arg(program());
    let launcher = Launcher::start_by(command, plan).expect("start");
    let ready = launcher.until_ready().expect("ready");
    assert!(matches!(ready, FromLauncher::Ready { .. }));
    let run = begin(&launcher, 1, limits(), "pause");
    eventually("the run waits", || {
        family(launcher.id()).iter().any(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            name.starts_with(&format!("{} ", libc::SYS_pause))
        })
    });
    (launcher, run)
}

#[test]
fn the_environment_is_empty_outside_the_engine_and_the_plans_inside() {
    if !root() {
        // Nobody else may read it, which the next test shows.
        return;
    }
    for mode in [Mode::Restricted, Mode::Unrestricted] {
        let (launcher, run) = with_secret(mode);
        let cast = cast(launcher.id());
        let environment = |pid: u32| -> String {
            let bytes = fs::read(format!("/proc/{pid}/environ")).expect("environ");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        assert!(cast.keeper.is_some(), "root has a group to keep");
        for pid in [cast.launcher, cast.first].into_iter().chain(cast.keeper) {
            assert_eq!(environment(pid), "", "{mode:?}");
        }
        let name = if mode == Mode::Restricted {
            "restricted"
        } else {
            "unrestricted"
        };
        for pid in [cast.engine, cast.supervisor, cast.payload] {
            assert_eq!(
                environment(pid),
                format!("FOR_ENGINE=known\0MODE={name}\0"),
                "{mode:?}"
            );
        }
        drop(run);
    }
}

/// Files of a process that is not dumpable belong to root of the user namespace in which its program was started: to the
/// host's for copies of the launcher, to the jail's for copies of the engine. Else they belong to the process's user.
#[test]
fn nobody_looks_into_a_process_of_the_jail_but_into_the_payload() {
    if !root() {
        return;
    }
    for mode in [Mode::Restricted, Mode::Unrestricted] {
        let (launcher, run) = with_secret(mode);
        let cast = cast(launcher.id());
        let owner = |pid: u32| fs::metadata(format!("/proc/{pid}/mem")).expect("mem").uid();
        let user = |pid: u32| -> u32 {
            let users = field(pid, "Uid").expect("users");
            users
                .split_whitespace()
                .next()
                .and_then(|user| user.parse().ok())
                .expect("a user")
        };
        let jails_root = user(cast.engine);
        assert_ne!(jails_root, 0);
        assert_eq!((user(cast.first), owner(cast.first)), (jails_root, 0), "{mode:?}");
        assert_eq!(owner(cast.supervisor), jails_root, "{mode:?}");
        assert_ne!(user(cast.supervisor), jails_root, "{mode:?}");
        assert_eq!(
            owner(cast.payload),
            user(cast.payload),
            "the languages look into themselves"
        );
        // The engine is the jail's root and its program was started there, so its files tell nothing; a process of the
        // same user in the same place is asked.
        let peer = |script: &str| -> Output {
            Command::new("nsenter")
                .args([
                    "--user",
                    &format!("--target={}", cast.engine),
                    "setpriv",
                    "--bounding-set=-all",
                ])
                .args(["--inh-caps=-all", "sh", "-c", script])
                .output()
                .expect("nsenter")
        };
        let allowed = peer("sleep 100 & cat /proc/$!/environ; kill $!");
        assert!(allowed.status.success(), "{allowed:?}");
        let forbidden = peer(&format!("cat /proc/{}/environ", cast.engine));
        let words = String::from_utf8_lossy(&forbidden.stderr);
        assert!(
            !forbidden.status.success() && words.contains("ermission denied"),
            "{mode:?}: {forbidden:?}"
        );
        drop(run);
    }
}

/// The launcher's own files, where it is not root.
#[test]
fn the_launcher_and_its_keeper_are_closed_to_their_own_user() {
    let folder = tempfile::tempdir().expect("folder");
    let launcher = crate::harness::as_nobody(start(Mode::Restricted), folder.path());
    launcher.until_ready().expect("ready");
    let id = launcher.id();
    for pid in children(id).into_iter().chain([id]) {
        assert_eq!(
            fs::metadata(format!("/proc/{pid}/mem")).expect("mem").uid(),
            0,
            "{pid}"
        );
    }
    launcher.close().expect("closed");
}

#[test]
fn a_payload_finds_nothing_of_the_agent_in_memory_or_in_the_process_file_system() {
    // Written so that looking for it does not make it be there.
    let shifted = |text: &str| -> String { text.bytes().map(|byte| char::from(byte + 1)).collect() };
    let folder = tempfile::Builder::new()
        .prefix("host-folder-of-the-agent")
        .tempdir()
        .expect("folder");
    let mut plan = start(Mode::Unrestricted);
    plan.mounts
        .push(crate::harness::mount(folder.path(), "/data", false));
    plan.environment
        .insert("FOR_ENGINE".to_owned(), "known-to-engines".to_owned());
    let mut command = Command::new("env");
    command.arg(format!("AGENTS={SECRET}")).arg(program());
    if !root() {
        plan.ids = None;
    }
    let launcher = Launcher::start_by(command, plan).expect("start");
    launcher.until_ready().expect("ready");
    let steps = format!(
        "find memory {}\nfind memory {}\nfind memory {}\nfind proc {}\nfind proc {}",
        shifted("known-to-engines"),
        shifted(SECRET),
        shifted("host-folder-of-the-agent"),
        shifted("known-to-engines"),
        shifted(SECRET),
    );
    let outcome = begin(&launcher, 1, limits(), &steps).finish().expect("finished");
    let found = lines(&outcome);
    // What the engine was started with is there: so the search finds what there is.
    assert_ne!(found[0], Ok("0".to_owned()), "{found:?}");
    assert_ne!(found[3], Ok("0".to_owned()), "{found:?}");
    for index in [1, 2, 4] {
        assert_eq!(found[index], Ok("0".to_owned()), "{index}: {found:?}");
    }
    launcher.close().expect("closed");
}
