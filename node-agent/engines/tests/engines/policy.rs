//! An unrestricted run sees, reaches and starts what its policy allows, and nothing else.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

use muster_engines::{EngineKind, Limits, NetworkPolicy, Outcome, Programs, RunPolicy, default_limits};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::bench::*;

/// A folder whose path can be shown as it is: a jail has a `/tmp` of its own.
fn place() -> TempDir {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    allow(folder.path(), 0o755);
    for (name, mode) in [("data", 0o755), ("out", 0o777), ("else", 0o755)] {
        fs::create_dir(folder.path().join(name)).expect("a folder");
        allow(&folder.path().join(name), mode);
        fs::write(folder.path().join(name).join("file"), "of the host\n").expect("written");
    }
    folder
}

fn policy(place: &Path) -> RunPolicy {
    RunPolicy {
        read: vec![place.join("data")],
        write: vec![place.join("out")],
        programs: Programs::None,
        ..RunPolicy::default()
    }
}

/// A script that prints for each attempt whether it worked: paths, programs, a connection.
fn script(engine: EngineKind, place: &Path, port: u16) -> String {
    let place = place.display();
    match engine {
        Python => format!(
            "import socket, subprocess\n\
             def tried(what):\n    try:\n        what(); print('yes')\n    except OSError: print('no')\n\
             tried(lambda: open('{place}/data/file').read())\n\
             tried(lambda: open('{place}/data/new', 'w'))\n\
             tried(lambda: open('{place}/out/new', 'w').write('run'))\n\
             tried(lambda: open('{place}/else/file').read())\n\
             tried(lambda: open('/scratch/new', 'w'))\n\
             tried(lambda: subprocess.run(['/usr/bin/uname'], check=True, stdout=subprocess.DEVNULL))\n\
             tried(lambda: subprocess.run(['/usr/bin/id'], check=True, stdout=subprocess.DEVNULL))\n\
             tried(lambda: socket.create_connection(('127.0.0.1', {port}), 5))\n"
        ),
        R | Terr => format!(
            "tried <- function(what) cat(if (isTRUE(tryCatch({{ what; TRUE }}, error = function(e) FALSE,\n\
                 warning = function(w) FALSE))) 'yes\\n' else 'no\\n')\n\
             started <- function(it) stopifnot(system2(it, stdout = FALSE, stderr = FALSE) == 0)\n\
             tried(readLines('{place}/data/file'))\n\
             tried(writeLines('run', '{place}/data/new'))\n\
             tried(writeLines('run', '{place}/out/new'))\n\
             tried(readLines('{place}/else/file'))\n\
             tried(writeLines('run', '/scratch/new'))\n\
             tried(started('/usr/bin/uname'))\n\
             tried(started('/usr/bin/id'))\n\
             tried(close(socketConnection('127.0.0.1', {port}, timeout = 5)))\n"
        ),
    }
}

fn tried(engine: EngineKind, place: &Path, port: u16, policy: RunPolicy) -> Vec<bool> {
    let order = order(engine, Unrestricted, &script(engine, place, port)).under(policy);
    let ended = NODE.run(order).succeeded();
    // Another run has another user, who could not change it.
    let _ = fs::remove_file(place.join("out/new"));
    let words: Vec<bool> = ended.stdout().lines().map(|line| line == "yes").collect();
    assert_eq!(words.len(), 8, "{ended:?}");
    words
}

#[test]
fn a_run_sees_exactly_what_its_policy_allows() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    for engine in [R, Python] {
        let place = place();
        let narrow = policy(place.path());
        let found = tried(engine, place.path(), port, narrow.clone());
        // data read, data written, out, else, scratch, a program, another, the network
        assert_eq!(
            found,
            [true, false, true, false, true, false, false, false],
            "{engine}"
        );
        // R starts programs by the shell.
        let listed = ["/usr/bin/uname", "/bin/sh"].map(PathBuf::from);
        let wide = RunPolicy {
            programs: Programs::Listed(listed.into()),
            network: NetworkPolicy::Host,
            ..narrow
        };
        let found = tried(engine, place.path(), port, wide.clone());
        assert_eq!(
            found,
            [true, false, true, false, true, true, false, true],
            "{engine}"
        );
        let all = RunPolicy {
            programs: Programs::All,
            network: NetworkPolicy::None,
            read: Vec::new(),
            ..wide
        };
        let found = tried(engine, place.path(), port, all);
        assert_eq!(
            found,
            [false, false, true, false, true, true, true, false],
            "{engine}"
        );
    }
}

#[test]
fn the_limits_of_a_policy_hold() {
    let policy = RunPolicy {
        limits: Some(Limits {
            wall_ms: 300,
            ..default_limits()
        }),
        ..RunPolicy::default()
    };
    let ended = NODE.run(order(Python, Unrestricted, "while True: pass").under(policy));
    assert_eq!(ended.ending.outcome, Outcome::TimedOut);
}

#[test]
fn no_policy_shows_what_belongs_to_the_agent() {
    let place = place();
    let own = place.path().join("agent/state");
    fs::create_dir_all(&own).expect("a folder");
    fs::write(own.join("key"), "secret").expect("written");
    symlink(&own, place.path().join("link")).expect("a link");
    symlink("/proc", place.path().join("processes")).expect("a link");
    let node = Node::new(|config| config.guarded = vec![own.clone()]);
    for named in [
        "agent/state",
        "agent/state/key",
        "agent",
        "link",
        "link/key",
        "",
        "processes",
        "nowhere",
    ] {
        let named = place.path().join(named);
        for writable in [false, true] {
            let mut policy = RunPolicy::default();
            let paths = if writable {
                &mut policy.write
            } else {
                &mut policy.read
            };
            paths.push(named.clone());
            let ended = node.run(order(Python, Unrestricted, "print(1)").under(policy));
            let Outcome::JailRefused { why } = &ended.ending.outcome else {
                panic!("{}: {ended:?}", named.display());
            };
            assert!(why.contains("cannot be shown to runs"), "{why}");
        }
    }
}

/// Why a run under this policy was refused.
fn refused(node: &Node, policy: RunPolicy) -> String {
    let ended = node.run(order(Python, Unrestricted, "print(1)").under(policy));
    match ended.ending.outcome {
        Outcome::JailRefused { why } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_policy_that_names_a_link_is_refused_with_the_real_path() {
    let place = place();
    let (data, link) = (place.path().join("data"), place.path().join("link"));
    symlink(&data, &link).expect("a link");
    for (named, real) in [
        (link.clone(), data.clone()),
        (link.join("file"), data.join("file")),
    ] {
        let read = RunPolicy {
            read: vec![named.clone()],
            ..RunPolicy::default()
        };
        let write = RunPolicy {
            write: vec![named],
            ..RunPolicy::default()
        };
        for policy in [read, write] {
            let why = refused(&NODE, policy);
            assert!(
                why.contains(&format!("name {} in the policy", real.display())),
                "{why}"
            );
        }
    }
}

#[test]
fn no_policy_lets_runs_write_what_engines_load() {
    let place = place();
    let (packages, hook) = (place.path().join("else"), place.path().join("data/file"));
    let node = Node::new(|config| {
        config.services.r.package_path = Some(packages.clone());
        config.services.terr.startup_hook = Some(hook.clone());
        config.terr = Some(place.path().join("terr/bin/TERR"));
    });
    fs::create_dir_all(place.path().join("terr/lib")).expect("a folder");
    let python = node.engines.config().python.join("bin");
    for named in ["", "else", "else/file", "data", "data/file", "terr", "terr/lib"]
        .map(|name| place.path().join(name).components().collect::<PathBuf>())
        .into_iter()
        .chain([python, "/usr/lib/R/library".into(), "/usr/local/lib".into()])
    {
        let why = refused(
            &node,
            RunPolicy {
                write: vec![fs::canonicalize(&named).expect("a path")],
                ..RunPolicy::default()
            },
        );
        assert!(why.contains("before they are locked"), "{why}");
    }
    let ended = node.run(order(Python, Unrestricted, "print(1)").under(RunPolicy {
        read: vec![packages],
        write: vec![place.path().join("out")],
        ..RunPolicy::default()
    }));
    assert_eq!(ended.succeeded().stdout(), "1\n");
}

#[test]
fn each_policy_has_a_launcher_of_its_own_and_there_are_not_more_and_more() {
    let (place, node) = (place(), Node::new(|_| {}));
    for number in 0..6 {
        let shown = place.path().join(format!("of-{number}"));
        fs::write(&shown, number.to_string()).expect("written");
        let policy = RunPolicy {
            read: vec![shown],
            ..RunPolicy::default()
        };
        let script = format!(
            "import glob\nprint(*[open(one).read() for one in glob.glob('{}/of-*')])",
            place.path().display()
        );
        let ended = node
            .run(order(Python, Unrestricted, &script).under(policy))
            .succeeded();
        assert_eq!(ended.stdout(), format!("{number}\n"));
    }
    assert_eq!(node.engines.policies(Python, Unrestricted), 4);
}

#[test]
fn runs_of_several_policies_have_users_of_their_own() {
    let (place, node) = (place(), Node::new(|_| {}));
    assert!(
        node.engines.config().ids.is_some(),
        "run as root, who may give ids to a jail"
    );
    let out = place.path().join("out");
    // Each waits for all others, so that they go on at one time.
    let script = |own: usize| {
        format!(
            "import os, time\nopen('{out}/{own}', 'w').close()\n\
             while not all(os.path.exists(f'{out}/{{other}}') for other in range(3)): time.sleep(0.01)\n",
            out = out.display()
        )
    };
    let under = |own: usize| RunPolicy {
        write: vec![out.clone()],
        limits: Some(Limits {
            // Another digest, and so another launcher.
            output_bytes: 1 << (20 + own),
            ..default_limits()
        }),
        programs: Programs::All,
        ..RunPolicy::default()
    };
    let cancel = CancellationToken::new();
    let run = |own: usize| {
        node.start(
            order(Python, Unrestricted, &script(own)).under(under(own)),
            &cancel,
        )
    };
    let (one, two, three) = RUNTIME.block_on(async { tokio::join!(run(0), run(1), run(2)) });
    for ended in [one, two, three] {
        ended.succeeded();
    }
    let users: BTreeSet<u32> = (0..3)
        .map(|own| fs::metadata(out.join(own.to_string())).expect("a file").uid())
        .collect();
    assert_eq!(users.len(), 3, "{users:?}");
}
