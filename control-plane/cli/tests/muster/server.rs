//! A front end over TLS that gives prepared answers and remembers what it was asked.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use muster_daemon::Clock;
use muster_ids::{CollectiveId, ControlPlaneId, Digest};
use muster_pki::{
    CertificateDer, KeyUse, Profile, Serial, ServerName, Signer as _, SoftwareSigner, Validity, create_root,
    issue, tls,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::TlsAcceptor;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method, path and query.
    pub(crate) what: String,
    /// The header `Authorization`.
    pub(crate) authorization: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body in JSON")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[derive(Clone)]
struct Prepared {
    status: u16,
    content_type: &'static str,
    body: Bytes,
}

type Answers = Arc<Mutex<HashMap<String, Vec<Prepared>>>>;

/// The front end.
pub(crate) struct Server {
    _runtime: Runtime,
    port: u16,
    /// The root, the collective's own.
    pub(crate) root: CertificateDer<'static>,
    answers: Answers,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (credential, root) = credential();
        let clock = Clock::system();
        let config =
            tls::front_end_server(&credential, Arc::new(move || clock.unix_ms())).expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (answers, asked) = (Answers::default(), Arc::default());
        runtime.spawn(accept(
            listener,
            acceptor,
            Arc::clone(&answers),
            Arc::clone(&asked),
        ));
        Self {
            _runtime: runtime,
            port,
            root,
            answers,
            asked,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(crate) fn pin(&self) -> String {
        Digest::of(&self.root).to_string()
    }

    /// Answers `what` (method, path and query) with `body`; given twice, with one after the other.
    pub(crate) fn on(&self, what: &str, status: u16, body: &Value) {
        let content_type = if status < 400 {
            "application/json"
        } else {
            "application/problem+json"
        };
        self.prepare(what, status, content_type, body.to_string().into_bytes());
    }

    /// Answers `what` with nothing.
    pub(crate) fn on_empty(&self, what: &str) {
        self.prepare(what, 204, "text/plain", Vec::new());
    }

    /// Answers `what` with bytes.
    pub(crate) fn on_bytes(&self, what: &str, body: &[u8]) {
        self.prepare(what, 200, "text/plain", body.to_vec());
    }

    /// Refuses `what` with a problem document.
    pub(crate) fn refuse(&self, what: &str, status: u16, kind: &str, detail: &str) {
        let problem = json!({
            "type": format!("urn:muster:problem:{kind}"), "title": "No", "status": status, "detail": detail,
        });
        self.on(what, status, &problem);
    }

    fn prepare(&self, what: &str, status: u16, content_type: &'static str, body: Vec<u8>) {
        let prepared = Prepared {
            status,
            content_type,
            body: body.into(),
        };
        self.answers
            .lock()
            .expect("no panic")
            .entry(what.to_owned())
            .or_default()
            .push(prepared);
    }

    /// Requests so far whose method, path and query begin like this.
    pub(crate) fn asked(&self, beginning: &str) -> Vec<Asked> {
        let asked = self.asked.lock().expect("no panic");
        asked
            .iter()
            .filter(|asked| asked.what.starts_with(beginning))
            .cloned()
            .collect()
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    answers: Answers,
    asked: Arc<Mutex<Vec<Asked>>>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, answers, asked) = (acceptor.clone(), Arc::clone(&answers), Arc::clone(&asked));
        tokio::spawn(async move {
            // A client that ends the handshake, as one that only looks does, is no error of a test.
            let Ok(tls) = acceptor.accept(tcp).await else {
                return;
            };
            let service =
                service_fn(move |request| answer(request, Arc::clone(&answers), Arc::clone(&asked)));
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(tls), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: Answers,
    asked: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let what = format!("{} {path}", parts.method);
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let authorization = parts.headers.get(header::AUTHORIZATION);
    asked.lock().expect("no panic").push(Asked {
        what: what.clone(),
        authorization: authorization.map(|value| value.to_str().expect("text").to_owned()),
        body: body.to_vec(),
    });
    let prepared = {
        let mut answers = answers.lock().expect("no panic");
        answers.get_mut(&what).map(|list| {
            if list.len() > 1 {
                list.remove(0)
            } else {
                list[0].clone()
            }
        })
    };
    let prepared = prepared.unwrap_or_else(|| Prepared {
        status: 404,
        content_type: "application/problem+json",
        body: json!({
            "type": "urn:muster:problem:not-found", "title": "Not found", "status": 404,
            "detail": format!("the test prepared no answer to {what}"),
        })
        .to_string()
        .into(),
    });
    Ok(Response::builder()
        .status(prepared.status)
        .header(header::CONTENT_TYPE, prepared.content_type)
        .body(Full::new(prepared.body))
        .expect("an answer"))
}

/// A front-end certificate of a new collective, with the whole chain, and the root.
fn credential() -> (tls::Credential, CertificateDer<'static>) {
    const DAY: Duration = Duration::from_hours(24);
    let now = Clock::system().unix_ms();
    let validity = |days: u32| Validity::starting(now - 1_000, DAY * days);
    let serial = |number: u8| Serial::from_random([number; 16]);
    let collective = CollectiveId::new(now, [1; 10]);
    let control_plane = ControlPlaneId::new(now, [1; 10]);
    let root_key = SoftwareSigner::generate(KeyUse::Authority).expect("key");
    let issuing_key = SoftwareSigner::generate(KeyUse::Authority).expect("key");
    let key = SoftwareSigner::generate(KeyUse::Tls).expect("key");
    let root = ready(create_root(collective, &root_key, &serial(1), &validity(100))).expect("root");
    let profile = Profile::Issuing {
        collective,
        control_plane,
    };
    let issuing = ready(issue(
        &profile,
        issuing_key.public_key(),
        &root,
        &root_key,
        &serial(2),
        &validity(50),
    ))
    .expect("issuing");
    let names = vec![ServerName::try_from("localhost").expect("name")];
    let profile = Profile::FrontEnd { collective, names };
    let leaf = ready(issue(
        &profile,
        key.public_key(),
        &issuing,
        &issuing_key,
        &serial(3),
        &validity(7),
    ))
    .expect("leaf");
    let chain = vec![leaf, issuing, root.clone()];
    (tls::Credential::new(chain, &key).expect("a credential"), root)
}

/// The result of a future of a key in memory, which is ready at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future)
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a key in memory answers at once"),
    }
}
