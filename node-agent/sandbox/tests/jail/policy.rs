//! What a policy allows trusted code, and nothing else: programs, and paths of the host.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use muster_lock::protocol::{FromLauncher, Mode, Mount, Programs, Start};

use crate::harness::{launcher, results, start};

/// Which the kernel executes to load others.
const LOADER: &str = if cfg!(target_arch = "x86_64") {
    "/lib64/ld-linux-x86-64.so.2"
} else {
    "/lib/ld-linux-aarch64.so.1"
};

fn allowing(programs: Programs) -> Start {
    Start {
        programs,
        ..start(Mode::Unrestricted)
    }
}

fn listed(paths: &[&str]) -> Programs {
    Programs::Listed(paths.iter().map(Into::into).collect())
}

fn by_policy(source: &Path, target: &str, writable: bool) -> Mount {
    Mount {
        source: source.canonicalize().expect("a place"),
        target: target.into(),
        writable,
        by_policy: true,
    }
}

/// A folder that runs may use, with a program in it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy("/usr/bin/true", folder.path().join("tool")).expect("copied");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("permissions");
    folder
}

#[test]
fn all_programs_are_what_the_jail_shows() {
    let found = results(
        allowing(Programs::All),
        "run /usr/bin/uname\ncopy /usr/bin/true mine\nrun /scratch/mine",
    );
    assert_eq!(found[0], Ok("Linux".to_owned()));
    assert!(found.iter().all(Result::is_ok), "{found:?}");
}

#[test]
fn without_programs_nothing_is_executed_and_processes_still_can_be_made() {
    let steps = format!(
        "fork\nrun /usr/bin/uname\ncopy /usr/bin/true mine\nrun /scratch/mine\nrun /tmp/mine\nexec /bin/sh\nrun {LOADER} /usr/bin/true"
    );
    let found = results(allowing(Programs::None), &steps);
    assert!(found[0].is_ok() && found[2].is_ok(), "{found:?}");
    for index in [1, 3, 4, 5, 6] {
        assert_eq!(found[index], Err(libc::EPERM), "{index}: {found:?}");
    }
}

#[test]
fn only_listed_programs_are_executed() {
    let steps = format!(
        "run /usr/bin/uname
        run /bin/uname
        run /usr/bin/true
        exec /bin/sh
        copy /usr/bin/uname mine
        run /scratch/mine
        run {LOADER} /usr/bin/uname
        run {LOADER} /usr/bin/true
        run {LOADER} /scratch/mine"
    );
    let found = results(allowing(listed(&["/usr/bin/uname", "/no/such/program"])), &steps);
    for index in [0, 1, 6] {
        assert_eq!(found[index], Ok("Linux".to_owned()), "{index}: {found:?}");
    }
    for index in [2, 3, 5] {
        assert_eq!(found[index], Err(libc::EACCES), "{index}: {found:?}");
    }
    // The loader starts, and finds that it may map nothing of this for execution.
    for index in [7, 8] {
        assert_eq!(found[index], Err(0), "{index}: {found:?}");
    }
}

#[test]
fn a_folder_of_programs_may_be_listed() {
    let found = results(
        allowing(listed(&["/usr/bin"])),
        "run /usr/bin/uname\nrun /usr/sbin/chroot",
    );
    assert_eq!(found, [Ok("Linux".to_owned()), Err(libc::EACCES)]);
}

#[test]
fn paths_are_readable_or_writable_as_the_policy_says() {
    let (data, out) = (folder(), folder());
    fs::write(data.path().join("in"), "host").expect("written");
    for programs in [Programs::All, Programs::None] {
        let mut plan = allowing(programs);
        plan.mounts.push(by_policy(data.path(), "/srv/data", false));
        plan.mounts.push(by_policy(out.path(), "/srv/out", true));
        let found = results(
            plan,
            "read /srv/data/in\nwrite /srv/data/new x\nwrite /srv/out/new run\nlist /srv\nwrite /srv/x x",
        );
        assert_eq!(found[0], Ok("host".to_owned()));
        assert_eq!(found[1], Err(libc::EROFS), "{found:?}");
        assert!(found[2].is_ok(), "{found:?}");
        assert_eq!(found[3], Ok("data out".to_owned()));
        assert!(found[4].is_err());
        assert_eq!(fs::read(out.path().join("new")).expect("written"), b"run");
        fs::remove_file(out.path().join("new")).expect("removed");
    }
}

#[test]
fn what_a_policy_shows_is_data_unless_it_lists_programs_there() {
    let out = folder();
    let tried = |programs| {
        let mut plan = allowing(programs);
        plan.mounts.push(by_policy(out.path(), "/srv/out", true));
        results(plan, "run /srv/out/tool\nwrite /srv/out/tool x")
    };
    assert!(tried(listed(&["/usr/bin/uname"]))[0].is_err());
    let found = tried(listed(&["/srv/out/tool"]));
    // It is executed, and cannot be exchanged for another.
    assert!(found[0].is_ok() && found[1].is_err(), "{found:?}");
    assert!(tried(Programs::All)[0].is_ok());
}

#[test]
fn a_link_that_was_made_since_the_path_was_looked_at_leads_nowhere() {
    let (folder, secret) = (folder(), folder());
    fs::write(secret.path().join("key"), "secret").expect("written");
    let link = folder.path().join("link");
    symlink(secret.path(), &link).expect("a link");
    for source in [link.clone(), link.join("key")] {
        let mut plan = allowing(Programs::All);
        plan.mounts.push(Mount {
            source,
            target: "/srv/data".into(),
            writable: false,
            by_policy: true,
        });
        let launcher = launcher(plan);
        match launcher.receive().expect("answer") {
            Some(FromLauncher::Refused { why }) => assert!(why.contains("symbolic links"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    // Nor does one within what is shown.
    symlink("/opt", folder.path().join("aside")).expect("a link");
    let mut plan = allowing(Programs::All);
    plan.mounts.push(by_policy(folder.path(), "/srv/data", false));
    plan.mounts
        .push(by_policy(secret.path(), "/srv/data/aside", false));
    let launcher = launcher(plan);
    assert!(matches!(
        launcher.receive().expect("answer"),
        Some(FromLauncher::Refused { .. })
    ));
}
