use super::*;

fn read(text: &str) -> Result<Config, ConfigErrors> {
    let reader = Reader::of_text(Path::new("/etc/muster/node.toml"), text, []);
    Config::read(reader, &BTreeMap::new())
}

#[test]
fn an_empty_file_has_the_documented_defaults() {
    let config = read("").expect("valid");
    assert_eq!(config.trust.max_staleness, Duration::from_mins(15));
    assert_eq!(
        (config.limits.memory_mib, config.limits.wall_seconds),
        (1000, 600)
    );
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let service = &config.services.python;
    assert_eq!(
        (service.sessions as usize, service.queue as usize),
        ((processors - 1).clamp(1, 64), (processors / 4).clamp(1, 10))
    );
    assert_eq!((service.wall_seconds, service.memory_mib), (600, 1000));
    assert_eq!(
        (
            service.session_seconds,
            service.prune_seconds,
            service.prune_threshold
        ),
        (Some(1800), 10, 60)
    );
    assert_eq!((&service.package_path, &service.startup_hook), (&None, &None));
    assert!(!config.join.accept_unverified_ca && !config.trust.force_restricted);
    assert!(config.operations.is_none() && config.addresses.is_empty() && !config.unrestricted.network_host);
    assert_eq!(config.state_dir, Path::new("/var/lib/muster/node"));
}

#[test]
fn a_misspelt_log_level_is_an_error_of_the_configuration() {
    let error = read("[log]\nlevel = \"info,muster_agent=loud\"\n").expect_err("no level");
    let error = error.to_string();
    assert!(
        error.starts_with(
            "/etc/muster/node.toml line 2: log.level is \"info,muster_agent=loud\"; wanted: log levels in"
        ),
        "{error}"
    );
}

#[test]
fn packages_come_from_folders_of_this_node() {
    let config =
        read("[packages]\nsources = [\"/srv/packages\"]\nset_mib = 8\nbuild_time = \"1m\"\n").expect("valid");
    let packages = config.packages;
    assert_eq!(packages.sources, [Path::new("/srv/packages")]);
    assert_eq!(
        (packages.sets, packages.total_mib, packages.set_mib),
        (16, 4096, 8)
    );
    assert_eq!(
        (packages.folder, packages.build_time),
        (None, Duration::from_mins(1))
    );
    let error =
        read("[packages]\nsources = [\"https://pypi.org/simple\", \"wheels\"]\n").expect_err("no folders");
    let error = error.to_string();
    for words in [
        "belongs to packages.indexes",
        "\"wheels\": name a folder by its absolute path",
    ] {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn indexes_of_python_packages_are_reached_by_their_hosts() {
    let config = read(
        "[packages]\nindexes = [\"https://pypi.org/simple\", \"http://mirror.example:8081/py\"]\n\
         index_hosts = [\"files.pythonhosted.org:443\"]\n",
    )
    .expect("valid");
    let packages = config.packages;
    assert_eq!(packages.indexes.len(), 2);
    let hosts: Vec<(&str, u16)> = packages
        .index_hosts
        .iter()
        .map(|one| (one.host.as_str(), one.port))
        .collect();
    assert_eq!(
        hosts,
        [
            ("files.pythonhosted.org", 443),
            ("mirror.example", 8081),
            ("pypi.org", 443)
        ]
    );
    for wrong in [
        "pypi.org/simple",
        "ftp://pypi.org",
        "https://",
        "https://ann:secret@pypi.org/simple",
        "https://pypi.org/simple?x=1",
        "https://pypi.org:0/simple",
    ] {
        let error = read(&format!("[packages]\nindexes = [\"{wrong}\"]\n")).expect_err(wrong);
        assert!(error.to_string().contains("https://HOST/simple"), "{error}");
    }
    assert!(read("[packages]\nindex_hosts = [\"files.pythonhosted.org\"]\n").is_err());
}

#[test]
fn what_join_writes_reads_as_what_was_given() {
    let pin = Digest::of(b"root");
    let given = Given {
        registration: vec!["http://control:9080".to_owned(), "http://[::1]".to_owned()],
        name: Some("terr's #01 ä".parse().expect("name")),
        capabilities: vec![Capability::Terr, Capability::R],
        pool: None,
        site: Some("north".parse().expect("name")),
        ca_fingerprint: vec![pin],
        token_file: Some("/etc/muster/token".into()),
        state_dir: Some("/srv/node".into()),
    };
    let config = read(&sample(&given)).expect("valid");
    assert_eq!(config.name, given.name);
    assert_eq!(config.capabilities, given.capabilities);
    assert_eq!((config.pool, config.site), (None, given.site));
    assert_eq!(config.registration, ["control:9080", "[::1]:9080"]);
    assert_eq!(config.join.ca_fingerprint, [pin]);
    assert_eq!(
        config.join.token_file.expect("given").path(),
        Path::new("/etc/muster/token")
    );
    assert_eq!(config.state_dir, Path::new("/srv/node"));
    assert!(read(&sample(&Given::default())).is_ok());
}

#[test]
fn all_errors_are_reported_at_once_with_their_places() {
    let error = read(
        "[node]\nname = \" x\"\ncapabilities = [\"JULIA\"]\n[control_plane]\nregistration = [\"https://c:9080\"]\n\
         [trust]\nmax_staleness = \"1h\"\n[operations]\nlisten = \"0.0.0.0:9091\"\n[nodes]\nx = 1\n",
    )
    .expect_err("wrong")
    .to_string();
    for part in [
        "6 errors",
        "node.name",
        "TERR, R or PYTHON",
        "http://HOST:9080",
        "trust.max_staleness",
        "loopback",
        "did you mean node",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn staleness_can_only_be_tightened() {
    assert_eq!(
        read("[trust]\nmax_staleness = \"5m\"")
            .expect("valid")
            .trust
            .max_staleness,
        Duration::from_mins(5)
    );
    assert!(read("[trust]\nmax_staleness = \"15m1s\"").is_err());
}

#[test]
fn documented_settings_of_trust_are_only_tightened() {
    let config = read(
        "[trust]\ndisable_spotfire_trust_checks = false\nterr_restricted_execution_mode = true\n\
         [engines]\nsession_time = \"never\"\n",
    )
    .expect("valid");
    let terr = &config.services.terr;
    assert_eq!(
        terr.keeps_checks.as_deref(),
        Some("trust.disable_spotfire_trust_checks in node.toml")
    );
    assert_eq!(
        terr.keeps_restricted_mode.as_deref(),
        Some("trust.terr_restricted_execution_mode in node.toml")
    );
    assert_eq!(terr.session_seconds, None);
    let nothing = read("").expect("valid").services.terr;
    assert_eq!(
        (
            nothing.keeps_checks,
            nothing.keeps_restricted_mode,
            nothing.session_seconds
        ),
        (None, None, Some(1800))
    );
    for (line, documented) in [
        (
            "[trust]\ndisable_spotfire_trust_checks = true",
            "disable.spotfire.trust.checks",
        ),
        (
            "[trust]\nterr_restricted_execution_mode = false",
            "terr.restricted.execution.mode",
        ),
    ] {
        let error = read(line).expect_err(line).to_string();
        for part in ["only tighten trust", "muster setting set", documented] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
    for wrong in ["0s", "8d", "ever"] {
        assert!(
            read(&format!("[engines]\nsession_time = \"{wrong}\"\n")).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn addresses_are_hosts_with_ports_and_nothing_else() {
    for (url, address) in [
        ("http://control", "control:9080"),
        ("http://control:1234/", "control:1234"),
        ("http://10.0.0.5", "10.0.0.5:9080"),
        ("http://[fd00::1]:9080", "[fd00::1]:9080"),
    ] {
        assert_eq!(registration_address(url).as_deref(), Ok(address));
    }
    for url in [
        "control:9080",
        "https://control",
        "http://",
        "http://control/join",
        "http://user@control",
        "http://control:0",
        "http://control:99999",
        "http://[fd00::1",
        "http://a b",
    ] {
        assert!(registration_address(url).is_err(), "{url}");
    }
    assert!(back_end_address("control").is_err());
    assert_eq!(back_end_address("control:9443").as_deref(), Ok("control:9443"));
}

#[test]
fn what_trusted_code_sees_may_have_another_path_in_the_jail_but_not_one_of_the_jails_own() {
    let config = read("[unrestricted]\nreadable = [\"/srv/a\", \"/tmp/b c:/data\"]\n").expect("valid");
    let expected = [("/srv/a", "/srv/a"), ("/tmp/b c", "/data")].map(|(source, target)| Shown {
        source: source.into(),
        target: target.into(),
    });
    assert_eq!(config.unrestricted.readable, expected);
    for (wrong, cure) in [
        ("/tmp/b", "/tmp/b:/data"),
        ("/srv:/proc/1", "/srv:/data"),
        ("/", "/:/data"),
        ("srv", "absolute"),
        ("/srv:", "absolute"),
        ("/srv/../etc", "absolute"),
        ("/srv/a:b", "absolute"),
    ] {
        let error = read(&format!("[unrestricted]\nwritable = [\"{wrong}\"]\n"))
            .expect_err(wrong)
            .to_string();
        assert!(error.contains(cure), "{error}");
    }
}
