//! The engine of the language TERR: the original where its path is configured, GNU R standing in otherwise.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use muster_engines::{Outcome, probe};

use super::bench::{Node, *};

/// A jail shows nothing below /tmp.
const PLACE: &str = "/var/tmp";

/// An installation of an engine of its own in `home`, which executes GNU R and leaves its mark on the way.
fn installed(home: &Path) -> std::path::PathBuf {
    let program = home.join("bin/TERR");
    fs::create_dir_all(home.join("bin")).expect("a folder");
    let script = "#!/bin/sh\n\
        if [ \"$1\" = --version ]; then echo 'TERR version 9.8.7'; exit; fi\n\
        export R_HOME=/usr/lib/R LD_LIBRARY_PATH=/usr/lib/R/lib R_LIBS_SITE=/usr/lib/R/site-library:/usr/lib/R/library\n\
        export R_SHARE_DIR=/usr/share/R/share MARK=\"$(cat \"$TERR_HOME/mark\")\"\n\
        exec /usr/lib/R/bin/exec/R \"$@\"\n";
    fs::write(&program, script).expect("written");
    fs::write(home.join("mark"), "the original\n").expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("permissions");
    fs::set_permissions(home, fs::Permissions::from_mode(0o755)).expect("permissions");
    program
}

#[test]
fn the_configured_engine_is_the_one_that_runs() {
    let home = tempfile::tempdir_in(PLACE).expect("a folder");
    let program = installed(home.path());
    let node = Node::new(|config| config.terr = Some(program));
    let probe = RUNTIME.block_on(probe(node.engines.config()));
    let of = |kind| {
        probe
            .engines
            .iter()
            .find(|engine| engine.kind == kind)
            .expect("found")
    };
    assert_eq!(of(Terr).description, "terr (TERR 9.8.7)");
    assert!(of(R).description.starts_with("GNU R "));

    let script = "y <- paste(Sys.getenv('MARK'), exists('evalREX'))";
    for (engine, mode, expected) in [
        (Terr, Restricted, "the original FALSE"),
        (Terr, Unrestricted, "the original FALSE"),
        (R, Restricted, " FALSE"),
    ] {
        let ended = node
            .run(order(engine, mode, script).output("y", Value, Csv))
            .succeeded();
        assert_eq!(
            ended.outputs["y"],
            format!("y\n{expected}\n"),
            "{engine} {mode:?}"
        );
    }
    let ended = node.run(order(Terr, Restricted, "file('/etc/passwd')"));
    assert_eq!(ended.overstep(), "Native[file]");
}

#[test]
fn an_engine_that_is_not_there_is_an_error_that_says_what_to_set() {
    let home = tempfile::tempdir_in(PLACE).expect("a folder");
    let program = installed(home.path());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).expect("permissions");
    for (path, word) in [
        (program, "is no program"),
        ("/nowhere/bin/TERR".into(), "No such file or directory"),
        (home.path().to_owned(), "is no program"),
    ] {
        let node = Node::new(|config| config.terr = Some(path.clone()));
        let probe = RUNTIME.block_on(probe(node.engines.config()));
        let missing = probe.missing.iter().find(|missing| missing.kind == Terr);
        let why = &missing.expect("missing").why;
        for part in [
            path.to_str().expect("text"),
            word,
            "engines.terr",
            "GNU R stand in",
        ] {
            assert!(why.contains(part), "{why}");
        }
        // GNU R does not take its place behind the administrator's back.
        let ended = node.run(order(Terr, Restricted, "1"));
        assert!(
            matches!(&ended.ending.outcome, Outcome::JailRefused { why } if why.contains("engines.terr")),
            "{:?}",
            ended.ending.outcome
        );
    }
}

#[test]
fn the_stand_in_asks_about_restricted_mode_as_the_original() {
    let script = "y <- c(getREX(), identical(terrUtils::getREX, getREX))\nstopIfREX('not here')";
    let ended = NODE.run(order(Terr, Restricted, script));
    assert!(ended.words().contains("not here"), "{}", ended.words());
    let ended = NODE
        .run(order(Terr, Unrestricted, script).output("y", Column, Csv))
        .succeeded();
    assert_eq!(ended.outputs["y"], "y\nfalse\nfalse\ntrue\n");
    let traced = NODE
        .run(order(Terr, Restricted, script).output("y", Column, Csv).traced())
        .succeeded();
    assert_eq!(traced.outputs["y"], "y\ntrue\ntrue\ntrue\n");
    let r = NODE.run(order(R, Unrestricted, "getREX()"));
    assert!(r.words().contains("could not find function"), "{}", r.words());
}

#[test]
fn an_unrestricted_run_can_evaluate_restricted_as_the_original() {
    let script = r#"
        library(terrUtils)
        x <- 1
        said <- function(expr) tryCatch(expr, error = conditionMessage)
        a <- said(evalREX(quote(readLines("/etc/passwd"))))
        b <- said(evalREX(quote(evalREX(quote(1)))))
        c <- evalREX(quote({ x <- 2; x * 21 }), restoreEnv = TRUE)
        e <- new.env(); d <- evalREX(quote(x <- 3), restoreEnv = e, doNotReturn = TRUE)
        evalREX(quote(options(digits = 3)), restoreOptions = TRUE)
        f <- evalREX(quote(nchar(tempdir()) > 0), trace = TRUE)
        g <- said(evalREX(quote(stopIfREX("mine"))))
        y <- c(a, b, c, x, e$x, is.null(d), getOption("digits"), f, g, file.exists(tempdir()), getREX()[["restricted"]])"#;
    let ended = NODE
        .run(order(Terr, Unrestricted, script).output("y", Column, Csv))
        .succeeded();
    let expected = "y\nrestricted call to Native[file]\nrestricted call to Native[evalREX]\n42\n1\n3\nTRUE\n7\nTRUE\nmine\nTRUE\nFALSE\n";
    assert_eq!(ended.outputs["y"], expected);
    assert_eq!(ended.stderr(), "restricted call to Native[tempdir]\n");
}
