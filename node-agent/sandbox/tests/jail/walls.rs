//! What a payload cannot do.

use std::fs;

use muster_lock::protocol::{Exit, Mode, Report};

use crate::harness::{
    as_nobody, begin, family, field, jail, limits, lines, mount, results, root, stage, start,
};

const REFUSED: [i32; 2] = [libc::EPERM, libc::EACCES];

#[test]
fn restricted_code_is_refused_files_programs_processes_and_network() {
    let steps = "read /etc/passwd
        read /proc/self/environ
        read /proc/cpuinfo
        write /usr/x y
        write /x y
        write /etc/x y
        write /dev/x y
        socket 1
        socket 2
        socket 16
        exec /bin/true
        fork
        mount
        unshare
        ptrace
        symlink /etc /scratch/etc
        hardlink /scratch/run.json /scratch/other
        fifo /scratch/fifo
        call 319 0
        call 425 1
        call 321 0";
    let results = results(start(Mode::Restricted), steps);
    for (step, result) in steps.lines().zip(&results) {
        let step = step.trim();
        let also = match step {
            // Not there at all, for nobody's eyes.
            "read /etc/passwd" | "read /proc/cpuinfo" => libc::ENOENT,
            // The read-only mount answers before Landlock does.
            _ if step.starts_with("write") => libc::EROFS,
            _ => libc::EPERM,
        };
        let refused = |error: &i32| REFUSED.contains(error) || *error == also;
        assert!(result.as_ref().is_err_and(refused), "{step}: {result:?}");
    }
    assert_eq!(results.len(), steps.lines().count());
}

#[test]
fn restricted_code_writes_its_own_folder() {
    let results = results(
        start(Mode::Restricted),
        "write /scratch/a text
        rename /scratch/a /scratch/b
        read /scratch/b
        mkdir /scratch/in
        write /tmp/c other
        list /tmp
        list /scratch
        write /dev/null gone
        uid
        pid",
    );
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(
        results,
        [
            ok(""),
            ok(""),
            ok("text"),
            ok(""),
            ok(""),
            ok("c"),
            ok("b in run.json tmp"),
            ok(""),
            ok("1000"),
            ok("2"),
        ]
    );
}

#[test]
fn foreign_instruction_sets_end_the_run() {
    let launcher = jail(start(Mode::Restricted));
    let outcome = begin(&launcher, 1, limits(), "print before\nforeign\nprint after")
        .finish()
        .expect("finished");
    assert_eq!(outcome.exit, Some(Exit::Signal(libc::SIGSYS)));
    assert_eq!(lines(&outcome), [Ok("before".to_owned())]);
    assert_eq!(outcome.reports, [Report::Locked]);
    // getpid of x32, which has the numbers of x86_64 and one bit.
    let outcome = begin(
        &launcher,
        2,
        limits(),
        "print before\ncall 1073741863 0\nprint after",
    )
    .finish()
    .expect("finished");
    assert_eq!(outcome.exit, Some(Exit::Signal(libc::SIGSYS)));
    assert_eq!(lines(&outcome), [Ok("before".to_owned())]);
}

#[test]
fn trusted_code_sees_what_is_mounted_and_nothing_else() {
    let shown = tempfile::tempdir().expect("folder");
    let hidden = tempfile::tempdir().expect("folder");
    for folder in [&shown, &hidden] {
        fs::write(folder.path().join("file"), "words").expect("file");
        open_to_all(folder.path());
    }
    let mut start = start(Mode::Unrestricted);
    start.mounts.push(mount(shown.path(), "/data/shown", false));
    let writable = tempfile::tempdir().expect("folder");
    open_to_all(writable.path());
    start.mounts.push(mount(writable.path(), "/data/mine", true));
    let steps = format!(
        "read /data/shown/file
        write /data/shown/file no
        write /data/mine/file yes
        read {}/file
        read /etc/shadow
        run /usr/bin/uname
        fork
        write /usr/x y
        unshare
        mount
        list /proc/1/fd
        list /data",
        hidden.path().display()
    );
    let results = results(start, &steps);
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(results[0], ok("words"));
    assert!(
        results[1]
            .as_ref()
            .is_err_and(|error| [libc::EROFS, libc::EACCES].contains(error)),
        "{results:?}"
    );
    assert_eq!(results[2], ok(""));
    assert_eq!(
        fs::read_to_string(writable.path().join("file")).expect("written"),
        "yes"
    );
    assert_eq!(
        fs::read_to_string(shown.path().join("file")).expect("untouched"),
        "words"
    );
    assert_eq!(results[3], Err(libc::ENOENT));
    assert_eq!(results[4], Err(libc::ENOENT));
    assert_eq!(results[5], ok("Linux"));
    assert!(results[6].is_ok());
    assert!(results[7].is_err());
    assert_eq!(results[8..10], [Err(libc::EPERM), Err(libc::EPERM)]);
    assert!(results[10].is_err());
    assert_eq!(results[11], ok("mine shown"));
}

#[test]
fn a_payload_finds_nothing_of_those_who_made_it() {
    let mut start = start(Mode::Unrestricted);
    start
        .environment
        .insert("SECRET".to_owned(), "of-the-engine".to_owned());
    let steps = "read /proc/1/environ
        read /proc/1/mem
        read /proc/1/maps
        list /proc/1/fd
        list /proc/1/root
        read /proc/1/cmdline
        ptrace";
    let mut results = results(
        start,
        &format!("{steps}\nlist /proc\nlist /proc/self/fd\nread /proc/self/environ"),
    );
    let environment = results.pop().expect("environment").expect("its own");
    assert!(
        environment.contains("of-the-engine"),
        "a run inherits what its engine was started with"
    );
    // The standard streams, the control socket, and the listing itself.
    assert_eq!(results.pop(), Some(Ok("0 1 2 250 251 3".to_owned())));
    for (step, result) in steps.lines().zip(&results) {
        assert!(result.is_err(), "{step}: {result:?}");
    }
    let processes = results.last().expect("list").clone().expect("proc");
    let numbers: Vec<&str> = processes
        .split(' ')
        .filter(|name| name.parse::<u32>().is_ok())
        .collect();
    assert_eq!(numbers, ["2"], "only the payload itself is visible");
}

#[test]
fn two_runs_share_neither_user_nor_temporary_folder() {
    let launcher = jail(start(Mode::Unrestricted));
    let first = begin(
        &launcher,
        1,
        limits(),
        "write /tmp/first x\nwrite /dev/shm/first x\nlinger\nprint there\npause",
    );
    eventually_family(launcher.id(), 6);
    let second = begin(
        &launcher,
        2,
        limits(),
        "list /tmp\nlist /dev/shm\nread /tmp/first",
    )
    .finish()
    .expect("finished");
    assert_eq!(
        lines(&second),
        [Ok(String::new()), Ok(String::new()), Err(libc::ENOENT)]
    );
    if root() {
        let third = begin(&launcher, 3, limits(), "pause");
        // The launcher's own, the engine's, and one for each of the two runs; the second run is about to be gone.
        crate::harness::eventually("each has a user of its own", || {
            let family = family(launcher.id());
            let mut users: Vec<String> = family.into_iter().filter_map(|pid| field(pid, "Uid")).collect();
            users.sort_unstable();
            users.dedup();
            users.len() == 4
        });
        drop(third);
    }
    drop(first);
    launcher.close().expect("closed");
}

fn eventually_family(launcher: u32, size: usize) {
    let size = if root() { size + 1 } else { size };
    crate::harness::eventually("all processes are there", || family(launcher).len() >= size);
}

/// With one host user for all, as an agent without ids has it, nothing but process groups stands between them.
#[test]
fn a_runs_process_group_is_its_own() {
    let folder = tempfile::tempdir().expect("folder");
    let launcher = as_nobody(start(Mode::Unrestricted), folder.path());
    launcher.until_ready().expect("ready");
    let sibling = launcher.run(1, limits()).expect("forked");
    let others = family(launcher.id());
    let nice = |pid: &u32| -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The 19th field; the second ends with the last parenthesis.
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(16).map(str::to_owned)
    };
    let before: Vec<_> = others.iter().map(nice).collect();
    let outcome = begin(&launcher, 2, limits(), "group nice\ngroup kill\nprint after")
        .finish()
        .expect("finished");
    assert_eq!(lines(&outcome), [Ok("0".to_owned())]);
    assert_eq!(outcome.exit, Some(Exit::Signal(libc::SIGKILL)), "itself");
    let after: Vec<_> = others.iter().map(nice).collect();
    assert_eq!(before, after, "{others:?}");
    sibling.stage(&stage("print alive", &[]), &[]).expect("staged");
    let outcome = sibling.finish().expect("finished");
    assert_eq!(lines(&outcome), [Ok("alive".to_owned())]);
    launcher.close().expect("closed");
}

#[test]
fn a_device_of_the_host_is_written_to_but_never_changed() {
    for mode in [Mode::Restricted, Mode::Unrestricted] {
        let results = results(start(mode), "write /dev/null gone\ntouch /dev/null");
        assert_eq!(results, [Ok(String::new()), Err(libc::EROFS)], "{mode:?}");
    }
}

#[test]
fn a_runner_cannot_choose_its_mode() {
    let mut start = start(Mode::Restricted);
    start
        .environment
        .insert("MODE".to_owned(), "unrestricted".to_owned());
    let launcher = jail(start);
    // It leaves before it has read a stage, so none is sent.
    let outcome = launcher
        .run(1, limits())
        .expect("forked")
        .finish()
        .expect("finished");
    assert_eq!(outcome.stdout, "");
    let [Report::Finished { message, .. }] = outcome.reports.as_slice() else {
        panic!("{outcome:?}")
    };
    assert!(message.contains("this jail is restricted"), "{message}");
}

fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("permissions");
}
