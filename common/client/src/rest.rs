//! Typed calls of the REST API for programs that ask now and then, such as the command line.

use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Mutex;

use crate::{Answer, ClientError, Connection, Endpoint, Request, Transport};

/// Calls with a token on a connection that is made when it is needed and again when it has ended. Nothing is
/// sent twice: whether a call that broke had its effect only the caller's `Idempotency-Key` can make harmless.
pub struct Rest {
    transport: Transport,
    endpoints: Vec<Endpoint>,
    start: usize,
    token: Option<SecretString>,
    connection: Mutex<Option<Connection>>,
}

impl Rest {
    /// Calls the first of `endpoints` that can be reached from the one at `start` (random) on.
    pub fn new(transport: Transport, endpoints: Vec<Endpoint>, start: usize) -> Self {
        Self {
            transport,
            endpoints,
            start,
            token: None,
            connection: Mutex::new(None),
        }
    }

    /// Sends `token` with each request.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// Reads the thing at `path`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Request::get(path)).await
    }

    /// Sends `body` to `path`; with `key` a repetition is harmless.
    pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        key: Option<&str>,
    ) -> Result<T, ClientError> {
        self.call(keyed(Request::post(path).json(body), key)).await
    }

    /// Replaces the thing at `path` by `body`; with `key` a repetition is harmless.
    pub async fn put<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        key: Option<&str>,
    ) -> Result<T, ClientError> {
        self.call(keyed(Request::put(path).json(body), key)).await
    }

    /// Deletes the thing at `path`; with `key` a repetition is harmless.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str, key: Option<&str>) -> Result<T, ClientError> {
        self.call(keyed(Request::delete(path), key)).await
    }

    /// Sends any request and reads the answer as JSON (`()` and `Option` take an empty one).
    pub async fn call<T: DeserializeOwned>(&self, request: Request) -> Result<T, ClientError> {
        self.send(request).await?.json()
    }

    /// Sends any request.
    pub async fn send(&self, request: Request) -> Result<Answer, ClientError> {
        let request = self.authorized(request);
        self.connection().await?.send(request).await
    }

    /// Adds the token to a request that is to be sent on [`Self::connection`] directly, as for a download.
    pub fn authorized(&self, request: Request) -> Request {
        match &self.token {
            Some(token) => request.bearer(token),
            None => request,
        }
    }

    /// The connection in use, or a new one if there is none that lives.
    pub async fn connection(&self) -> Result<Connection, ClientError> {
        // Held while connecting, so that calls at the same time share one connection.
        let mut current = self.connection.lock().await;
        if let Some(connection) = current.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = self.transport.connect_any(&self.endpoints, self.start).await?;
        *current = Some(connection.clone());
        Ok(connection)
    }
}

fn keyed(request: Request, key: Option<&str>) -> Request {
    match key {
        Some(key) => request.idempotency_key(key),
        None => request,
    }
}
