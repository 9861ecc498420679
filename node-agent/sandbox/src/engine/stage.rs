//! What a payload is given: files in its scratch folder, read from the control socket after the lock.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::{
    failure::{Attempt as _, Failure},
    frame,
    protocol::{Stage, StagedFile},
};

/// What the runner reads.
const RUN: &str = "run.json";
/// The run's temporary folder, which is there already.
const TEMPORARY: &str = "tmp";
/// Where the files of a run lie, and those that it makes.
const INPUTS: &str = "inputs";
const OUTPUTS: &str = "outputs";
/// The longest name of a file, in bytes.
const LONGEST_NAME: usize = 255;

/// Waits for the description of the run. Nothing of it is believed before [`unpack`] has looked at it.
pub(super) fn receive(control: &mut impl Read) -> Result<Stage, Failure> {
    frame::read(control)
        .attempt("read the stage")?
        .ok_or_else(|| Failure::rule("the agent hung up before it sent the stage"))
}

/// Removes what stages and runners have put into `scratch`, whatever became of it; what else lies there stays.
pub(super) fn tidy(scratch: &Path) -> Result<(), Failure> {
    for name in [RUN, INPUTS, OUTPUTS] {
        let path = scratch.join(name);
        let removed = match fs::symlink_metadata(&path) {
            Ok(about) if about.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).attempt(format!("remove {name} of the former run"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Receives the files of the stage into `scratch` and returns the outputs that were asked for.
pub(super) fn unpack(stage: Stage, mut control: impl Read, scratch: &Path) -> Result<Vec<String>, Failure> {
    let mut seen = BTreeSet::from([RUN]);
    for file in &stage.files {
        plain(&file.path)?;
        if !seen.insert(&file.path) {
            return Err(Failure::rule(format!("the file {:?} is staged twice", file.path)));
        }
    }
    for output in &stage.outputs {
        plain(output)?;
    }
    for file in &stage.files {
        place(&mut control, scratch, file)?;
    }
    let mut run = create(&scratch.join(RUN))?;
    run.write_all(stage.run.get().as_bytes())
        .attempt(format!("write {RUN}"))?;
    Ok(stage.outputs)
}

fn place(control: &mut impl Read, scratch: &Path, file: &StagedFile) -> Result<(), Failure> {
    let path = scratch.join(&file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).attempt(format!("make the folder of {}", file.path))?;
    }
    let copied = io::copy(&mut control.take(file.size), &mut create(&path)?)
        .attempt(format!("receive the file {}", file.path))?;
    if copied == file.size {
        Ok(())
    } else {
        Err(Failure::rule(format!(
            "the agent hung up within the file {}",
            file.path
        )))
    }
}

fn create(path: &Path) -> Result<fs::File, Failure> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .attempt(format!("create {}", path.display()))
}

/// One or two plain components, none of them ours.
fn plain(path: &str) -> Result<(), Failure> {
    let components: Vec<&str> = path.split('/').collect();
    let good = |name: &&str| {
        !name.is_empty()
            && *name != "."
            && *name != ".."
            && name.len() <= LONGEST_NAME
            && !name.contains(char::is_control)
    };
    if components.len() > 2 || !components.iter().all(good) || components[0] == TEMPORARY {
        return Err(Failure::rule(format!(
            "{path:?} is not a file name below the scratch folder"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(files: &str, bytes: &[u8]) -> Result<(tempfile::TempDir, Vec<String>), Failure> {
        let json = format!("{{\"files\":{files},\"outputs\":[\"out.csv\"],\"run\":{{\"a\": 1}}}}");
        let mut stream = u32::try_from(json.len()).expect("short").to_be_bytes().to_vec();
        stream.extend_from_slice(json.as_bytes());
        stream.extend_from_slice(bytes);
        let scratch = tempfile::tempdir().expect("folder");
        let mut stream = stream.as_slice();
        let stage = receive(&mut stream)?;
        unpack(stage, stream, scratch.path()).map(|outputs| (scratch, outputs))
    }

    #[test]
    fn files_arrive_and_the_run_is_written_as_it_is() {
        let files = r#"[{"path":"a","size":3},{"path":"in/b","size":2}]"#;
        let (scratch, outputs) = staged(files, b"abcde").expect("staged");
        let read = |name: &str| fs::read_to_string(scratch.path().join(name)).expect(name);
        assert_eq!(
            (read("a"), read("in/b"), read(RUN)),
            ("abc".into(), "de".into(), "{\"a\": 1}".into())
        );
        assert_eq!(outputs, ["out.csv"]);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for path in [
            "",
            "/a",
            "a/",
            "../a",
            "a/../b",
            "a/b/c",
            ".",
            "tmp",
            "tmp/a",
            "a\\u0000b",
            "run.json",
        ] {
            let files = format!("[{{\"path\":\"{path}\",\"size\":0}}]");
            assert!(staged(&files, b"").is_err(), "{path}");
        }
    }

    #[test]
    fn only_what_belongs_to_a_run_is_removed_after_it() {
        let scratch = tempfile::tempdir().expect("a folder");
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir_all(at("inputs/deep")).expect("made");
        for name in ["inputs/0", "inputs/deep/1", "run.json", "own"] {
            fs::write(at(name), "x").expect("written");
        }
        std::os::unix::fs::symlink(at("own"), at("outputs")).expect("a link");
        tidy(scratch.path()).expect("tidied");
        tidy(scratch.path()).expect("nothing to do");
        let left: Vec<_> = fs::read_dir(scratch.path())
            .expect("readable")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left, ["own"]);
    }

    #[test]
    fn a_file_that_breaks_off_is_refused() {
        assert!(staged(r#"[{"path":"a","size":3}]"#, b"ab").is_err());
    }
}
