//! The jail's own attack on itself, once per launcher before it is ready.
//!
//! A stand-in for the engine is forked from this program and goes the whole way of a run: id map, folders, limits,
//! locks, stage. Then it tries what must fail and reports what did not. So a kernel, container or unit in which a
//! wall is missing is refused by what happens, not by what its version promises.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use super::{
    engine::{Engine, Entry},
    serve::Serving,
};
use crate::{
    engine::{self, Role},
    failure::{Attempt as _, Failure},
    frame,
    kernel::attacks,
    protocol::{Mode, Programs, Report, Stage},
};

/// Refuses unless every attack fails and what must work works.
pub(super) fn attack(serving: &mut Serving, outside: &OwnedFd) -> Result<(), Failure> {
    let probe = match serving.walls().mode {
        Mode::Restricted => restricted,
        Mode::Unrestricted if serving.walls().programs == Programs::None => without_programs,
        Mode::Unrestricted => unrestricted,
    };
    let mut engine = Engine::start(&Entry::Function(probe), serving.kills())?;
    engine.until_ready(outside)?;
    let (control, theirs) = UnixStream::pair().attempt("make a pair of sockets")?;
    let (_supervisor, supervisor) = UnixStream::pair().attempt("make a pair of sockets")?;
    let (errors, stderr) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).attempt("make a pipe")?;
    let stdout = crate::kernel::process::null()?;
    let limits = serving.most();
    serving.fork(
        &engine,
        limits,
        (None, None),
        &[theirs.into(), supervisor.into(), stdout, stderr],
    )?;
    let run = serde_json::value::to_raw_value(&()).map_err(|error| Failure::rule(error.to_string()))?;
    let stage = Stage {
        files: Vec::new(),
        outputs: Vec::new(),
        limits: None,
        stays: false,
        run,
    };
    let mut said = Vec::new();
    // Each end of the conversation is the end of the probe; what it said decides.
    if frame::write(&control, &stage).is_ok() {
        while let Ok(Some(report)) = frame::read::<Report>(&control) {
            said.push(report);
        }
    }
    // The stand-in has done its duty; process 1 of its run ends with it, and both are ours to reap.
    let _ = rustix::process::kill_process(engine.pid, rustix::process::Signal::KILL);
    while rustix::io::retry_on_intr(|| rustix::process::wait(rustix::process::WaitOptions::empty())).is_ok() {
    }
    match said.as_slice() {
        [Report::Locked, Report::Finished { ending, .. }] if ending == "succeeded" => Ok(()),
        [.., Report::Finished { message, .. }] => Err(Failure::rule(format!(
            "the jail did not withstand its own test: {message}"
        ))),
        _ => {
            let mut words = String::new();
            // It may have said nothing.
            let _ = std::io::Read::read_to_string(&mut File::from(errors), &mut words);
            Err(Failure::rule(format!(
                "the jail's own test broke off: {}",
                words.trim()
            )))
        }
    }
}

fn restricted() -> i32 {
    stand_in("restricted", &|| {
        let mut broken = attacks::common();
        broken.extend(attacks::restricted());
        broken.extend(files(&[
            "/proc/self/environ",
            "/proc/1/environ",
            "/proc/cpuinfo",
            "/etc/passwd",
        ]));
        broken.extend(attacks::program());
        broken
    })
}

fn unrestricted() -> i32 {
    stand_in("unrestricted", &|| {
        let mut broken = attacks::common();
        broken.extend(files(&["/proc/1/environ", "/proc/1/mem", "/proc/1/maps"]));
        broken
    })
}

fn without_programs() -> i32 {
    stand_in("unrestricted", &|| {
        let mut broken = attacks::common();
        broken.extend(files(&["/proc/1/environ", "/proc/1/mem", "/proc/1/maps"]));
        broken.extend(attacks::program());
        broken
    })
}

/// An engine in the shortest form; its payload runs the attacks.
fn stand_in(mode: &str, attacks: &dyn Fn() -> Vec<&'static str>) -> i32 {
    match engine::serve_as_copy() {
        Ok(Role::Payload) => {}
        Ok(Role::Abandoned) => return 0,
        Err(failure) => {
            super::complain(&failure);
            return 1;
        }
    }
    if let Err(failure) = engine::lock(mode) {
        super::complain(&failure);
        return 1;
    }
    let mut broken = attacks();
    broken.extend(engine::open_beside_its_own());
    if fs::write("/scratch/own", "own")
        .and_then(|()| fs::write("/tmp/own", "own"))
        .is_err()
    {
        broken.push("the scratch folder cannot be written");
    }
    if File::open("/dev/null").is_err() {
        broken.push("/dev/null cannot be opened");
    }
    if broken.is_empty() {
        engine::leave("succeeded", "", 0)
    }
    engine::leave("script_error", &broken.join(", "), 1)
}

/// Which of these can be read, and whether the system can be written.
fn files(paths: &[&'static str]) -> Vec<&'static str> {
    let mut open: Vec<&'static str> = paths
        .iter()
        .copied()
        .filter(|path| File::open(path).is_ok())
        .collect();
    let append = |path: &&str| OpenOptions::new().create(true).append(true).open(path);
    // Mounts are the wall and answer before Landlock, which is the second and would hide that the first is missing.
    let read_only =
        |path: &&str| append(path).is_err_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem);
    open.extend(
        ["/usr/muster-test", "/muster-test", "/etc/muster-test"]
            .iter()
            .filter(|path| !read_only(path)),
    );
    // Without Landlock one's own entries in the process file system could be written.
    open.extend(["/proc/self/comm"].iter().filter(|path| append(path).is_ok()));
    open
}
