use super::*;

#[test]
fn people_may_write_a_value_in_the_documented_ways() {
    use SettingName::{DisableTrustChecks, RestrictedEngines, TerrRestrictedExecutionMode};
    assert_eq!(
        Setting::parse(TerrRestrictedExecutionMode, " FALSE "),
        Ok(Setting::TerrRestrictedExecutionMode(false))
    );
    assert_eq!(
        Setting::parse(DisableTrustChecks, "true"),
        Ok(Setting::DisableTrustChecks(true))
    );
    for (text, json) in [
        ("", "[]"),
        ("r_service", r#"["r_service"]"#),
        ("r_service, python_service", r#"["python_service","r_service"]"#),
        (r#"["python_local"]"#, r#"["python_local"]"#),
    ] {
        assert_eq!(
            Setting::parse(RestrictedEngines, text).expect(text).to_json(),
            json
        );
    }
}

#[test]
fn the_defaults_are_told_in_one_way() {
    let mut settings = Settings::default();
    for name in SettingName::ALL {
        settings.set(name.default_setting(), Origin::Default);
        assert_eq!(name.default_setting().name(), *name);
    }
    assert_eq!(settings, Settings::default());
}

#[test]
fn a_wrong_value_is_refused_with_the_right_ones() {
    let error = Setting::parse(SettingName::DisableTrustChecks, "yes").expect_err("not a truth value");
    assert_eq!(
        error.to_string(),
        "the setting disable.spotfire.trust.checks cannot be \"yes\"; it is true or false"
    );
    for text in ["terr_service", "r_service,", "r_service;python_service", "[1]"] {
        let error = Setting::parse(SettingName::RestrictedEngines, text).expect_err(text);
        assert!(
            error
                .to_string()
                .ends_with("a list out of python_service, r_service, python_local")
        );
    }
}

#[test]
fn a_list_of_packages_is_kept_in_its_canonical_lines() {
    let hash = muster_ids::Digest::of(b"wheel");
    let text = format!("# ours\nSix_X==1.0 \\\n  --hash={hash}\n");
    let setting = Setting::parse(SettingName::PythonPackages, &text).expect("locked");
    let json = format!("[\"six-x==1.0 --hash={hash}\"]");
    assert_eq!(setting.to_json(), json);
    assert_eq!(
        Setting::from_json(SettingName::PythonPackages, &json),
        Ok(setting.clone())
    );
    assert_eq!(
        Setting::parse(SettingName::PythonPackages, &setting.to_text()),
        Ok(setting)
    );
    let error = Setting::parse(SettingName::RPackages, "\njsonlite 1.0\n").expect_err("no digest");
    assert_eq!(
        error.to_string(),
        "the setting packages.r cannot be \"…\"; it is a locked list of packages, and line 2 of the list of \
         packages cannot be used: jsonlite has no SHA-256; a list says of each file what it must be"
    );
}
