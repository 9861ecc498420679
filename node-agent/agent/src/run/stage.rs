//! Brings the inputs of a run here and puts its order together.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use muster_client::{ClientError, Connection, Request};
use muster_daemon::Backoff;
use muster_engines::{
    Data, EngineKind, Format, Input, Limits, Live, Mode, OutputSpec, RunOrder, RunPolicy, Shape,
};
use muster_wire::{
    function::{BlobRef, Parameter},
    node::v1::run::BLOBS_PATH,
};

use super::{admit::Admitted, payload::Payloads};
use crate::{agent::Agent, engines};

/// How often the inputs are tried to be fetched.
const TRIES: u32 = 4;

/// Why the inputs are not here.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// They could not be fetched.
    #[error("the inputs of the run could not be fetched")]
    Client(#[from] ClientError),
    /// They could not be stored.
    #[error("the inputs of the run could not be stored in {}", path.display())]
    Store {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Longer than was granted.
    #[error("an input of the run has {found} bytes; {granted} were granted")]
    Size {
        /// As it came.
        found: u64,
        /// In the grant.
        granted: u64,
    },
}

/// Downloads the inputs that did not come with the grant into `folder`, over a connection for payloads.
pub async fn fetch(
    agent: &Agent,
    admitted: &Admitted,
    folder: &Path,
) -> Result<BTreeMap<String, PathBuf>, StageError> {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
    let mut tries = 1;
    loop {
        match fetch_once(agent, admitted, folder).await {
            Err(StageError::Client(error)) if tries < TRIES => {
                tracing::warn!(run = %admitted.grant.run, %error, "fetching the inputs of a run again");
                tries += 1;
                tokio::time::sleep(backoff.next(agent.random.fraction(), error.retry_after())).await;
            }
            result => return result,
        }
    }
}

async fn fetch_once(
    agent: &Agent,
    admitted: &Admitted,
    folder: &Path,
) -> Result<BTreeMap<String, PathBuf>, StageError> {
    let mut files = BTreeMap::new();
    let mut payload = None;
    let run = admitted.grant.run.to_string();
    for (index, (name, blob)) in admitted.grant.inputs.iter().enumerate() {
        if admitted.arguments.contains_key(name) {
            continue;
        }
        let path = folder.join(format!("input-{index}"));
        let mut used = match payload.take() {
            Some(payload) => payload,
            None => agent.payloads.take(agent).await?,
        };
        if let Err(error) = download(&used.connection, blob, &run, &path).await {
            if !used.used || !matches!(error, StageError::Client(ClientError::Broken { .. })) {
                return Err(error);
            }
            // It had ended while nobody used it.
            used = Payloads::fresh(agent).await?;
            download(&used.connection, blob, &run, &path).await?;
        }
        payload = Some(used);
        files.insert(name.clone(), path);
    }
    if let Some(payload) = payload {
        agent.payloads.give_back(payload);
    }
    Ok(files)
}

async fn download(connection: &Connection, blob: &BlobRef, run: &str, path: &Path) -> Result<(), StageError> {
    let mut file = tokio::fs::File::create(path)
        .await
        .map_err(|source| StageError::Store {
            path: path.to_owned(),
            source,
        })?;
    let request = Request::get(format!("{BLOBS_PATH}/{}", blob.digest)).query("run", run);
    let found = connection
        .download(request, &mut file, blob.digest, blob.size)
        .await?;
    if found == blob.size {
        Ok(())
    } else {
        Err(StageError::Size {
            found,
            granted: blob.size,
        })
    }
}

/// The order for the engine. `files` are the inputs as they were fetched.
pub fn order(
    agent: &Agent,
    admitted: &Admitted,
    engine: EngineKind,
    mode: Mode,
    files: &BTreeMap<String, PathBuf>,
    (folder, live): (PathBuf, Live),
    (policy, session): (Arc<RunPolicy>, Option<String>),
) -> RunOrder {
    let grant = &admitted.grant;
    let inputs = admitted
        .definition
        .inputs
        .iter()
        .map(|parameter| Input {
            name: parameter.name.clone(),
            kind: shape(parameter),
            format: grant
                .inputs
                .get(&parameter.name)
                .map_or(Format::Json, |blob| format(&blob.format)),
            types: types(parameter),
            data: data(admitted, &parameter.name, files),
        })
        .collect();
    let outputs = grant
        .outputs
        .iter()
        .map(|wanted| OutputSpec {
            name: wanted.parameter.name.clone(),
            kind: shape(&wanted.parameter),
            format: format(&wanted.format),
        })
        .collect();
    RunOrder {
        engine,
        mode,
        policy,
        script: admitted.definition.script.clone(),
        trace: grant.trace,
        inputs,
        outputs,
        limits: limits(agent, admitted, engine),
        session,
        folder,
        live,
    }
}

/// A value that came with the grant, or a file.
fn data(admitted: &Admitted, name: &str, files: &BTreeMap<String, PathBuf>) -> Option<Data> {
    let argument = admitted.arguments.get(name);
    let argument = argument.map(|text| Data::Bytes(text.clone().into_bytes()));
    argument.or_else(|| files.get(name).cloned().map(Data::File))
}

/// The smallest of the node's limits, the grant's and the function's own.
fn limits(agent: &Agent, admitted: &Admitted, engine: EngineKind) -> Limits {
    let here = engines::limits(&agent.config(), engine);
    let wanted = &admitted.definition.limits;
    let seconds = [Some(admitted.grant.limits.wall_seconds), wanted.wall_seconds];
    let mib = [Some(admitted.grant.limits.memory_mib), wanted.memory_mib];
    // Zero leaves it to the node.
    let least = |wanted: [Option<u64>; 2], unit: u64, here: u64| {
        wanted
            .into_iter()
            .flatten()
            .filter(|value| *value > 0)
            .map(|value| value.saturating_mul(unit))
            .fold(here, u64::min)
    };
    Limits {
        wall_ms: least(seconds, 1000, here.wall_ms),
        memory_bytes: least(mib, 1024 * 1024, here.memory_bytes),
        ..here
    }
}

/// A type is told to the engine where the function allows one only.
fn types(parameter: &Parameter) -> BTreeMap<String, String> {
    match (parameter.kind.as_str(), parameter.types.as_slice()) {
        ("value" | "column", [only]) => BTreeMap::from([(parameter.name.clone(), only.clone())]),
        _ => BTreeMap::new(),
    }
}

/// Admission has refused every other word.
fn shape(parameter: &Parameter) -> Shape {
    match parameter.kind.as_str() {
        "value" => Shape::Value,
        "column" => Shape::Column,
        _ => Shape::Table,
    }
}

fn format(word: &str) -> Format {
    if word == "csv" { Format::Csv } else { Format::Json }
}
