//! From options and session to calls of a control plane.

use std::sync::Arc;

use muster_client::{Endpoint, Limits, Rest, Transport};
use muster_daemon::{
    file::{self, Access},
    secret::SecretFile,
};
use muster_pki::{
    pem,
    tls::{self, FrontEndTrust, Now},
};
use muster_wire::admin::v1::authority::Authority;
use secrecy::SecretString;

use crate::{
    context::Context,
    failure::{Failure, chain},
    profile::{Profile, Trust},
};

/// A file of authorities is far smaller.
const LONGEST_CA_FILE: u64 = 1024 * 1024;
/// For automation: a file with a token instead of a session.
const TOKEN_FILE: &str = "MUSTER_TOKEN_FILE";

impl Context {
    /// Calls of the control plane with the caller's token.
    pub(crate) fn rest(&self) -> Result<Rest, Failure> {
        let profile = self.store.load()?;
        let server = self.server(profile.as_ref())?;
        let profile = profile.filter(|profile| profile.server == server.to_string());
        let trust = match self.trust()? {
            Some(trust) => trust,
            None => profile.as_ref().map(|profile| profile.trust.clone()).ok_or_else(|| {
                Failure::failed(
                    "not-logged-in",
                    format!("{server} is not known here; log in with muster login {server}, or give --ca-file or --ca-fingerprint"),
                )
            })?,
        };
        let token = self.token(&server, profile)?;
        Ok(self.untold_rest(server, &trust)?.with_token(token))
    }

    /// Calls of `server` without a token.
    pub(crate) fn untold_rest(&self, server: Endpoint, trust: &Trust) -> Result<Rest, Failure> {
        let trust = match trust {
            Trust::Fingerprints(pins) => FrontEndTrust::Fingerprints(pins.clone()),
            Trust::Authorities(text) => FrontEndTrust::Authorities(
                pem::certificates(text.as_bytes())
                    .map_err(|error| Failure::failed("trust", chain(&error)))?,
            ),
        };
        let config = tls::front_end_client(trust, self.now())
            .map_err(|error| Failure::failed("trust", chain(&error)))?;
        Ok(Rest::new(
            Transport::tls(Arc::new(config), Limits::default()),
            vec![server],
            0,
        ))
    }

    /// Whom the options say to trust.
    pub(crate) fn trust(&self) -> Result<Option<Trust>, Failure> {
        if !self.options.ca_fingerprint.is_empty() {
            return Ok(Some(Trust::Fingerprints(self.options.ca_fingerprint.clone())));
        }
        let Some(path) = &self.options.ca_file else {
            return Ok(None);
        };
        let bytes = file::read(path, Access::Any, LONGEST_CA_FILE)
            .map_err(|error| Failure::usage(format!("--ca-file: {}", chain(&error))))?;
        let certificates = pem::certificates(&bytes)
            .map_err(|error| Failure::usage(format!("--ca-file {}: {}", path.display(), chain(&error))))?;
        Ok(Some(Trust::Authorities(pem::write_certificates(&certificates))))
    }

    /// Recognizes the control plane of the session file by the roots that it has said it has: during a rotation of its
    /// authority it will soon show another.
    pub(crate) fn follow(&self, authority: &Authority) -> Result<(), Failure> {
        // What options say is for one command.
        if self.options.server.is_some() || self.trust()?.is_some() {
            return Ok(());
        }
        let Some(profile) = self.store.load()? else {
            return Ok(());
        };
        let trust = profile.trust.following(authority);
        if trust == profile.trust {
            return Ok(());
        }
        self.store.save(&Profile { trust, ..profile })
    }

    /// The present, for certificates.
    pub(crate) fn now(&self) -> Now {
        let clock = self.clock.clone();
        Arc::new(move || clock.unix_ms())
    }

    /// Of the control plane that is asked.
    pub(crate) fn address(&self) -> Result<String, Failure> {
        Ok(self.server(self.store.load()?.as_ref())?.to_string())
    }

    fn server(&self, profile: Option<&Profile>) -> Result<Endpoint, Failure> {
        if let Some(server) = &self.options.server {
            return Ok(server.clone());
        }
        let profile = profile.ok_or_else(|| {
            Failure::failed(
                "not-logged-in",
                "not logged in; run muster login https://HOST:8443, or give --server",
            )
        })?;
        profile.server.parse().map_err(|error| {
            Failure::failed(
                "session",
                format!("the session file names no control plane ({error}); log in again with muster login"),
            )
        })
    }

    /// `profile` is that of `server`.
    fn token(&self, server: &Endpoint, profile: Option<Profile>) -> Result<SecretString, Failure> {
        if let Some(path) = self.environment.get(TOKEN_FILE).filter(|path| !path.is_empty()) {
            return Ok(SecretFile::at(path).read_text()?);
        }
        profile
            .and_then(|profile| profile.token)
            .map(SecretString::from)
            .ok_or_else(|| {
                Failure::failed(
                    "not-logged-in",
                    format!("not logged in at {server}; run muster login {server}, or set {TOKEN_FILE}"),
                )
            })
    }
}
