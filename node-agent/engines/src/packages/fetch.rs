//! Fetches what no folder has from an index of Python packages: pip does, in a jail with a broker that lets it to the hosts
//! of the index and to no other.
//!
//! Invariant: nothing that came from the network is believed here. It lies in one more folder, from which `source.rs` takes
//! what has a digest of the list, as from every other.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use muster_ids::PackageLanguage;
use tokio_util::sync::CancellationToken;

use super::{
    PackagesConfig, PackagesError, Wanted,
    build::{self, Job},
    make_folder, source, tar,
};
use crate::{EngineKind, Engines, NetworkPolicy, Outcome, RunPolicy};

const PYTHON: &str = include_str!("../../runners/python/fetch.py");

/// A folder with what was fetched; none where nothing is missing or there is no index.
pub(super) async fn fetch(
    config: &PackagesConfig,
    engines: &Engines,
    wanted: &Wanted<'_>,
    work: &Path,
    cancel: &CancellationToken,
) -> Result<Option<PathBuf>, PackagesError> {
    if config.indexes.is_empty() || wanted.list.language() != PackageLanguage::Python {
        return Ok(None);
    }
    let stored = |source| PackagesError::Store {
        path: config.folder.clone(),
        source,
    };
    let (list, sources) = (wanted.list.clone(), config.sources.clone());
    let missing = tokio::task::spawn_blocking(move || source::missing(&list, &sources))
        .await
        .map_err(|error| stored(io::Error::other(error)))??;
    if missing.is_empty() {
        return Ok(None);
    }
    let folder = work.join("fetch");
    make_folder(&folder).map_err(stored)?;
    let job = Job {
        engine: EngineKind::Python,
        script: PYTHON,
        inputs: vec![
            build::column("lines", &missing),
            build::column("indexes", &config.indexes),
        ],
        policy: RunPolicy {
            network: NetworkPolicy::Brokered(config.index_hosts.clone()),
            ..RunPolicy::default()
        },
        folder: &folder,
    };
    let ending = build::run(config, engines, job, cancel).await;
    let archive = match ending.outcome {
        Outcome::Succeeded => ending.outputs.first().map(|output| output.path.clone()),
        Outcome::Cancelled => return Err(PackagesError::Cancelled),
        _ => None,
    };
    let not_fetched = |why| PackagesError::NotFetched {
        indexes: config.indexes.clone(),
        why,
    };
    let Some(archive) = archive else {
        return Err(not_fetched(why(&ending)));
    };
    let (target, most) = (work.join("fetched"), config.set_bytes);
    let into = target.clone();
    let unpacked = tokio::task::spawn_blocking(move || {
        make_folder(&into)?;
        tar::unpack(io::BufReader::new(fs::File::open(archive)?), &into, most)
    })
    .await
    .map_err(|error| stored(io::Error::other(error)))?;
    match unpacked {
        Ok(_) => Ok(Some(target)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(PackagesError::TooLarge { bytes: most })
        }
        Err(error) => Err(not_fetched(error.to_string())),
    }
}

/// What pip said, and which hosts the broker has refused.
fn why(ending: &crate::RunEnding) -> String {
    let mut why = build::complaint(ending);
    for refused in &ending.network_refused {
        why.push_str("; not in packages.index_hosts of node.toml: ");
        why.push_str(refused);
    }
    why
}
