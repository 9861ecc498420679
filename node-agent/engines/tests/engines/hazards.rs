//! What siblings of one parent could share and must not.

use std::{collections::BTreeSet, fs, path::Path};

use muster_engines::{Outcome, Recycle};
use tokio_util::sync::CancellationToken;

use super::{
    bench::{Node, *},
    packages::world::said,
};

#[test]
fn siblings_draw_different_random_numbers() {
    let python = "import random, numpy, uuid, tempfile\ny = [str(random.random()), str(numpy.random.rand()), str(numpy.random.default_rng().random()), str(uuid.uuid4()), str(random.SystemRandom().random())]";
    let scripts = [
        (Python, python),
        (
            R,
            "y <- as.character(c(runif(1), rnorm(1), sample.int(1e9, 1), basename(tempfile())))",
        ),
    ];
    for (engine, script) in scripts {
        let mut seen = BTreeSet::new();
        let runs = 4;
        let mut values = 0;
        for _ in 0..runs {
            let ended = NODE
                .run(order(engine, Unrestricted, script).output("y", Column, Csv))
                .succeeded();
            let lines: Vec<String> = ended.outputs["y"].lines().skip(1).map(str::to_owned).collect();
            values += lines.len();
            seen.extend(lines);
        }
        assert_eq!(
            seen.len(),
            values,
            "{engine}: two runs drew the same number: {seen:?}"
        );
    }
}

#[test]
fn a_seed_that_a_script_sets_gives_the_known_stream() {
    let ended = NODE
        .run(order(R, Restricted, "set.seed(42); y <- runif(1)").output("y", Value, Csv))
        .succeeded();
    assert_eq!(ended.outputs["y"], "y\n0.9148060434963554\n");
}

#[test]
fn what_one_run_leaves_the_next_does_not_find() {
    let first = "writeLines('x', 'left.txt'); writeLines('x', file.path(tempdir(), 'left')); left <<- 1; options(digits = 3); Sys.setenv(LEFT = '1'); quit('no', 0)";
    assert_eq!(
        NODE.run(order(R, Unrestricted, first)).ending.outcome,
        Outcome::Exited { code: 0 }
    );
    let second = "y <- c(list.files('.', recursive = TRUE), ls(), getOption('digits'), Sys.getenv('LEFT'), file.exists(tempdir()))";
    let ended = NODE
        .run(order(R, Unrestricted, second).output("y", Column, Json))
        .succeeded();
    assert!(
        ended.outputs["y"].contains(r#""values":["run.json","7","","TRUE"]"#),
        "{}",
        ended.outputs["y"]
    );

    let first =
        "import builtins, os\nbuiltins.print = None\nos.environ['LEFT'] = '1'\nopen('left.txt', 'w').close()";
    NODE.run(order(Python, Unrestricted, first)).succeeded();
    let second = "import os\nprint(sorted(os.listdir('.')), os.environ.get('LEFT'), os.getcwd(), os.environ['TMPDIR'])";
    let ended = NODE.run(order(Python, Unrestricted, second)).succeeded();
    assert_eq!(
        ended.stdout(),
        "['outputs', 'run.json', 'tmp'] None /scratch /scratch/tmp\n"
    );
}

#[test]
fn runs_of_one_launcher_go_at_the_same_time() {
    let cancel = CancellationToken::new();
    let script = "import os, time\nmine, other = '/shared/' + me, '/shared/' + you\nopen(mine, 'w').close()\nwhile not os.path.exists(other): time.sleep(0.01)\ny = me";
    let one = |me: &str, you: &str| {
        order(Python, Unrestricted, script)
            .input("me", Value, Json, format!("\"{me}\""))
            .input("you", Value, Json, format!("\"{you}\""))
            .output("y", Value, Json)
    };
    let (a, b) = RUNTIME.block_on(async {
        tokio::join!(
            NODE.start(one("a", "b"), &cancel),
            NODE.start(one("b", "a"), &cancel)
        )
    });
    assert!(a.succeeded().outputs["y"].contains("\"a\"") && b.succeeded().outputs["y"].contains("\"b\""));
}

#[test]
fn a_spent_launcher_is_replaced() {
    let node = Node::new(|config| {
        config.recycle = Recycle {
            runs: 1,
            ..Recycle::default()
        }
    });
    for n in ["1", "2", "3"] {
        let order = order(R, Restricted, "y <- x * 2L")
            .input("x", Value, Json, n)
            .output("y", Value, Json);
        let expected = format!(
            "{{\"type\":\"Integer\",\"value\":{}}}\n",
            n.parse::<u8>().expect("a digit") * 2
        );
        assert_eq!(node.run(order).succeeded().outputs["y"], expected);
    }
}

#[test]
fn trusted_code_reads_and_writes_what_the_administrator_shows() {
    let r = order(R, Unrestricted, "y <- readLines('/shown/greeting.txt')").output("y", Value, Csv);
    assert_eq!(NODE.run(r).succeeded().outputs["y"], "y\nhello from the host\n");
    NODE.run(order(
        Python,
        Unrestricted,
        "open('/shared/note.txt', 'w').write('from the run')",
    ))
    .succeeded();
    assert_eq!(
        fs::read_to_string(NODE.shared().join("note.txt")).expect("written"),
        "from the run"
    );
    let denied = NODE.run(order(Python, Unrestricted, "open('/shown/new.txt', 'w')"));
    assert!(
        denied.words().contains("OSError") || denied.words().contains("PermissionError"),
        "{}",
        denied.words()
    );
}

#[test]
fn a_parent_that_cannot_be_copied_safely_forks_nothing() {
    let modules = [
        (
            "threaded",
            "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n",
            "2 threads",
        ),
        (
            "holding",
            "import socket\nkept = socket.socketpair()\n",
            "descriptor",
        ),
        (
            "sharing",
            "import mmap\nkept = mmap.mmap(-1, 4096)\n",
            "shares writable memory",
        ),
    ];
    for (name, text, why) in modules {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(format!("{name}.py"));
        fs::write(&file, text).expect("written");
        open_to_all(folder.path(), &file);
        let node = Node::new(|config| {
            config.services.python.package_path = Some(folder.path().to_owned());
            config.python_packages = vec![name.to_owned()];
        });
        let ended = node.run(order(Python, Unrestricted, "print('ran')"));
        assert!(
            ended.stdout().is_empty() && ended.words().contains(why),
            "{}",
            ended.words()
        );
    }
}

#[test]
fn siblings_of_a_parent_that_loaded_openssl_draw_different_numbers() {
    let node = Node::new(|config| config.python_packages = vec!["ssl".to_owned(), "numpy".to_owned()]);
    let script = "import ssl, numpy, random\nprint(ssl.RAND_bytes(16).hex(), numpy.random.bytes(8).hex(), random.getrandbits(64))";
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let ended = node.run(order(Python, Unrestricted, script)).succeeded();
        seen.extend(ended.stdout().split_whitespace().map(str::to_owned));
    }
    assert_eq!(seen.len(), 9, "{seen:?}");
}

#[test]
fn a_parent_that_cannot_be_copied_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let module = folder.path().join("once.py");
    let text = "import os, threading, time\nif not os.path.exists('/shared/once'):\n    open('/shared/once', 'w').close()\n    \
                threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n";
    fs::write(&module, text).expect("written");
    open_to_all(folder.path(), &module);
    let node = Node::new(|config| {
        config.services.python.package_path = Some(folder.path().to_owned());
        config.python_packages = vec!["once".to_owned()];
    });
    // The first may have been refused with its parent.
    node.run(order(Python, Unrestricted, "print('ran')"));
    assert!(node.shared().join("once").exists());
    let ended = node.run(order(Python, Unrestricted, "print('ran')")).succeeded();
    assert_eq!(ended.stdout(), "ran\n");
}

/// A package of R that executes this when it is loaded, in a library that runs see.
fn r_library(folder: &Path, name: &str, on_load: &str) {
    let source = folder.join("source").join(name);
    fs::create_dir_all(source.join("R")).expect("made");
    let description = format!("Package: {name}\nVersion: 1.0\nTitle: T\nLicense: none\nDescription: T.\n");
    for (path, text) in [
        ("DESCRIPTION", description),
        ("NAMESPACE", String::new()),
        (
            "R/code.R",
            format!(".onLoad <- function(libname, pkgname) {{ {on_load} }}\n"),
        ),
    ] {
        fs::write(source.join(path), text).expect("written");
    }
    let (library, source) = (folder.display().to_string(), source.display().to_string());
    said(
        Path::new("/usr/bin/R"),
        &[
            "CMD",
            "INSTALL",
            "--no-docs",
            "--no-test-load",
            &format!("--library={library}"),
            &source,
        ],
    );
}

#[test]
fn a_stream_that_an_import_has_begun_goes_on_in_no_child() {
    let folder = tempfile::tempdir().expect("a folder");
    let module = folder.path().join("drawing.py");
    let text = "import random, numpy, ssl\nrandom.seed(7); random.random()\nnumpy.random.seed(7); numpy.random.rand()\nssl.RAND_bytes(8)\n";
    fs::write(&module, text).expect("written");
    open_to_all(folder.path(), &module);
    r_library(folder.path(), "musterDrawing", "set.seed(7); stats::runif(1)");
    let node = Node::new(|config| {
        for service in [&mut config.services.r, &mut config.services.python] {
            service.package_path = Some(folder.path().to_owned());
        }
        config.python_packages = vec!["drawing".to_owned()];
        config.r_packages = vec!["musterDrawing".to_owned()];
    });
    let python = "import random, numpy, ssl, sys\nassert 'drawing' in sys.modules\n\
        print(random.random(), numpy.random.rand(), ssl.RAND_bytes(8).hex())";
    let r = "stopifnot('musterDrawing' %in% loadedNamespaces())\n\
        cat(runif(1), rnorm(1), basename(tempfile()))";
    for (engine, script) in [(Python, python), (R, r)] {
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let ended = node.run(order(engine, Unrestricted, script)).succeeded();
            seen.extend(ended.stdout().split_whitespace().map(str::to_owned));
        }
        assert_eq!(seen.len(), 9, "{engine}: {seen:?}");
    }
}

#[test]
fn a_child_leaves_without_what_its_parent_would_do_at_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let module = folder.path().join("leaving.py");
    let text = "import atexit\natexit.register(lambda: open('/shared/left-python', 'w').close())\n";
    fs::write(&module, text).expect("written");
    open_to_all(folder.path(), &module);
    let on_load = "reg.finalizer(globalenv(), function(e) cat('x', file = '/shared/left-r'), onexit = TRUE)";
    r_library(folder.path(), "musterLeaving", on_load);
    let node = Node::new(|config| {
        for service in [&mut config.services.r, &mut config.services.python] {
            service.package_path = Some(folder.path().to_owned());
        }
        config.python_packages = vec!["leaving".to_owned()];
        config.r_packages = vec!["musterLeaving".to_owned()];
    });
    for (engine, script) in [
        (Python, "import sys; assert 'leaving' in sys.modules"),
        (Python, "import sys; sys.exit(0)"),
        (Python, "raise ValueError('x')"),
        (R, "stopifnot('musterLeaving' %in% loadedNamespaces())"),
        (R, "quit('no', 0)"),
        (R, "stop('x')"),
    ] {
        let ended = node.run(order(engine, Unrestricted, script));
        assert!(
            !matches!(ended.ending.outcome, Outcome::JailRefused { .. }),
            "{ended:?}"
        );
        let left: Vec<_> = fs::read_dir(node.shared()).expect("listed").collect();
        assert!(left.is_empty(), "{script}: {left:?}");
    }
    // A script's own are its own affair, and show that there was something to see.
    let own = "import atexit\natexit.register(print, 'never')\nopen('/shared/own', 'w').close()";
    assert_eq!(
        node.run(order(Python, Unrestricted, own)).succeeded().stdout(),
        ""
    );
    assert!(node.shared().join("own").exists());
}
