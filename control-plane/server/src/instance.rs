//! Which process answers: what `doctor` asks for, so that another program on a port is not taken for this one.
//!
//! The name is drawn at each start and stands in a file that only this account may read. Each listener without client
//! certificates knows the address `/healthz/<name>`; under every other name there is nothing, so that a stranger learns
//! nothing.

use std::{path::Path, sync::Arc};

use axum::{Router, extract, routing::any};
use http::StatusCode;
use muster_daemon::{
    file::{self, Access},
    random::Random,
};
use muster_ids::Digest;

/// The file in the state folder.
const FILE: &str = "instance";
/// Longer than any name.
const LONGEST: u64 = 1024;

/// The name of this process.
#[derive(Clone)]
pub(crate) struct Instance(Arc<str>);

impl Instance {
    /// Draws a name and leaves it for `doctor`.
    pub(crate) fn begin(state_dir: &Path, random: &Random) -> anyhow::Result<Self> {
        let name = Digest::of(&random.bytes::<32>()).hex();
        file::write(&state_dir.join(FILE), name.as_bytes(), 0o600, "server.instance")?;
        Ok(Self(name.into()))
    }

    /// The path under which the process of these keys answers; `None` if none was ever started.
    pub(crate) fn path(state_dir: &Path) -> Option<String> {
        let name = file::read(&state_dir.join(FILE), Access::Private, LONGEST).ok()?;
        Some(format!("/healthz/{}", String::from_utf8(name).ok()?))
    }

    /// The one address.
    pub(crate) fn router(&self) -> Router {
        let name = self.0.clone();
        let answer = move |extract::Path(asked): extract::Path<String>| {
            let known = *asked == *name;
            async move {
                if known {
                    (StatusCode::OK, "ok\n")
                } else {
                    (StatusCode::NOT_FOUND, "")
                }
            }
        };
        Router::new().route("/healthz/{instance}", any(answer))
    }
}
