//! Somebody who speaks to the front end: the REST client with a name and a session.

use std::sync::Arc;

use http::Method;
use muster_client::{Answer, ClientError, Endpoint, Limits, Multipart, Request, Rest, Transport};
use muster_daemon::{Clock, Random};
use muster_pki::tls::{FrontEndTrust, front_end_client};
use muster_wire::{
    Problem,
    admin::v1::{function::Function, join::Join, run::Run, session::Session},
    problem::KIND_PREFIX,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Server;

/// A user with a session.
pub struct Person {
    rest: Rest,
    name: String,
    token: String,
}

impl Person {
    /// Begins a session.
    pub async fn log_in(server: &Server, name: &str, password: &str) -> Self {
        let rest = Self::stranger(server);
        let login = json!({ "user": name, "password": password });
        let session: Session = rest
            .post("/api/v1/sessions", &login, None)
            .await
            .unwrap_or_else(|error| panic!("{name} cannot log in: {error}"));
        Self::with_token(server, name, &session.token)
    }

    /// Somebody whom the harness made, after sessions have ended.
    pub async fn again(&self, server: &Server) -> Self {
        Self::log_in(server, &self.name, crate::server::PASSWORD).await
    }

    /// Goes on with a session.
    pub fn with_token(server: &Server, name: &str, token: &str) -> Self {
        Self {
            rest: Self::stranger(server).with_token(token.to_owned().into()),
            name: name.to_owned(),
            token: token.to_owned(),
        }
    }

    /// Nobody: a client of the front end without a session.
    pub fn stranger(server: &Server) -> Rest {
        let clock = Clock::system();
        let trust = FrontEndTrust::Fingerprints(vec![server.root()]);
        let tls = front_end_client(trust, Arc::new(move || clock.unix_ms())).expect("a TLS configuration");
        let endpoint: Endpoint = format!("https://{}", server.front_end())
            .parse()
            .expect("an endpoint");
        Rest::new(
            Transport::tls(Arc::new(tls), Limits::default()),
            vec![endpoint],
            0,
        )
    }

    /// `name@DOMAIN`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The token of the session.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Any request.
    pub async fn send(&self, request: Request) -> Result<Answer, ClientError> {
        self.rest.send(request).await
    }

    /// Any request with this method, and this body unless it is null.
    pub async fn ask(&self, method: &Method, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.send(request(method, path, body)).await
    }

    /// Reads the thing at `path`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer: Result<T, _> = self.rest.get(path).await;
        answer.unwrap_or_else(|error| panic!("{} cannot read {path}: {error}", self.name))
    }

    /// Reads the thing whose path has these parts below `/api/v1`.
    pub async fn show<T: DeserializeOwned>(&self, parts: &[&str]) -> T {
        let answer = self.send(below(Request::get("/api/v1"), parts)).await;
        let answer = answer.unwrap_or_else(|error| panic!("{} cannot read {parts:?}: {error}", self.name));
        answer.json().expect("the answer is what it should be")
    }

    /// Sends `body` to `path`.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.rest.post(path, body, None).await
    }

    /// Sends `body` to the thing whose path has these parts below `/api/v1`.
    pub async fn tell(&self, parts: &[&str], body: &Value) -> Result<Answer, ClientError> {
        let request = below(Request::post("/api/v1"), parts);
        self.send(with_body(request, body)).await
    }

    /// Changes the thing whose path has these parts below `/api/v1`.
    pub async fn patch(&self, parts: &[&str], body: &Value) -> Result<Answer, ClientError> {
        self.send(below(Request::patch("/api/v1"), parts).json(body))
            .await
    }

    /// Deletes the thing whose path has these parts below `/api/v1`.
    pub async fn delete(&self, parts: &[&str]) -> Result<Answer, ClientError> {
        self.send(below(Request::delete("/api/v1"), parts)).await
    }

    /// Puts the thing whose path has these parts below `/api/v1`; it must work.
    pub async fn put_empty(&self, parts: &[&str]) {
        self.put(parts)
            .await
            .unwrap_or_else(|error| panic!("{} cannot put {parts:?}: {error}", self.name));
    }

    /// Puts the thing whose path has these parts below `/api/v1`.
    pub async fn put(&self, parts: &[&str]) -> Result<Answer, ClientError> {
        self.send(below(Request::put("/api/v1"), parts)).await
    }

    /// Makes a thing that has only a name.
    pub async fn create(&self, path: &str, name: &str) {
        self.post(path, &json!({ "name": name }))
            .await
            .unwrap_or_else(|error| panic!("{} cannot make {name}: {error}", self.name));
    }

    /// Makes a user.
    pub async fn create_user(&self, name: &str, password: &str) {
        self.post("/api/v1/users", &json!({ "name": name, "password": password }))
            .await
            .unwrap_or_else(|error| panic!("{} cannot make {name}: {error}", self.name));
    }

    /// Puts a user into a group.
    pub async fn add_member(&self, group: &str, user: &str) {
        self.put_empty(&["groups", group, "members", user]).await;
    }

    /// Sets a trust setting at a scope.
    pub async fn set(&self, name: &str, scope: &str, value: &str) {
        self.try_set(name, scope, value)
            .await
            .unwrap_or_else(|error| panic!("{} cannot set {name}: {error}", self.name));
    }

    /// Sets a trust setting at a scope.
    pub async fn try_set(&self, name: &str, scope: &str, value: &str) -> Result<Value, ClientError> {
        let body = json!({ "name": name, "scope": scope, "value": value });
        self.rest.put("/api/v1/settings", &body, None).await
    }

    /// Removes a trust setting at a scope.
    pub async fn unset(&self, name: &str, scope: &str) {
        let request = Request::delete("/api/v1/settings")
            .query("name", name)
            .query("scope", scope);
        self.send(request)
            .await
            .unwrap_or_else(|error| panic!("{} cannot unset {name}: {error}", self.name));
    }

    /// The waiting request of this node name.
    pub async fn join(&self, id: impl ToString) -> Join {
        self.show(&["joins", &id.to_string()]).await
    }

    /// Registers a function without inputs and outputs.
    pub async fn register(&self, name: &str, language: &str, script: &str) -> Function {
        let definition = json!({ "name": name, "language": language, "script": script });
        self.register_definition(&definition).await
    }

    /// Registers a function.
    pub async fn register_definition(&self, definition: &Value) -> Function {
        let function: Result<Function, _> = self.rest.post("/api/v1/functions", definition, None).await;
        function.unwrap_or_else(|error| panic!("{} cannot register {definition}: {error}", self.name))
    }

    /// Trusts the content of a function.
    pub async fn trust(&self, function: &Function) {
        self.try_trust(function)
            .await
            .unwrap_or_else(|error| panic!("{} cannot trust: {error}", self.name));
    }

    /// Trusts the content of a function.
    pub async fn try_trust(&self, function: &Function) -> Result<Answer, ClientError> {
        let parts = ["functions", &function.id.to_string(), "trust"];
        self.tell(&parts, &json!({ "digest": function.digest })).await
    }

    /// Queues a run.
    pub async fn run(&self, function: &Function, request: &Value) -> Run {
        let run = self.try_run(function, request, None).await;
        run.unwrap_or_else(|error| panic!("{} cannot run: {error}", self.name))
    }

    /// Queues a run, under an `Idempotency-Key` if one is given.
    pub async fn try_run(
        &self,
        function: &Function,
        request: &Value,
        key: Option<&str>,
    ) -> Result<Run, ClientError> {
        let form = Multipart::new(Random::system().bytes()).field("request", request.to_string());
        self.submit(function, form, key).await
    }

    /// Queues a run with the parts of `form`.
    pub async fn submit(
        &self,
        function: &Function,
        form: Multipart,
        key: Option<&str>,
    ) -> Result<Run, ClientError> {
        let parts = ["functions", &function.id.to_string(), "runs"];
        let mut request = below(Request::post("/api/v1"), &parts).multipart(form);
        if let Some(key) = key {
            request = request.idempotency_key(key);
        }
        self.send(request).await?.json()
    }

    /// A run as it is now.
    pub async fn run_now(&self, id: impl ToString) -> Run {
        self.show(&["runs", &id.to_string()]).await
    }

    /// A run once it has ended.
    pub async fn run_ended(&self, id: impl ToString) -> Run {
        let id = id.to_string();
        crate::until(&format!("the run {id} ends"), async || {
            let path = format!("/api/v1/runs/{id}?wait=10s");
            let run: Run = self.get(&path).await;
            (!["queued", "running"].contains(&run.state.as_str())).then_some(run)
        })
        .await
    }

    /// The audit log, newest first, of this event.
    pub async fn audited(&self, event: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut request = Request::get("/api/v1/audit").query("limit", "1000");
            if let Some(next) = &next {
                request = request.query("next", next);
            }
            let page: Value = self
                .send(request)
                .await
                .and_then(|answer| answer.json())
                .expect("an administrator reads the audit log");
            let items = page["items"].as_array().expect("items");
            found.extend(items.iter().filter(|row| row["event"] == event).cloned());
            match page["next"].as_str() {
                Some(more) => next = Some(more.to_owned()),
                None => return found,
            }
        }
    }

    /// What the control plane says about its audit log: nothing when it holds.
    pub async fn audit_broken(&self) -> Option<String> {
        let said: Value = self.get("/api/v1/audit/verify").await;
        assert!(said["rows"].as_u64().is_some_and(|rows| rows > 0), "{said}");
        said["broken"].as_str().map(str::to_owned)
    }
}

/// The problem document of a request that must have been refused.
pub fn problem<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Problem {
    let error = result.expect_err("this must be refused");
    let problem = error
        .problem()
        .unwrap_or_else(|| panic!("there is no problem document: {error}"))
        .clone();
    assert!(
        problem.kind.starts_with(KIND_PREFIX) && !problem.title.is_empty() && !problem.detail.is_empty(),
        "this is no documented problem: {problem:?}"
    );
    problem
}

/// Status and kind of the problem of a request that must have been refused.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (u16, String) {
    let problem = problem(result);
    (problem.status, problem.kind[KIND_PREFIX.len()..].to_owned())
}

fn request(method: &Method, path: &str, body: &Value) -> Request {
    let request = match *method {
        Method::GET => Request::get(path),
        Method::POST => Request::post(path),
        Method::PUT => Request::put(path),
        Method::PATCH => Request::patch(path),
        Method::DELETE => Request::delete(path),
        ref other => panic!("no test sends {other}"),
    };
    with_body(request, body)
}

/// `request` with this body; `null` stands for none.
fn with_body(request: Request, body: &Value) -> Request {
    if body.is_null() {
        request
    } else {
        request.json(body)
    }
}

fn below(request: Request, parts: &[&str]) -> Request {
    parts.iter().fold(request, |request, part| request.segment(part))
}
