use std::os::unix::fs::symlink;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("folder")
}

#[test]
fn a_written_file_has_its_content_and_exactly_its_mode() {
    let folder = folder();
    let path = folder.path().join("key.pem");
    for (content, mode) in [("one", 0o600), ("two, longer", 0o644)] {
        write(&path, content.as_bytes(), mode, "test").expect("written");
        assert_eq!(
            read(&path, Access::Guarded, 100).expect("read"),
            content.as_bytes()
        );
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, mode);
    }
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
}

#[test]
fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
    let folder = folder();
    let path = folder.path().join("occupied");
    fs::create_dir(&path).expect("folder");
    fs::write(path.join("inside"), "").expect("written");
    let error = write(&path, b"new", 0o600, "test").expect_err("a folder is in the way");
    assert!(error.to_string().contains("occupied"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
}

#[test]
fn a_private_file_that_others_can_read_is_refused() {
    let folder = folder();
    let path = folder.path().join("secret");
    for (mode, good) in [
        (0o600, true),
        (0o400, true),
        (0o640, false),
        (0o604, false),
        (0o660, false),
        (0o700, false),
        (0o4600, false),
    ] {
        fs::write(&path, "x").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        let result = read(&path, Access::Private, 100);
        assert_eq!(result.is_ok(), good, "{mode:o}: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("chmod"), "{error}");
        }
        fs::remove_file(&path).expect("removed");
    }
}

#[test]
fn a_systemd_credential_may_carry_the_mask_of_its_access_list() {
    let folder = folder();
    let path = folder.path().join("credential");
    fs::write(&path, "x").expect("written");
    for (mode, good) in [(0o440, true), (0o400, true), (0o444, false), (0o460, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        assert_eq!(read(&path, Access::Credential, 100).is_ok(), good, "{mode:o}");
    }
}

#[test]
fn links_pipes_folders_and_long_files_are_refused() {
    let folder = folder();
    let (file, link, pipe) = (
        folder.path().join("file"),
        folder.path().join("link"),
        folder.path().join("pipe"),
    );
    write(&file, b"12345", 0o600, "test").expect("written");
    symlink(&file, &link).expect("link");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .expect("pipe");
    assert!(matches!(
        read(&link, Access::Private, 100),
        Err(FileError::Link(_))
    ));
    assert_eq!(read(&link, Access::Any, 100).expect("followed"), b"12345");
    assert!(matches!(
        read(&pipe, Access::Private, 100),
        Err(FileError::Kind(_))
    ));
    assert!(matches!(
        read(folder.path(), Access::Any, 100),
        Err(FileError::Kind(_))
    ));
    assert!(matches!(
        read(&file, Access::Private, 4),
        Err(FileError::TooLong { limit: 4, .. })
    ));
    assert!(
        read(&folder.path().join("none"), Access::Private, 4)
            .expect_err("missing")
            .is_not_found()
    );
}

#[test]
fn a_link_at_the_target_is_replaced_and_not_followed() {
    let folder = folder();
    let (target, link) = (folder.path().join("target"), folder.path().join("link"));
    fs::write(&target, "untouched").expect("written");
    symlink(&target, &link).expect("link");
    write(&link, b"new", 0o600, "test").expect("written");
    assert_eq!(fs::read(&target).expect("read"), b"untouched");
    assert_eq!(read(&link, Access::Private, 100).expect("a file now"), b"new");
}

#[test]
fn a_sweep_removes_what_is_unfinished_and_nothing_else() {
    let folder = folder();
    let (_, unfinished) = create_beside(&folder.path().join("key.pem"), 0o600).expect("created");
    write(&folder.path().join("key.pem"), b"x", 0o600, "test").expect("written");
    assert!(unfinished.exists());
    sweep(folder.path()).expect("swept");
    let left: Vec<_> = fs::read_dir(folder.path())
        .expect("folder")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(left, ["key.pem"]);
}

#[test]
fn a_removed_file_may_be_removed_again() {
    let folder = folder();
    let path = folder.path().join("pending");
    write(&path, b"x", 0o600, "test").expect("written");
    remove(&path).expect("removed");
    remove(&path).expect("removed already");
    assert!(!path.exists());
}

#[test]
fn what_is_placed_is_whole_for_others_and_settled_later_or_never() {
    let folder = folder();
    let path = folder.path().join("outcome");
    place(&path, b"old", 0o600, "test").expect("placed");
    place(&path, b"new", 0o600, "test").expect("placed over it");
    assert_eq!(read(&path, Access::Private, 100).expect("read"), b"new");
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
    settle(&path, "test").expect("settled");
    remove(&path).expect("removed");
    settle(&path, "test").expect("nothing to settle");
    let nowhere = folder.path().join("missing/outcome");
    assert!(place(&nowhere, b"x", 0o600, "test").is_err());
}

#[test]
fn a_folder_is_private_when_made_and_refused_when_others_may_write_into_it() {
    let folder = folder();
    let path = folder.path().join("state/node");
    create_folder(&path).expect("made");
    assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o700);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).expect("mode");
    assert!(matches!(
        create_folder(&path),
        Err(FileError::Mode { wanted: 0o750, .. })
    ));
}

/// Runs this test binary again as a process that is to die at a point; see `the_victim_of_a_crash_test`.
#[cfg(feature = "crash-points")]
#[test]
fn a_crash_at_any_point_leaves_the_old_or_the_new_content() {
    use std::os::unix::process::ExitStatusExt as _;
    for (step, expected) in WRITE_POINTS.into_iter().zip(["old", "old", "old", "new", "new"]) {
        let folder = folder();
        let path = folder.path().join("credentials");
        write(&path, b"old", 0o600, "other").expect("written");
        #[expect(clippy::disallowed_methods, reason = "a test starts itself as a victim")]
        let status = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "file::tests::the_victim_of_a_crash_test", "--quiet"])
            .env("MUSTER_CRASH_AT", format!("test.{step}"))
            .env("MUSTER_TEST_VICTIM", &path)
            .status()
            .expect("ran");
        assert_eq!(status.signal(), Some(9), "{step}");
        assert_eq!(
            read(&path, Access::Private, 100).expect("readable"),
            expected.as_bytes(),
            "{step}"
        );
        sweep(folder.path()).expect("swept");
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1, "{step}");
    }
}

#[cfg(feature = "crash-points")]
#[test]
fn the_victim_of_a_crash_test() {
    if let Some(path) = std::env::var_os("MUSTER_TEST_VICTIM") {
        let result = write(Path::new(&path), b"new", 0o600, "test");
        assert!(result.is_err(), "the process should have been killed");
    }
}
