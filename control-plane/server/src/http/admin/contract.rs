//! What the description of the API says of an operation is what it takes: a query parameter, a body or an
//! `Idempotency-Key` that it does not describe is refused with a sentence, never ignored.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Body,
    extract::{DefaultBodyLimit, FromRequest as _, MatchedPath, Query, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{Method, Uri};
use muster_app::Error;
use serde::Deserialize;
use utoipa::openapi::{OpenApi, RefOr, path::ParameterIn};

use super::{document, idempotency};
use crate::http::{Failure, extract::Raw};

/// The longest body of who has nothing to say, in bytes. It is read before anybody has to log in.
const MOST_OF_NOTHING: usize = 4096;

/// What an operation takes.
#[derive(Default)]
struct Takes {
    /// The names of its query parameters.
    query: Vec<String>,
    /// Whether it reads a body.
    body: bool,
}

/// What every operation takes, by method and path.
pub(super) struct Contract(HashMap<String, HashMap<Method, Takes>>);

/// A body that says nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Contract {
    /// That of the operations that `described` describes, and of `undescribed`: paths that are read and take nothing.
    pub(super) fn of(described: &OpenApi, undescribed: &[&str]) -> Self {
        let mut paths: HashMap<String, HashMap<Method, Takes>> = HashMap::new();
        for (path, item) in &described.paths.paths {
            for (method, operation) in document::operations(item) {
                let query = operation
                    .parameters
                    .iter()
                    .flatten()
                    .filter_map(|parameter| match parameter {
                        RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => {
                            Some(parameter.name.clone())
                        }
                        _ => None,
                    });
                let takes = Takes {
                    query: query.collect(),
                    body: operation.request_body.is_some(),
                };
                paths.entry(path.clone()).or_default().insert(method, takes);
            }
        }
        for path in undescribed {
            let methods = paths.entry((*path).to_owned()).or_default();
            methods.insert(Method::GET, Takes::default());
        }
        Self(paths)
    }

    fn takes(&self, method: &Method, path: &str) -> Option<&Takes> {
        let asked = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        self.0.get(path)?.get(asked)
    }
}

/// Passes on what the operation takes.
pub(super) async fn keep(State(contract): State<Arc<Contract>>, request: Request, next: Next) -> Response {
    match checked(&contract, request).await {
        Ok(request) => next.run(request).await,
        Err(refused) => refused,
    }
}

async fn checked(contract: &Contract, request: Request) -> Result<Request, Response> {
    let path = request.extensions().get::<MatchedPath>().cloned();
    // Where there is no operation somebody else says so.
    let Some((path, takes)) =
        path.and_then(|path| Some((path.clone(), contract.takes(request.method(), path.as_str())?)))
    else {
        return Ok(request);
    };
    let refused = |detail: String| Failure(Error::invalid(detail)).into_response();
    if let Some(name) = unknown(request.uri(), &takes.query).map_err(refused)? {
        let known = match takes.query.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        return Err(refused(format!(
            "this address has no query parameter {name:?}; those that it has: {known}"
        )));
    }
    if request.headers().contains_key(idempotency::HEADER)
        && let Some(why) = idempotency::impossible(request.method(), path.as_str())
    {
        return Err(refused(why.to_owned()));
    }
    if takes.body || matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let mut unread = Request::from_parts(parts.clone(), body);
    DefaultBodyLimit::max(MOST_OF_NOTHING).apply(&mut unread);
    let Raw(bytes) = Raw::from_request(unread, &()).await?;
    if !bytes.trim_ascii().is_empty()
        && let Err(error) = muster_app::object::<Nothing>(&bytes)
    {
        return Err(refused(format!(
            "this address takes no body, or an empty object: {error}"
        )));
    }
    Ok(Request::from_parts(parts, Body::empty()))
}

/// The first parameter of the query that is not among `names`.
fn unknown(uri: &Uri, names: &[String]) -> Result<Option<String>, String> {
    let Query(given) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|rejection| format!("the query of the request is not valid: {}", rejection.body_text()))?;
    Ok(given
        .into_iter()
        .map(|(name, _)| name)
        .find(|name| !names.contains(name)))
}
