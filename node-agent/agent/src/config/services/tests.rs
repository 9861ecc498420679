use std::fs;

use super::*;

fn plain() -> Service {
    Service {
        sessions: 3,
        queue: 1,
        session_seconds: Some(1800),
        prune_seconds: 10,
        prune_threshold: 60,
        wall_seconds: 600,
        memory_mib: 1024,
        ..Service::default()
    }
}

/// What a folder with these files gives.
fn read_files(files: &[(&str, &str)]) -> Result<Services, Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(&file, text).expect("written");
    }
    let environment = BTreeMap::from([("ENGINE_EXECUTION_TIMEOUT_SECONDS".to_owned(), "90".to_owned())]);
    Services::read(&plain(), Some(folder.path()), &environment)
}

#[test]
fn without_files_all_engines_have_what_node_toml_says() {
    let services = Services::read(&plain(), None, &BTreeMap::new()).expect("read");
    for engine in EngineKind::ALL {
        assert_eq!(services.of(engine), &plain());
    }
    assert!(services.notices.is_empty());
}

#[test]
fn each_service_has_its_own_settings_and_additional_ones_win() {
    let services = read_files(&[
        (
            "TERR/conf/custom.properties",
            "engine.session.max: 7\nengine.queue.size: 12\nram.limit: 2000\npackagePath: /opt/packages\n",
        ),
        (
            "PYTHON/conf/custom.properties",
            "engine.execution.timeout: ${ENGINE_EXECUTION_TIMEOUT_SECONDS:600}\nengine.session.max: 2\nengine.session.max: 5\n\
             startup.hook.script: conf/start.sh\n",
        ),
        (
            "PYTHON/conf/additional-custom.properties",
            "engine.session.max: 6\nengine.session.maxtime: 80\n",
        ),
        ("R/conf/custom.properties", "rhome.path: /opt/R\nengine.session.maxtime: -1\n"),
    ])
    .expect("read");
    let terr = &services.terr;
    assert_eq!(
        (terr.sessions, terr.queue, terr.memory_mib, terr.wall_seconds),
        (7, 12, 2000, 600)
    );
    assert_eq!(terr.package_path.as_deref(), Some(Path::new("/opt/packages")));
    let python = &services.python;
    assert_eq!((python.sessions, python.wall_seconds), (6, 80));
    let hook = python.startup_hook.as_deref().expect("a hook");
    assert!(hook.ends_with("PYTHON/conf/start.sh"), "{}", hook.display());
    assert_eq!(services.r.r_home.as_deref(), Some(Path::new("/opt/R")));
    assert_eq!((services.r.sessions, services.r.wall_seconds), (3, 600));
    assert!(services.notices.is_empty(), "{:?}", services.notices);
}

#[test]
fn a_run_lasts_no_longer_than_a_session() {
    for (text, expected) in [
        ("engine.execution.timeout: 7200", 1800),
        ("engine.execution.timeout: 7200\nengine.session.maxtime: -1", 7200),
        (
            "engine.execution.timeout: 7200\nengine.session.maxtime: 3600",
            3600,
        ),
        ("engine.session.maxtime: 3600", 600),
    ] {
        let services = read_files(&[("R/conf/custom.properties", text)]).expect("read");
        assert_eq!(services.r.wall_seconds, expected, "{text}");
    }
}

#[test]
fn sessions_end_as_the_service_says() {
    let read = |text: &str| {
        let services = read_files(&[("R/conf/custom.properties", text)]).expect("read");
        let service = services.r;
        (
            service.session_seconds,
            service.prune_seconds,
            service.prune_threshold,
        )
    };
    assert_eq!(read("engine.session.max: 2"), (Some(1800), 10, 60));
    let text = "engine.session.maxtime: 120\nengine.prune: 0\ndynamic.prune.threshold: 100";
    assert_eq!(read(text), (Some(120), 0, 100));
    assert_eq!(read("engine.session.maxtime: -1").0, None);
}

#[test]
fn trust_is_only_tightened() {
    let services = read_files(&[(
        "TERR/conf/custom.properties",
        "disable.spotfire.trust.checks: false\nterr.restricted.execution.mode: TRUE\n",
    )])
    .expect("read");
    assert!(services.terr.keeps_checks.is_some() && services.terr.keeps_restricted_mode.is_some());
    assert!(services.python.keeps_checks.is_none());

    for line in [
        "disable.spotfire.trust.checks: TRUE",
        "disable.spotfire.trust.checks: ${ENGINE_DISABLE_TRUST_CHECKS:true}",
        "disable.spotfire.trust.checks:",
        "terr.restricted.execution.mode: FALSE",
    ] {
        let errors = read_files(&[("TERR/conf/custom.properties", line)]).expect_err(line);
        assert_eq!(errors.len(), 1, "{line}");
        for part in ["custom.properties, line 1", "only tighten", "muster setting set"] {
            assert!(errors[0].contains(part), "{part} in {}", errors[0]);
        }
    }
}

#[test]
fn what_means_nothing_here_is_named_with_the_reason() {
    let text = "engine.port.min: 62000\njetty.gzip.compression-level: 4\nspring.servlet.multipart.max-file-size: 100MB\n\
                use.engine.containers: FALSE\ndocker.image.name: debian:12-slim\njmx.rmi.password: hunter2\n\
                javaOptions: -Xmx64m\nrhome.path: /opt/R\nengine.sesion.max: 9\n";
    let services = read_files(&[("PYTHON/conf/custom.properties", text)]).expect("read");
    assert_eq!(services.python, plain());
    assert_eq!(services.notices.len(), 9, "{:?}", services.notices);
    let unknown: Vec<_> = services.notices.iter().filter(|notice| !notice.known).collect();
    assert_eq!(unknown.len(), 1);
    let all: Vec<_> = services
        .notices
        .iter()
        .map(|notice| notice.sentence.as_str())
        .collect();
    let all = all.join("\n");
    for part in [
        "line 1: engine.port.min is not applicable",
        "line 8: rhome.path is not applicable: it belongs to the service R",
        "line 9: there is no setting engine.sesion.max",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    assert!(!all.contains("hunter2"), "a value is not shown");
}

#[test]
fn all_errors_are_told_with_file_and_line() {
    let errors = read_files(&[
        (
            "TERR/conf/custom.properties",
            "engine.session.max: 0\nengine.execution.timeout: 10 s\nengine.queue.size: -1\npackagePath: packages\n\
             ram.limit: 1\ndynamic.prune.threshold: 101\nstartup.hook.script: ../start.sh\n",
        ),
        ("R/conf/custom.properties", "no line\n"),
    ])
    .expect_err("wrong");
    assert_eq!(errors.len(), 8, "{errors:?}");
    assert!(
        errors[0].contains("R/conf/custom.properties, line 1"),
        "{errors:?}"
    );
}
