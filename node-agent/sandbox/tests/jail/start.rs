//! Which jails are built and which are refused.

use std::process::Command;

use muster_lock::{
    client::Launcher,
    protocol::{FromLauncher, IdRange, Mode, Network, Report, Start},
};

use crate::harness::{
    NOBODY, as_nobody, as_service, begin, eventually, family, field, jail, limits, lines, mount, program,
    program_as_nobody, root, start,
};

fn refused(start: Start) -> String {
    let launcher = Launcher::start(&program(), start).expect("start");
    match launcher.receive().expect("answer") {
        Some(FromLauncher::Refused { why }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_jail_is_refused() {
    for network in [Network::Host, Network::Brokered] {
        let network = Start {
            network,
            ..start(Mode::Restricted)
        };
        assert!(refused(network).contains("no network"));
    }
    let mut writable = start(Mode::Restricted);
    writable.mounts.push(mount(&program(), "/opt/program", true));
    assert!(refused(writable).contains("cannot be writable"));
    let mut over = start(Mode::Unrestricted);
    over.mounts.push(mount(&program(), "/proc/x", false));
    assert!(refused(over).contains("nothing can be mounted"));
    let mut missing = start(Mode::Restricted);
    missing
        .mounts
        .push(mount("/does/not/exist".as_ref(), "/opt/x", false));
    assert!(refused(missing).contains("/does/not/exist does not exist"));
    let relative = Start {
        command: vec!["probe".to_owned()],
        ..start(Mode::Restricted)
    };
    assert!(refused(relative).contains("absolute"));
    let ids = |first, count| Start {
        ids: Some(IdRange { first, count }),
        ..start(Mode::Restricted)
    };
    assert!(refused(ids(100_000, 1)).contains("no range"));
    // 42 is the group shadow.
    assert!(refused(ids(40, 9)).contains("belong to users of the host"));
    if root() {
        let as_root = Start {
            ids: None,
            ..start(Mode::Restricted)
        };
        assert!(refused(as_root).contains("runs would be root"));
    }
}

#[test]
fn an_engine_that_does_not_start_is_quoted() {
    let mut dies = start(Mode::Restricted);
    dies.command.push("die".to_owned());
    let why = refused(dies);
    assert!(
        why.contains("left with code 3") && why.contains("no package called sorry"),
        "{why}"
    );
    let absent = Start {
        command: vec!["/opt/absent".to_owned()],
        ..start(Mode::Restricted)
    };
    assert!(refused(absent).contains("cannot execute /opt/absent"));
}

#[test]
fn who_names_no_engine_hears_what_the_jail_is_worth_and_no_more() {
    let mut nothing = start(Mode::Restricted);
    nothing.command.clear();
    nothing.mounts.clear();
    let launcher = Launcher::start(&program(), nothing.clone()).expect("start");
    match launcher.until_ready().expect("ready") {
        FromLauncher::Ready {
            landlock_abi,
            own_ids,
            ..
        } => assert!(landlock_abi >= 2 && own_ids == root()),
        other => panic!("{other:?}"),
    }
    assert_eq!(launcher.receive().expect("its end"), None);
    let ended = launcher.close().expect("closed").expect("a child");
    assert!(ended.success(), "{ended:?}");
    // What is no jail is refused as ever.
    nothing.network = Network::Host;
    assert!(refused(nothing).contains("no network"));
}

#[test]
fn an_ordinary_user_gets_a_jail_and_hears_what_it_lacks() {
    let folder = tempfile::tempdir().expect("folder");
    for mode in [Mode::Restricted, Mode::Unrestricted] {
        let launcher = as_nobody(start(mode), folder.path());
        match launcher.until_ready().expect("ready") {
            FromLauncher::Ready {
                landlock_abi,
                degraded,
                own_ids,
            } => {
                assert!(landlock_abi >= 2 && !own_ids);
                assert!(
                    degraded.iter().any(|one| one.contains("address space")),
                    "{degraded:?}"
                );
            }
            other => panic!("{other:?}"),
        }
        let outcome = begin(
            &launcher,
            1,
            limits(),
            "uid\nlist /tmp\neat 2000000000\nread /proc/1/environ",
        )
        .finish()
        .expect("finished");
        let results = lines(&outcome);
        assert_eq!(
            results[..3],
            [Ok("1000".to_owned()), Ok(String::new()), Err(libc::ENOMEM)]
        );
        assert!(results[3].is_err());
        launcher.close().expect("closed");
    }
}

#[test]
fn a_service_user_with_two_capabilities_gives_each_run_its_id() {
    if !root() {
        // Only root can hand out capabilities.
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let plan = start(Mode::Restricted);
    let first = plan.ids.expect("ids").first;
    let launcher = as_service(plan, folder.path(), &format!("{NOBODY}:{first}:9\n"));
    match launcher.until_ready().expect("ready") {
        FromLauncher::Ready { own_ids, .. } => assert!(own_ids),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        field(launcher.id(), "CapEff").as_deref(),
        Some("0000000000000000"),
        "given up after the maps"
    );
    let run = begin(&launcher, 1, limits(), "pause");
    let users = || -> Vec<u32> {
        let lines = family(launcher.id())
            .into_iter()
            .filter_map(|pid| field(pid, "Uid"));
        lines
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect()
    };
    eventually("the launcher, the engine and the run each have their id", || {
        let users = users();
        users.contains(&NOBODY)
            && users.contains(&first)
            && users.iter().any(|user| (first + 1..first + 9).contains(user))
    });
    drop(run);
    launcher.close().expect("closed");
}

#[test]
fn a_service_user_gives_only_the_ids_that_are_entered_for_it() {
    if !root() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let plan = || start(Mode::Restricted);
    let refused = |plan: Start, entries: &str| match as_service(plan, folder.path(), entries).receive() {
        Ok(Some(FromLauncher::Refused { why })) => why,
        other => panic!("{other:?}"),
    };
    let why = refused(plan(), "");
    assert!(
        why.contains("/etc/subuid does not give the ids") && why.contains("usermod --add-subuids"),
        "{why}"
    );
    let others = "root:65536:4000000000\nmuster-jail:65536:4000000000\n";
    assert!(refused(plan(), others).contains("does not give"));
    let shadow = Start {
        ids: Some(IdRange { first: 40, count: 9 }),
        ..plan()
    };
    let everything = format!("{NOBODY}:0:4294967295\n");
    assert!(refused(shadow, &everything).contains("belong to users of the host"));
}

#[test]
fn the_self_test_on_request_says_what_holds() {
    let folder = tempfile::tempdir().expect("folder");
    for mut command in [Command::new(program()), program_as_nobody(folder.path())] {
        let output = command.arg("--self-test").output().expect("run");
        let words = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && words.starts_with("The jail stands"),
            "{output:?}"
        );
    }
}

/// Numbers of processes in the jail tell what was forked there: its own test before the engine, and for each run process 1
/// and the payload, and nothing else.
#[test]
fn the_jail_tests_itself_once_and_not_for_each_run() {
    for mode in [Mode::Restricted, Mode::Unrestricted] {
        let launcher = jail(start(mode));
        let numbers = || {
            let mut numbers: Vec<Vec<u32>> = family(launcher.id())
                .into_iter()
                .filter_map(|pid| field(pid, "NSpid"))
                .map(|line| {
                    let numbers = line.split_whitespace().skip(1);
                    numbers.map(|number| number.parse().expect("a number")).collect()
                })
                .collect();
            numbers.retain(|numbers| !numbers.is_empty());
            numbers
        };
        // The jail's process 1 and the engine are in its namespace only.
        let own: Vec<u32> = numbers()
            .into_iter()
            .filter_map(|numbers| numbers.first().copied())
            .collect();
        let engine = own.iter().copied().max().expect("an engine");
        assert!(
            own.len() == 2 && engine >= 5,
            "a stand-in had a run before it: {own:?}"
        );
        let mut before = engine;
        for number in 1..=3 {
            let run = begin(&launcher, number, limits(), "pause");
            let of_run = || -> Vec<u32> {
                let found = numbers().into_iter().filter(|numbers| numbers.len() == 2);
                found
                    .filter_map(|numbers| numbers.first().copied())
                    .filter(|number| *number > before)
                    .collect()
            };
            eventually("process 1 and the payload are there", || of_run().len() == 2);
            let mut found = of_run();
            found.sort_unstable();
            assert_eq!(found, [before + 1, before + 2], "{mode:?}");
            before += 2;
            drop(run);
        }
        launcher.close().expect("closed");
    }
}

/// The jail has withstood its own test, and one promise does not hold for one run.
#[test]
fn each_run_looks_at_its_own_lock_and_is_refused_where_it_is_not_whole() {
    let mut plan = start(Mode::Restricted);
    plan.command.push("thread-after-fork".to_owned());
    let launcher = jail(plan);
    for number in 1..=2 {
        let run = launcher.run(number, limits()).expect("forked");
        let outcome = run.finish().expect("finished");
        let [Report::Finished { message, .. }] = outcome.reports.as_slice() else {
            panic!("{outcome:?}")
        };
        assert!(
            message.contains("the lock is not whole: Threads is 2"),
            "{message}"
        );
        assert_eq!(outcome.stdout, "");
    }
    launcher.close().expect("closed");
}

#[test]
fn standard_input_that_is_no_socket_is_refused() {
    let output = Command::new(program())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("started by the agent"),
        "{output:?}"
    );
}
