//! Certificates of issuers that are missing, fetched where an administrator imports one, and never by a control plane.
//!
//! Invariant: only an address that the configuration allows is asked, and only if a certificate names it; without TLS and
//! redirects, within bounds of size, time and steps. What comes is looked at here, and verified by the control plane.

use std::time::Duration;

use muster_client::{Endpoint, Limits, Request, Transport};
use muster_pki::{
    CertificateDer,
    code_signing::{CodeCertificate, MOST_CHAIN, issuer_addresses},
    pem,
};

use crate::failure::{Failure, chain};

/// For all of them together.
const PATIENCE: Duration = Duration::from_secs(30);
/// Larger than any certificate, bytes.
const LARGEST: usize = 64 * 1024;

/// What was fetched, and from where.
pub(super) struct Fetched {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) address: String,
}

/// The authorities between `leaf` and one of the roots with these names, as far as `allowed` addresses have them.
pub(super) async fn between(
    leaf: &CertificateDer<'static>,
    roots: &[String],
    allowed: &[String],
) -> Result<Vec<Fetched>, Failure> {
    let late = |_| {
        Failure::failed(
            "fetch",
            "the certificates of issuers did not come within 30 s; nothing was imported",
        )
    };
    tokio::time::timeout(PATIENCE, all(leaf, roots, allowed))
        .await
        .map_err(late)?
}

async fn all(
    leaf: &CertificateDer<'static>,
    roots: &[String],
    allowed: &[String],
) -> Result<Vec<Fetched>, Failure> {
    let mut found: Vec<Fetched> = Vec::new();
    let mut last = leaf.clone();
    while found.len() + 1 < MOST_CHAIN {
        let facts = CodeCertificate::of(&last).map_err(|error| Failure::usage(error.to_string()))?;
        if facts.is_self_issued || roots.contains(&facts.issuer) {
            break;
        }
        let addresses = issuer_addresses(&last);
        let Some(address) = addresses.into_iter().find(|address| allowed.contains(address)) else {
            break;
        };
        let certificate = fetch(&address).await?;
        let wrong = |why: &str| {
            Failure::failed(
                "fetch",
                format!(
                    "what {address} sent is not the certificate of {}: {why}",
                    facts.issuer
                ),
            )
        };
        let issuer = CodeCertificate::of(&certificate).map_err(|error| wrong(&error.to_string()))?;
        if issuer.subject != facts.issuer || !issuer.is_authority {
            return Err(wrong(&format!("it is that of {}", issuer.subject)));
        }
        // A root is accepted by people, never for lying at an address.
        if issuer.is_self_issued {
            break;
        }
        last = certificate.clone();
        found.push(Fetched { certificate, address });
    }
    Ok(found)
}

async fn fetch(address: &str) -> Result<CertificateDer<'static>, Failure> {
    let failed = |why: String| Failure::failed("fetch", format!("{address} cannot be fetched: {why}"));
    let rest = address.strip_prefix("http://").unwrap_or_default();
    let (host, path) = rest
        .split_once('/')
        .ok_or_else(|| failed("it is no address of a file".to_owned()))?;
    let endpoint: Endpoint = format!("http://{host}")
        .parse()
        .map_err(|_| failed("it names no host".to_owned()))?;
    let limits = Limits {
        connect: Duration::from_secs(5),
        deadline: Duration::from_secs(10),
        answer: LARGEST,
        ..Limits::default()
    };
    let connection = Transport::plain(limits)
        .connect(&endpoint)
        .await
        .map_err(|error| failed(chain(&error)))?;
    // Anything but the file itself, a redirect too, is a refusal.
    let answer = connection.send(Request::get(format!("/{path}"))).await;
    let body = answer.map_err(|error| failed(chain(&error)))?.body;
    if body.starts_with(b"0") {
        return Ok(CertificateDer::from(body.to_vec()));
    }
    let certificates = pem::certificates(&body).map_err(|error| failed(chain(&error)))?;
    match <[CertificateDer<'static>; 1]>::try_from(certificates) {
        Ok([certificate]) => Ok(certificate),
        Err(several) => Err(failed(format!("it holds {} certificates", several.len()))),
    }
}
