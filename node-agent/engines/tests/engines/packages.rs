//! Package sets: real wheels and real source packages, built in the jail, and what runs see of them.

pub(super) mod world;

use std::{fs, path::Path, sync::Arc, time::Duration};

use muster_engines::{
    Destination, Outcome, PackageSet, PackageSets, PackagesConfig, PackagesError, RunPolicy, Wanted,
};
use muster_ids::{Digest, PackageLanguage, PackageList};
use tokio_util::sync::CancellationToken;

use self::world::{AGAIN, Index, World, digest, said};
use super::bench::*;

fn with(set: &PackageSet) -> RunPolicy {
    RunPolicy {
        packages: Some(set.folder.clone()),
        ..RunPolicy::default()
    }
}

#[test]
fn wheels_come_to_the_same_set_everywhere_and_go_before_the_engines_own() {
    let world = World::new();
    let made = world.wheel(
        "muster_tiny",
        "1.0",
        "py3-none-any",
        &[
            ("muster_tiny/__init__.py", "answer = 42\n"),
            ("six.py", "__version__ = 'ours'\n"),
        ],
    );
    // A real one with compiled code, as it was fetched for the engine.
    let source = world.source().display().to_string();
    let real = world.python(AGAIN, &[&source, "kiwisolver"]);
    let (file, version) = real.trim().split_once(' ').expect("a file and a version");
    let real = format!(
        "kiwisolver=={version} --hash={}",
        digest(&world.source().join(file))
    );
    let set = world.twice(PackageLanguage::Python, &[made, real]);
    let names: Vec<_> = fs::read_dir(&set.folder)
        .expect("listed")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    assert!(names.iter().any(|name| name == "kiwisolver"), "{names:?}");
    let record = fs::read_to_string(set.folder.join("muster_tiny-1.0.dist-info/RECORD")).expect("there");
    assert!(
        record.contains("muster_tiny/__init__.py,sha256=") && !record.contains("INSTALLER"),
        "{record}"
    );
    let script = "import kiwisolver, muster_tiny, six, sys\n\
        from importlib.metadata import version\n\
        print(muster_tiny.answer, six.__version__, version('muster-tiny'), kiwisolver.Variable('x').name() == 'x')\n\
        print(kiwisolver.__file__.startswith('/muster/set/'), 'json' in sys.modules and '/muster/set' in sys.path)\n\
        try: open('/muster/set/muster_tiny/new', 'w')\n\
        except OSError as error: print(error.errno)";
    for mode in [Unrestricted, Restricted] {
        let script = if mode == Restricted {
            script
                .rsplit_once("try:")
                .expect("two parts")
                .0
                .replace(".rsplit", "")
        } else {
            script.to_owned()
        };
        let ended = world.node.run(order(Python, mode, &script).under(with(&set)));
        let ended = ended.succeeded().stdout();
        assert!(
            ended.starts_with("42 ours 1.0 True\nTrue True\n"),
            "{mode:?}: {ended}"
        );
        assert_eq!(ended.ends_with("30\n"), mode == Unrestricted, "{ended}");
    }
    // Without the set there is nothing of it, nor is there with another launcher of the same node.
    let script = "import muster_tiny";
    for mode in [Unrestricted, Restricted] {
        let ended = world.node.run(order(Python, mode, script));
        assert_ne!(ended.ending.outcome, Outcome::Succeeded, "{mode:?}");
    }
}

#[test]
fn source_packages_of_r_come_to_the_same_set_everywhere() {
    let world = World::new();
    let upper = world.r_package(
        "musterUpper",
        "Imports: musterLower (>= 1.0)\nLazyData: true\n",
        &[
            ("NAMESPACE", "export(doubled)\nimport(musterLower)\n"),
            ("R/code.R", "doubled <- function(x) added(x, x)\n"),
            (
                "man/doubled.Rd",
                "\\name{doubled}\n\\alias{doubled}\n\\title{T}\n\\description{D}\n",
            ),
            ("data/given.csv", "a\n7\n"),
        ],
    );
    let lower = world.r_package(
        "musterLower",
        "",
        &[
            (
                "NAMESPACE",
                "export(added)\nuseDynLib(musterLower, C_added = added)\n",
            ),
            (
                "R/code.R",
                "added <- function(x, y) .C(C_added, as.double(x), as.double(y), z = 0)$z\n",
            ),
            (
                "src/added.c",
                "void added(double *x, double *y, double *z) { *z = *x + *y; }\n",
            ),
        ],
    );
    let set = world.twice(PackageLanguage::R, &[upper, lower]);
    let script = "library(musterUpper)\ny <- doubled(21)\ncat(musterUpper::doubled(2), '\\n')";
    for (engine, mode) in [(R, Unrestricted), (R, Restricted), (Terr, Restricted)] {
        let ordered = order(engine, mode, script)
            .output("y", Value, Csv)
            .under(with(&set));
        let ended = world.node.run(ordered).succeeded();
        assert_eq!(ended.outputs["y"], "y\n42\n", "{engine} {mode:?}");
        assert_eq!(ended.stdout(), "4 \n");
    }
    let ended = world.node.run(
        order(
            R,
            Unrestricted,
            "library(musterUpper); cat(find.package('musterUpper'), given$a)",
        )
        .under(with(&set)),
    );
    assert_eq!(
        ended.stdout().trim(),
        "/muster/set/musterUpper 7",
        "{}",
        ended.stderr()
    );
    let ended = world.node.run(order(R, Restricted, script));
    assert_eq!(ended.overstep(), "Native[loadNamespace]");
}

#[test]
fn packages_of_debian_are_taken_as_they_are_for_the_r_that_they_were_built_for() {
    let world = World::new();
    let code = [
        ("NAMESPACE", "export(answer)\n"),
        ("R/code.R", "answer <- function() 42\n"),
    ];
    let line = world.r_package("musterDebian", "", &code);
    let sets = PackageSets::default();
    let built = world
        .build(&sets, "one", PackageLanguage::R, &[line])
        .expect("built");
    let deb = |version: &str, before: &str, after: &str| {
        let work = tempfile::tempdir().expect("a folder");
        let library = work.path().join("usr/lib/R/site-library");
        fs::create_dir_all(&library).expect("made");
        fs::create_dir(work.path().join("DEBIAN")).expect("made");
        let control = format!(
            "Package: r-cran-musterdebian\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <n@example.com>\nDescription: test\n"
        );
        fs::write(work.path().join("DEBIAN/control"), control).expect("written");
        let from = built.folder.join("musterDebian").display().to_string();
        said(
            Path::new("/bin/cp"),
            &["-r", "--no-preserve=mode", &from, &library.display().to_string()],
        );
        let description = library.join("musterDebian/DESCRIPTION");
        let text = fs::read_to_string(&description).expect("there");
        assert!(text.contains(before), "{text}");
        fs::write(&description, text.replace(before, after)).expect("written");
        let file = world
            .source()
            .join(format!("r-cran-musterdebian_{version}_all.deb"));
        let arguments = [
            "--build",
            "--root-owner-group",
            &work.path().display().to_string(),
            &file.display().to_string(),
        ];
        said(Path::new("/usr/bin/dpkg-deb"), &arguments);
        format!("r-cran-musterdebian {version} {}", digest(&file))
    };
    let good = deb("1.2-1", "Built:", "Built:");
    let set = world
        .build(&sets, "one", PackageLanguage::R, &[good])
        .expect("built");
    let script = "library(musterDebian); cat(answer())";
    let ended = world
        .node
        .run(order(R, Restricted, script).under(with(&set)))
        .succeeded();
    assert_eq!(ended.stdout(), "42");
    let old = deb("1.2-2", "Built: R 4.2", "Built: R 3.6");
    let error = world
        .build(&sets, "one", PackageLanguage::R, &[old])
        .expect_err("for another R")
        .to_string();
    assert!(
        error.contains("'musterDebian' was built for R 3.6, but this is R 4.2"),
        "{error}"
    );
}

#[test]
fn what_no_folder_has_is_fetched_from_an_index_by_its_hash() {
    let world = World::new();
    let wheel = |version: &str, code: &str| {
        world.wheel("muster_far", version, "py3-none-any", &[("muster_far.py", code)])
    };
    let far = wheel("1.0", "answer = 44\n");
    let index = Index::new(&world);
    index.take(&world, "muster-far", "muster_far-1.0-py3-none-any.whl");
    let near = world.wheel(
        "muster_near",
        "1.0",
        "py3-none-any",
        &[("muster_near.py", "answer = 1\n")],
    );
    let host = |port| Destination {
        host: "127.0.0.1".to_owned(),
        port,
    };
    let config = |folder: &str| PackagesConfig {
        indexes: vec![index.address()],
        index_hosts: [host(index.port)].into(),
        ..world.config(folder)
    };
    let sets = PackageSets::default();
    let python = PackageLanguage::Python;
    let set = world
        .build_with(&sets, &config("far"), python, &[far.clone(), near.clone()])
        .expect("one from here, one from there");
    let script = "import muster_far, muster_near\nprint(muster_far.answer + muster_near.answer)";
    let ended = world
        .node
        .run(order(Python, Restricted, script).under(with(&set)));
    assert_eq!(ended.succeeded().stdout(), "45\n");

    // What the index says is not believed: another content under the name, and a package that it does not have.
    let locked = wheel("2.0", "answer = 'the locked one'\n");
    wheel("2.0", "answer = 'another'\n");
    index.take(&world, "muster-far", "muster_far-2.0-py3-none-any.whl");
    let gone = format!("muster-gone==1.0 --hash={}", Digest::of(b"gone"));
    for (line, words) in [(locked, "DO NOT MATCH THE HASHES"), (gone, "muster-gone==1.0")] {
        let error = world
            .build_with(&sets, &config("other"), python, &[line])
            .expect_err("not fetched");
        assert!(matches!(error, PackagesError::NotFetched { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(&index.address()) && said.contains(words), "{said}");
    }
    // Whither the index refers beyond the hosts that are listed, nobody goes.
    let place = index.folder.path().join("simple/muster-lured");
    fs::create_dir(&place).expect("made");
    let link = "<a href=\"http://127.0.0.1:9/muster_lured-1.0-py3-none-any.whl\">muster_lured-1.0-py3-none-any.whl</a>";
    fs::write(
        place.join("index.html"),
        format!("<!DOCTYPE html><html><body>{link}</body></html>"),
    )
    .expect("written");
    let lured = format!("muster-lured==1.0 --hash={}", Digest::of(b"lured"));
    let error = world
        .build_with(&sets, &config("lured"), python, &[lured])
        .expect_err("refused");
    let said = error.to_string();
    assert!(
        said.contains("packages.index_hosts of node.toml: 127.0.0.1:9"),
        "{said}"
    );
    // Without an index there is nothing but folders.
    let error = world
        .build(&sets, "none", python, &[far])
        .expect_err("not in a folder");
    assert!(matches!(error, PackagesError::Missing { .. }), "{error}");
}

#[test]
fn what_cannot_be_built_says_why_in_one_sentence() {
    let world = World::new();
    let sets = PackageSets::default();
    let refused = |language, line: &str| {
        let error = world
            .build(&sets, "sets", language, &[line.to_owned()])
            .expect_err(line);
        assert!(
            !world.config("sets").folder.join("work").exists(),
            "nothing is left"
        );
        error.to_string()
    };
    let python = PackageLanguage::Python;
    let other = world.wheel(
        "muster_other",
        "1.0",
        "cp39-cp39-manylinux1_x86_64",
        &[("muster_other.py", "")],
    );
    let said = refused(python, &other);
    assert!(
        said.contains("cannot be installed for Python 3.11") && said.contains("muster_other-1.0-cp39"),
        "{said}"
    );
    let newer = world.r_package("musterNewer", "Depends: R (>= 99.0)\n", &[("NAMESPACE", "")]);
    let said = refused(PackageLanguage::R, &newer);
    assert!(
        said.contains("installed for R 4.2") && said.contains("99.0"),
        "{said}"
    );
    let alone = world.r_package(
        "musterAlone",
        "Imports: nowhere\n",
        &[("NAMESPACE", "import(nowhere)\n")],
    );
    let said = refused(PackageLanguage::R, &alone);
    assert!(said.contains("nowhere") && said.contains("musterAlone"), "{said}");
    let liar = world.r_package("musterLiar", "", &[("NAMESPACE", "")]);
    fs::rename(
        world.source().join("musterLiar_1.2.tar.gz"),
        world.source().join("musterLie_1.2.tar.gz"),
    )
    .expect("renamed");
    let said = refused(PackageLanguage::R, &liar.replace("Liar", "Lie"));
    assert!(
        said.contains("musterLie_1.2.tar.gz does not hold what its name says"),
        "{said}"
    );
    let evil = world.r_package(
        "musterEvil",
        "",
        &[
            ("NAMESPACE", ""),
            ("R/code.R",                 "stop('found ', class(try(readLines('/etc/shadow'), TRUE)), ' ', class(try(socketConnection(port = 80), TRUE)))\n"),
        ],
    );
    let said = refused(PackageLanguage::R, &evil);
    assert!(said.contains("found try-error try-error"), "{said}");
    let missing = format!("muster-gone==1.0 --hash={}", Digest::of(b"gone"));
    assert!(refused(python, &missing).contains("no source of this node has the package muster-gone 1.0"));
    world.wheel("muster_gone", "1.0", "py3-none-any", &[("muster_gone.py", "")]);
    assert!(refused(python, &missing).contains("is not what the list of packages says of muster-gone 1.0"));
}

#[test]
fn a_set_that_was_changed_does_not_reach_a_run_and_is_built_again() {
    let world = World::new();
    let line = world.wheel(
        "muster_tiny",
        "1.0",
        "py3-none-any",
        &[("muster_tiny.py", "answer = 42\n")],
    );
    let sets = PackageSets::default();
    let build = || {
        world
            .build(
                &sets,
                "sets",
                PackageLanguage::Python,
                std::slice::from_ref(&line),
            )
            .expect("built")
    };
    let set = build();
    let module = set.folder.join("muster_tiny.py");
    open_to_all(&set.folder, &module);
    fs::write(&module, "answer = 43\n").expect("changed");
    let script = "import muster_tiny; print(muster_tiny.answer)";
    let ended = world
        .node
        .run(order(Python, Unrestricted, script).under(with(&set)));
    assert!(
        matches!(ended.ending.outcome, Outcome::JailRefused { .. }),
        "{ended:?}"
    );
    assert!(
        ended.words().contains("was changed after it was built"),
        "{}",
        ended.words()
    );
    assert!(!set.folder.exists());
    let again = build();
    assert_eq!((again.digest, &again.folder), (set.digest, &set.folder));
    let ended = world
        .node
        .run(order(Python, Unrestricted, script).under(with(&again)));
    assert_eq!(ended.succeeded().stdout(), "42\n");
}

#[test]
fn who_waits_no_more_ends_the_build() {
    let world = World::new();
    let slow = world.r_package(
        "musterSlow",
        "",
        &[("NAMESPACE", ""), ("R/code.R", "Sys.sleep(600)\n")],
    );
    let list = PackageList::of_lines(PackageLanguage::R, [slow.as_str()]).expect("locked");
    let wanted = Wanted {
        list: &list,
        version: "4.2",
    };
    let sets = Arc::new(PackageSets::default());
    let config = world.config("sets");
    let cancel = CancellationToken::new();
    let began = tokio::time::Instant::now();
    let built = RUNTIME.block_on(async {
        let build = sets.build(&config, &world.node.engines, &wanted, |_: &Path| {}, &cancel);
        let stop = async {
            let work = config.folder.join("work/files");
            while !work.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            cancel.cancel();
        };
        tokio::join!(build, stop).0
    });
    assert!(matches!(built, Err(PackagesError::Cancelled)), "{built:?}");
    assert!(began.elapsed() < Duration::from_mins(2));
    let ended = world.node.run(order(Python, Restricted, "1"));
    ended.succeeded();
}
