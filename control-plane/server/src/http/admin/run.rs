//! Runs.

use std::time::Duration;

use axum::{
    Json,
    extract::{DefaultBodyLimit, Multipart, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use muster_app::{App, Content, Error, LogPlace, Submission, blob_failure};
use muster_daemon::config::parse_duration;
use muster_ids::RunId;
use muster_model::{permission::Caller, run::RunState};
use muster_store::{Topic, WakeListener};
use muster_wire::{
    Problem,
    admin::v1::{
        Page, StatePageQuery,
        run::{Run, RunLogs},
    },
    function::{BlobRef, Blobs},
    node::v1::outcome::Receipt,
};
use serde::Deserialize;

use crate::http::{
    Failure,
    extract::{Form, Params, Path, User},
    node::stream,
};

/// The longest wait for an end.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// How often to look for what a run has printed.
const LOOK: Duration = Duration::from_millis(500);
/// The most files; a function has no more inputs.
const MOST_FILES: usize = 256;
/// The largest part `request`.
const MAX_REQUEST: usize = 1024 * 1024;

/// How long to wait for the end.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    /// For example `30s`; at most `60s`. The answer comes earlier when the run ends earlier.
    pub(super) wait: Option<String>,
}

/// Queue a run of a function: parts `request` (JSON) and `input:<name>` (files).
#[utoipa::path(post, path = "/api/v1/functions/{function}/runs", tag = "runs", params(("function" = String, Path), Wait),
    request_body(content = muster_wire::admin::v1::run::SubmitRun, content_type = "multipart/form-data"),
    responses((status = 200, body = Run, description = "The run has ended"), (status = 202, body = Run, description = "The run waits or runs"), (status = 422, body = Problem)))]
pub(super) async fn submit(
    State(app): State<App>,
    User(caller): User,
    Path(function): Path<String>,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
    Form(multipart): Form,
) -> Result<Response, Failure> {
    let wait = patience(wait.wait.as_deref())?;
    let idempotency_key = idempotency_key(&headers)?;
    let (request, files) = receive(&app, &caller, Some(&function), multipart).await?;
    let submission = Submission {
        request: request.unwrap_or_default(),
        files,
        idempotency_key,
    };
    let ends = app.store().wake_listener();
    let run = app.submit_run(&caller, &function, submission).await?;
    Ok(answer(settle(&app, &caller, run, wait, ends).await?))
}

/// The own runs, newest first; administrators see all.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(StatePageQuery), responses((status = 200, body = Page<Run>), (status = 401, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<StatePageQuery>,
) -> Result<Json<Page<Run>>, Failure> {
    Ok(Json(app.list_runs(&caller, &query).await?))
}

/// One run.
#[utoipa::path(get, path = "/api/v1/runs/{run}", tag = "runs", params(("run" = String, Path), Wait), responses((status = 200, body = Run), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    User(caller): User,
    Path(run): Path<String>,
    Params(wait): Params<Wait>,
) -> Result<Json<Run>, Failure> {
    let (run, wait) = (parse(&run)?, patience(wait.wait.as_deref())?);
    let ends = app.store().wake_listener();
    let now = app.show_run(&caller, run).await?;
    settle(&app, &caller, now, wait, ends).await?;
    Ok(Json(app.show_run_standing(&caller, run).await?))
}

/// Ask to end a run.
#[utoipa::path(post, path = "/api/v1/runs/{run}/cancel", tag = "runs", params(("run" = String, Path)), responses((status = 200, body = Run), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn cancel(
    State(app): State<App>,
    User(caller): User,
    Path(run): Path<String>,
) -> Result<Json<Run>, Failure> {
    Ok(Json(app.cancel_run(&caller, parse(&run)?).await?))
}

/// From where on, and how long to wait for more.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Following {
    /// `next` of the answer before; from the beginning when absent.
    after: Option<String>,
    /// For example `30s`; at most `60s`. The answer comes as soon as there is something new.
    wait: Option<String>,
}

/// What a run writes, also while it runs, and how it stands: ask again with `next` until `complete`.
#[utoipa::path(get, path = "/api/v1/runs/{run}/logs", tag = "runs", params(("run" = String, Path), Following), responses((status = 200, body = RunLogs), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn logs(
    State(app): State<App>,
    User(caller): User,
    Path(run): Path<String>,
    Params(following): Params<Following>,
) -> Result<Json<RunLogs>, Failure> {
    let (run, wait) = (parse(&run)?, patience(following.wait.as_deref())?);
    let place = match &following.after {
        Some(after) => LogPlace::parse(after)?,
        None => LogPlace::default(),
    };
    let deadline = tokio::time::Instant::now() + wait;
    let mut wake = app.store().wake_listener();
    loop {
        let logs = app.run_logs(&caller, run, &place).await?;
        let now = tokio::time::Instant::now();
        if place.is_news(&logs) || now >= deadline {
            return Ok(Json(logs));
        }
        // A hint comes when it starts or ends; what it prints in between is not hinted at.
        let _ = tokio::time::timeout_at(deadline.min(now + LOOK), async {
            while let Some(topics) = wake.next().await {
                if topics.contains(&Topic::Runs) {
                    return;
                }
            }
            std::future::pending::<()>().await;
        })
        .await;
    }
}

/// What a run wrote to standard output.
#[utoipa::path(get, path = "/api/v1/runs/{run}/stdout", tag = "runs", params(("run" = String, Path)), responses((status = 200, body = String, content_type = "text/plain"), (status = 204), (status = 404, body = Problem)))]
pub(super) async fn stdout(
    State(app): State<App>,
    User(caller): User,
    Path(run): Path<String>,
) -> Result<Response, Failure> {
    Ok(text(app.run_stream(&caller, parse(&run)?, false).await?))
}

/// What a run wrote to standard error.
#[utoipa::path(get, path = "/api/v1/runs/{run}/stderr", tag = "runs", params(("run" = String, Path)), responses((status = 200, body = String, content_type = "text/plain"), (status = 204), (status = 404, body = Problem)))]
pub(super) async fn stderr(
    State(app): State<App>,
    User(caller): User,
    Path(run): Path<String>,
) -> Result<Response, Failure> {
    Ok(text(app.run_stream(&caller, parse(&run)?, true).await?))
}

/// One output of a run.
#[utoipa::path(get, path = "/api/v1/runs/{run}/outputs/{name}", tag = "runs", params(("run" = String, Path), ("name" = String, Path)), responses((status = 200, description = "The data, CSV or JSON"), (status = 404, body = Problem)))]
pub(super) async fn output(
    State(app): State<App>,
    User(caller): User,
    Path((run, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let (blob, content) = app.run_output(&caller, parse(&run)?, &name).await?;
    let content_type = if blob.format == "json" {
        "application/json"
    } else {
        "text/csv; charset=utf-8"
    };
    Ok(stream(content, content_type))
}

/// The receipt of a run: the DSSE envelopes of node and control plane, and the roots that their signers may lead to.
#[utoipa::path(get, path = "/api/v1/runs/{run}/receipt", tag = "runs", params(("run" = String, Path)), responses((status = 200, description = "`receipt`, `countersignature`, `roots`"), (status = 404, body = Problem)))]
pub(super) async fn receipt(
    State(app): State<App>,
    User(caller): User,
    Path(run): Path<String>,
) -> Result<Json<Receipt>, Failure> {
    Ok(Json(app.run_receipt(&caller, parse(&run)?).await?))
}

/// Uploads stream to blobs, which have a limit of their own.
pub(super) fn unlimited() -> DefaultBodyLimit {
    DefaultBodyLimit::disable()
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    match headers.get("idempotency-key") {
        Some(key) => {
            let key = key
                .to_str()
                .map_err(|_| Error::invalid("an Idempotency-Key has printable characters only"))?;
            Ok(Some(key.to_owned()))
        }
        None => Ok(None),
    }
}

/// The parts of a request for a run of `function`, or of an expression.
pub(super) async fn receive<R: serde::de::DeserializeOwned>(
    app: &App,
    caller: &Caller,
    function: Option<&str>,
    mut multipart: Multipart,
) -> Result<(Option<R>, Blobs), Failure> {
    let broken = |error: axum::extract::multipart::MultipartError| {
        Failure(Error::invalid(format!(
            "the multipart body cannot be read: {}",
            error.body_text()
        )))
    };
    let (mut request, mut files) = (None, Blobs::new());
    while let Some(mut part) = multipart.next_field().await.map_err(broken)? {
        let name = part.name().unwrap_or_default().to_owned();
        if name == "request" && request.is_none() {
            let mut json = Vec::new();
            while let Some(chunk) = part.chunk().await.map_err(broken)? {
                json.extend_from_slice(&chunk);
                if json.len() > MAX_REQUEST {
                    return Err(Failure(Error::invalid(
                        "the part request has at most 1 MiB; give data as files",
                    )));
                }
            }
            let read = muster_app::object(&json)
                .map_err(|error| Error::invalid(format!("the part request is not valid: {error}")))?;
            request = Some(read);
            continue;
        }
        let Some(input) = name.strip_prefix("input:").filter(|input| !input.is_empty()) else {
            return Err(Failure(Error::invalid(
                "a request for a run has one part \"request\" and parts \"input:<name>\"",
            )));
        };
        let format = part
            .file_name()
            .and_then(|file| file.rsplit_once('.'))
            .map(|(_, format)| format.to_lowercase());
        let format = format.ok_or_else(|| {
            Error::invalid(format!(
                "the part {input:?} needs a file name that ends in .csv or .json"
            ))
        })?;
        if files.len() == MOST_FILES {
            return Err(Failure(Error::invalid("a run takes at most 256 files")));
        }
        if files.contains_key(input) {
            return Err(Failure(Error::invalid(format!(
                "the input {input:?} is given twice"
            ))));
        }
        let mut writer = match function {
            Some(function) => app.input_writer(caller, function, input).await?,
            None => app.expression_writer(caller).await?,
        };
        while let Some(chunk) = part.chunk().await.map_err(broken)? {
            writer.write(&chunk).await.map_err(blob_failure)?;
        }
        let blob = writer.finish().await.map_err(blob_failure)?;
        files.insert(
            input.to_owned(),
            BlobRef {
                digest: blob.digest,
                size: blob.size,
                format,
            },
        );
    }
    Ok((request, files))
}

/// The run when it has ended or the time is over. `ends` has listened since before `run` was read.
pub(super) async fn settle(
    app: &App,
    caller: &Caller,
    mut run: Run,
    wait: Duration,
    mut ends: WakeListener,
) -> Result<Run, Failure> {
    let deadline = tokio::time::Instant::now() + wait;
    let mut over = wait.is_zero();
    while !over && !is_final(&run) {
        over = loop {
            match tokio::time::timeout_at(deadline, ends.next()).await {
                Ok(Some(topics)) if topics.contains(&Topic::Ends) => break false,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break true,
            }
        };
        run = app.show_run(caller, run.id).await?;
    }
    Ok(run)
}

pub(super) fn answer(run: Run) -> Response {
    let status = if is_final(&run) {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let location = format!("/api/v1/runs/{}", run.id);
    (status, [(header::LOCATION, location)], Json(run)).into_response()
}

fn is_final(run: &Run) -> bool {
    run.state.parse::<RunState>().is_ok_and(RunState::is_final)
}

pub(super) fn patience(wait: Option<&str>) -> Result<Duration, Failure> {
    match wait {
        None => Ok(Duration::ZERO),
        Some(text) => parse_duration(text)
            .map(|wait| wait.min(MAX_WAIT))
            .ok_or_else(|| Failure(Error::invalid("wait is a time such as 30s, at most 60s"))),
    }
}

fn text(content: Option<Content>) -> Response {
    match content {
        Some(content) => stream(content, "text/plain; charset=utf-8"),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn parse(text: &str) -> Result<RunId, Failure> {
    text.parse()
        .map_err(|error: muster_ids::IdError| Failure(Error::invalid(error.to_string())))
}
