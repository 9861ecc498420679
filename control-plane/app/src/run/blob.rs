//! The bytes of runs: who may read and write which.

use muster_ids::{Digest, NodeId, RunId};
use muster_model::{
    permission::{Caller, Operation},
    run::RunState,
};
use muster_store::{BlobError, BlobReader, BlobWriter};
use muster_wire::{
    function::{BlobRef, Blobs},
    node::v1::outcome::{Ending, MAX_CONTENT},
};

use super::{Request, no_such_run, submit::unknown_input};
use crate::{App, Error, function::no_such_function};

/// The largest single output, bytes.
const MAX_OUTPUT: u64 = 4 * 1024 * 1024 * 1024;

/// The bytes of a run, wherever they are kept.
#[derive(Debug)]
pub enum Content {
    /// Few, from a row.
    Small(Vec<u8>),
    /// A file.
    Blob(BlobReader),
}

impl App {
    /// A place for the input `name` of a run of `function` that a person is about to ask for. What the function does
    /// not take is not stored.
    pub async fn input_writer(
        &self,
        caller: &Caller,
        function: &str,
        name: &str,
    ) -> Result<BlobWriter, Error> {
        self.authorize(caller, Operation::Run).await?;
        let current = self.known_function(function).await?;
        self.require_readable(caller, current.function.id, || no_such_function(function))
            .await?;
        let definition = &current.definition;
        if definition.inputs.iter().all(|input| input.name != name) {
            return Err(unknown_input(definition, name));
        }
        Ok(self.blobs().writer(self.options().max_input, None))
    }

    /// Stores small bytes.
    pub(crate) async fn store_bytes(&self, bytes: &[u8], format: &str) -> Result<BlobRef, Error> {
        let mut writer = self.blobs().writer(self.options().max_input, None);
        writer.write(bytes).await.map_err(blob_failure)?;
        let blob = writer.finish().await.map_err(blob_failure)?;
        Ok(BlobRef {
            digest: blob.digest,
            size: blob.size,
            format: format.to_owned(),
        })
    }

    /// An input of a run that this node works on.
    pub async fn input_for_node(&self, node: NodeId, id: RunId, digest: &Digest) -> Result<Content, Error> {
        self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        let row = self.store().run(id).await?.ok_or_else(|| no_such_run(id))?;
        let request: Request = serde_json::from_str(&row.request).map_err(Error::bug)?;
        let theirs = row.run.state == RunState::Running && row.run.node == Some(node);
        if !theirs || request.inputs.values().all(|input| input.digest != *digest) {
            return Err(no_such_run(id));
        }
        let argument = (request.arguments.into_values()).find(|text| Digest::of(text.as_bytes()) == *digest);
        match argument {
            Some(text) => Ok(Content::Small(text.into_bytes())),
            None => self.open(digest).await.map(Content::Blob),
        }
    }

    /// A place for one output of a run that this node works on.
    pub async fn output_writer(
        &self,
        node: NodeId,
        id: RunId,
        fence: i64,
        digest: Digest,
    ) -> Result<BlobWriter, Error> {
        self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        let row = self.store().run(id).await?.ok_or_else(|| no_such_run(id))?;
        if row.run.state != RunState::Running || row.run.node != Some(node) || row.run.fence != fence {
            return Err(Error::conflict(
                "outcome-does-not-count",
                format!("the run {id} is not held by this node under fence {fence}"),
            ));
        }
        Ok(self.blobs().writer(MAX_OUTPUT, Some(digest)))
    }

    /// An output of a run, for who may see the run.
    pub async fn run_output(
        &self,
        caller: &Caller,
        id: RunId,
        name: &str,
    ) -> Result<(BlobRef, Content), Error> {
        self.authorize(caller, Operation::Run).await?;
        let row = self.run_visible_to(caller, id).await?;
        let outputs: Blobs = match &row.outputs {
            Some(json) => serde_json::from_str(json).map_err(Error::bug)?,
            None => Blobs::new(),
        };
        let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
        let blob = outputs.get(name).cloned().ok_or_else(|| Error::NotFound {
            detail: format!("the run {id} ({}) has no output \"{shown}\"", row.run.state),
        })?;
        let content = self.content(id, &blob).await?;
        Ok((blob, content))
    }

    /// What a run wrote to `stdout` or `stderr`, for who may see the run; nothing when it wrote nothing.
    pub async fn run_stream(
        &self,
        caller: &Caller,
        id: RunId,
        stderr: bool,
    ) -> Result<Option<Content>, Error> {
        self.authorize(caller, Operation::Run).await?;
        let row = self.run_visible_to(caller, id).await?;
        let Some(json) = &row.ending else { return Ok(None) };
        let ending: Ending = serde_json::from_str(json).map_err(Error::bug)?;
        match if stderr { ending.stderr } else { ending.stdout } {
            Some(captured) => self.content(id, &captured.blob).await.map(Some),
            None => Ok(None),
        }
    }

    /// What an outcome of a run names.
    pub(super) async fn content(&self, run: RunId, blob: &BlobRef) -> Result<Content, Error> {
        if blob.size <= MAX_CONTENT
            && let Some(bytes) = self.store().run_content(run, &blob.digest).await?
        {
            return Ok(Content::Small(bytes));
        }
        self.open(&blob.digest).await.map(Content::Blob)
    }

    async fn open(&self, digest: &Digest) -> Result<BlobReader, Error> {
        let reader = self.blobs().open_blob(digest).await.map_err(blob_failure)?;
        reader.ok_or_else(|| Error::NotFound {
            detail: format!("the blob {digest} is not kept any more"),
        })
    }
}

/// What a failing blob means for the request.
pub fn blob_failure(error: BlobError) -> Error {
    match error {
        BlobError::TooLarge { .. } | BlobError::WrongDigest { .. } => Error::Invalid {
            kind: "invalid-blob",
            detail: error.to_string(),
        },
        other => Error::Unavailable {
            detail: "the data could not be stored or read; the control plane's disk may be full".to_owned(),
            source: Some(Box::new(other)),
        },
    }
}
