//! Builds a set: verified files go into a run of the engine itself, and one archive comes out.
//!
//! Installing a source package of R executes its code. It does so in a jail like any unrestricted run, with no network,
//! nothing of the node's own files and no program of the administrator's; pip, which executes nothing of a wheel, is
//! treated alike. The scripts are `runners/python/build.py` and `runners/r/build.R`.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
    time::Duration,
};

use muster_ids::{Digest, PackageLanguage};
use tokio_util::sync::CancellationToken;

use super::{PackagesConfig, PackagesError, Wanted, fetch, make_folder, source, source::Verified, tar, tree};
use crate::{
    Data, EngineKind, Engines, EnginesConfig, Format, Input, Limits, Live, Mode, Outcome, OutputSpec,
    Recycle, RunEnding, RunOrder, RunPolicy, Shape, default_limits,
};

const PYTHON: &str = include_str!("../../runners/python/build.py");
const R: &str = include_str!("../../runners/r/build.R");
/// The variable with the archive.
const ARCHIVE: &str = "archive";
/// What an engine says about a failure is cut after so many bytes.
const LONGEST_COMPLAINT: usize = 2000;

/// Builds the set in `work`; its tree is `work/tree`, which has this digest and so many bytes.
pub(super) async fn build(
    config: &PackagesConfig,
    engines: &Engines,
    wanted: &Wanted<'_>,
    work: &Path,
    cancel: &CancellationToken,
) -> Result<(Digest, u64), PackagesError> {
    let stored = |source| PackagesError::Store {
        path: config.folder.clone(),
        source,
    };
    let (folder, place) = (config.folder.clone(), work.to_owned());
    let emptied = tokio::task::spawn_blocking(move || {
        make_folder(&folder)?;
        tree::remove(&place)?;
        make_folder(&place.join("files"))
    });
    emptied
        .await
        .map_err(|error| stored(io::Error::other(error)))?
        .map_err(stored)?;
    let mut sources = config.sources.clone();
    sources.extend(fetch::fetch(config, engines, wanted, work, cancel).await?);
    let (list, into, most) = (wanted.list.clone(), work.join("files"), config.set_bytes);
    let files = tokio::task::spawn_blocking(move || source::collect(&list, &sources, &into, most))
        .await
        .map_err(|error| stored(io::Error::other(error)))??;

    let (engine, script) = match wanted.list.language() {
        PackageLanguage::Python => (EngineKind::Python, PYTHON),
        PackageLanguage::R => (EngineKind::R, R),
    };
    let job = Job {
        engine,
        script,
        inputs: inputs(wanted, &files),
        policy: RunPolicy::default(),
        folder: work,
    };
    let ending = run(config, engines, job, cancel).await;
    let archive = match ending.outcome {
        Outcome::Succeeded => ending.outputs.first().map(|output| output.path.clone()),
        Outcome::Cancelled => return Err(PackagesError::Cancelled),
        _ => None,
    };
    let Some(archive) = archive else {
        return Err(PackagesError::NotBuilt {
            engine: wanted.engine(),
            why: complaint(&ending),
        });
    };
    let target = work.join("tree");
    let unpacked = tokio::task::spawn_blocking(move || {
        let archive = io::BufReader::new(fs::File::open(archive)?);
        make_folder(&target)?;
        tar::unpack(archive, &target, most)?;
        tree::digest(&target)
    })
    .await
    .map_err(|error| stored(io::Error::other(error)))?;
    unpacked.map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => PackagesError::TooLarge { bytes: most },
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::AlreadyExists => {
            PackagesError::NotBuilt {
                engine: wanted.engine(),
                why: format!("what came out of the build is not usable: {error}"),
            }
        }
        _ => stored(error),
    })
}

/// What a run of the agent's own does.
pub(super) struct Job<'a> {
    pub(super) engine: EngineKind,
    pub(super) script: &'static str,
    pub(super) inputs: Vec<Input>,
    pub(super) policy: RunPolicy,
    /// Where the archive comes to lie.
    pub(super) folder: &'a Path,
}

/// One run in a jail of its own that nothing else uses; it leaves an archive.
pub(super) async fn run(
    config: &PackagesConfig,
    engines: &Engines,
    job: Job<'_>,
    cancel: &CancellationToken,
) -> RunEnding {
    let limits = limits(config);
    let policy = Arc::new(job.policy);
    let order = RunOrder {
        engine: job.engine,
        mode: Mode::Unrestricted,
        policy: Arc::clone(&policy),
        script: job.script.to_owned(),
        inputs: job.inputs,
        outputs: vec![OutputSpec {
            name: ARCHIVE.to_owned(),
            kind: Shape::Value,
            format: Format::File,
        }],
        trace: false,
        limits,
        session: None,
        folder: job.folder.to_owned(),
        live: Live::default(),
    };
    let apart = engines.beside(plain(engines.config(), &policy, limits));
    apart.run(&order, cancel).await
}

/// The engines of the node without anything that the administrator added for runs.
fn plain(engines: &EnginesConfig, policy: &Arc<RunPolicy>, limits: Limits) -> EnginesConfig {
    let mut plain = EnginesConfig {
        r_packages: Vec::new(),
        python_packages: Vec::new(),
        unrestricted: Arc::clone(policy),
        recycle: Recycle {
            runs: 1,
            ..Recycle::default()
        },
        ..engines.clone()
    };
    let services = &mut plain.services;
    for service in [&mut services.r, &mut services.python, &mut services.terr] {
        service.limits = limits;
        service.queue = 0;
        service.package_path = None;
        service.startup_hook = None;
    }
    plain
}

/// The scratch folder holds the files, what they become and the archive of it, all in memory.
fn limits(config: &PackagesConfig) -> Limits {
    let patience = config.patience;
    let scratch_bytes = config.set_bytes.saturating_mul(4);
    Limits {
        wall_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
        cpu_seconds: patience.max(Duration::from_secs(1)).as_secs(),
        scratch_bytes,
        memory_bytes: default_limits().memory_bytes.saturating_add(scratch_bytes),
        // Headers and padding of small files.
        output_bytes: config.set_bytes.saturating_mul(2),
        processes: 256,
        open_files: 1024,
    }
}

fn input(name: String, kind: Shape, format: Format, data: Data) -> Input {
    Input {
        name,
        kind,
        format,
        types: BTreeMap::new(),
        data: Some(data),
    }
}

/// A column of texts.
pub(super) fn column(name: &str, values: &[impl serde::Serialize]) -> Input {
    let text = serde_json::json!({ "type": "String", "values": values }).to_string();
    input(
        name.to_owned(),
        Shape::Column,
        Format::Json,
        Data::Bytes(text.into_bytes()),
    )
}

fn inputs(wanted: &Wanted<'_>, files: &[Verified]) -> Vec<Input> {
    let lines = wanted.list.lines();
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let mut inputs = vec![column("names", &names), column("lines", &lines)];
    inputs.extend(files.iter().enumerate().map(|(index, file)| {
        let data = Data::File(file.path.clone());
        input(format!("file_{index}"), Shape::Value, Format::File, data)
    }));
    inputs
}

/// What the engine said, in one line.
pub(super) fn complaint(ending: &RunEnding) -> String {
    let said = String::from_utf8_lossy(&ending.stderr.bytes).into_owned();
    let said = match &ending.outcome {
        Outcome::Exited { .. } if !said.trim().is_empty() => said,
        Outcome::ScriptError { message } => message.clone(),
        _ => ending.in_words(crate::Cure::Expression),
    };
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let first = lines.iter().position(|line| line.contains("ERROR"));
    let kept = &lines[first.unwrap_or(lines.len().saturating_sub(5))..];
    let line: String = kept
        .join("; ")
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect();
    line[..line.floor_char_boundary(LONGEST_COMPLAINT)].to_owned()
}
