//! The certificates that the listeners show: made, kept, renewed, and taken anew when files or authorities change.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use muster_app::{
    App,
    authority::{Authority, CONTROL_PLANE_LIFETIME, FRONT_END_LIFETIME},
};
use muster_daemon::{
    file::{self, Access},
    watch::{self, Timing},
};
use muster_ids::Digest;
use muster_pki::{
    CertificateDer, KeyUse, Outline, Profile, Serial, ServerName, Signer as _, SoftwareSigner, not_after_ms,
    pem,
    tls::{Credential, IsRevoked, Now, back_end_server, front_end_server},
};
use tokio_util::sync::CancellationToken;

use super::Revoked;
use crate::{config::Config, keys::Keys};

/// The configuration of the back end with a new certificate, and that certificate's serial number.
pub(super) async fn back_end_tls(
    app: &App,
    revoked: &Revoked,
    now: &Now,
) -> anyhow::Result<(rustls::ServerConfig, Option<String>)> {
    let credential = app.issue_control_plane_credential().await?;
    let revoked = revoked.clone();
    let is_revoked: IsRevoked = Arc::new(move |_, serial| revoked.load().contains(&serial.to_string()));
    let config = back_end_server(
        &credential,
        app.authority().roots.clone(),
        is_revoked,
        now.clone(),
    )?;
    Ok((config, serial_of(&credential)))
}

/// The configured certificate of the front end, or one that the collective issues and keeps.
pub(super) async fn front_end_credential(
    config: &Config,
    app: &App,
    revoked: &Revoked,
) -> anyhow::Result<Credential> {
    if let (Some(certificate), Some(key)) = (&config.front_end_certificate, &config.front_end_key) {
        return read_credential(certificate, key);
    }
    let keys = Keys::open(config)?;
    let names = config.front_end_names.clone();
    let wanted: Vec<_> = names.iter().map(ServerName::to_str).collect();
    let wanted = wanted.join("\n");
    let authority = app.authority();
    if let Some((chain, signer)) = keys.front_end(&wanted)
        && chain.get(1) == Some(&authority.intermediate)
        && let Some(leaf) = chain.into_iter().next()
        && let Ok(credential) = Credential::new(presented(&authority, leaf), &signer)
        && !ends_soon(&credential, app.clock().unix_ms())
        && serial_of(&credential).is_some_and(|serial| !revoked.load().contains(&serial))
    {
        return Ok(credential);
    }
    let signer = SoftwareSigner::generate(KeyUse::Tls)?;
    let profile = Profile::FrontEnd {
        collective: app.collective(),
        names,
    };
    let serial = Serial::from_random(app.random().bytes());
    let leaf = authority
        .issue(
            &profile,
            signer.public_key(),
            &serial,
            app.clock().unix_ms(),
            FRONT_END_LIFETIME,
        )
        .await?;
    app.record_front_end(&leaf).await?;
    let chain = presented(&authority, leaf);
    keys.keep_front_end(&wanted, &chain, &signer)?;
    Ok(Credential::new(chain, &signer)?)
}

/// What the front end shows with `leaf`: what leads to the roots; older roots with what they certified, so that who pins
/// one of them follows; and the roots, so that a client can be told to trust one by its fingerprint. The active one is
/// the last, which a first look shows.
fn presented(authority: &Authority, leaf: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
    let mut chain = authority.chain(leaf);
    for cross in &authority.crosses {
        chain.extend([cross.certificate.clone(), cross.root.clone()]);
    }
    let (active, others): (Vec<_>, Vec<_>) =
        (authority.roots.certificates().iter()).partition(|root| Digest::of(root) == authority.root);
    for root in others.into_iter().chain(active) {
        chain.retain(|known| known != root);
        chain.push(root.clone());
    }
    chain
}

/// A configured certificate with its key.
pub(crate) fn read_credential(certificate: &Path, key: &Path) -> anyhow::Result<Credential> {
    let chain = file::read(certificate, Access::Any, 1024 * 1024)?;
    let chain =
        pem::certificates(&chain).with_context(|| format!("{} cannot be used", certificate.display()))?;
    let pem = file::read(key, Access::Private, 64 * 1024)?;
    let key_der = pem::private_key(&pem).with_context(|| format!("{} cannot be used", key.display()))?;
    Ok(Credential::from_files(chain, &key_der)?)
}

/// Whether a certificate of this control plane's own must be replaced.
fn is_revoked(revoked: &Revoked, serial: Option<&String>) -> bool {
    serial.is_some_and(|serial| revoked.load().contains(serial))
}

pub(super) fn serial_of(credential: &Credential) -> Option<String> {
    let leaf = Outline::of(credential.chain().first()?)?;
    Some(leaf.serial.to_string())
}

/// Whether less than a tenth of its life is left; unreadable counts as over.
fn ends_soon(credential: &Credential, now: i64) -> bool {
    let tenth = i64::try_from(FRONT_END_LIFETIME.as_millis() / 10).unwrap_or(i64::MAX);
    credential
        .chain()
        .first()
        .and_then(|leaf| not_after_ms(leaf))
        .is_none_or(|end| end - now < tenth)
}

pub(super) async fn renew_back_end(
    app: App,
    (revoked, mut own): (Revoked, tokio::sync::watch::Receiver<()>),
    now: Now,
    (current, mut serial): (Arc<ArcSwap<rustls::ServerConfig>>, Option<String>),
    stop: CancellationToken,
) {
    let mut changes = app.authority_changes();
    loop {
        tokio::select! {
            () = tokio::time::sleep(CONTROL_PLANE_LIFETIME / 2) => {}
            told = own.changed() => match told {
                Ok(()) if is_revoked(&revoked, serial.as_ref()) => {}
                Ok(()) => continue,
                Err(_) => return,
            },
            _ = changes.changed() => {}
            () = stop.cancelled() => return,
        }
        match back_end_tls(&app, &revoked, &now).await {
            Ok((config, newer)) => {
                current.store(Arc::new(config));
                serial = newer;
                tracing::info!("the back end has a new certificate");
            }
            Err(error) => {
                tracing::error!(error = %error, "the certificate of the back end could not be renewed");
            }
        }
    }
}

/// Keeps the file with the accepted roots as they are.
pub(super) async fn keep_roots(config: Config, app: App, stop: CancellationToken) {
    let mut changes = app.authority_changes();
    loop {
        let written = Keys::open(&config).and_then(|keys| keys.write_roots(&app.authority().roots));
        if let Err(error) = written {
            tracing::error!(error = %format!("{error:#}"), "the file with the roots could not be written");
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Takes a changed certificate of the front end without a restart.
pub(super) async fn reload_front_end(
    config: Config,
    app: App,
    (revoked, mut own): (Revoked, tokio::sync::watch::Receiver<()>),
    now: Now,
    (current, mut serial): (Arc<ArcSwap<rustls::ServerConfig>>, Option<String>),
    mut reload: tokio::sync::watch::Receiver<u64>,
    stop: CancellationToken,
) {
    let folder = |path: &std::path::PathBuf| path.parent().map(Path::to_owned);
    let mut folders: Vec<_> = [&config.front_end_certificate, &config.front_end_key]
        .into_iter()
        .flatten()
        .filter_map(folder)
        .collect();
    folders.dedup();
    let mut changed = watch::folders(folders, Timing::default());
    let mut authority = app.authority_changes();
    loop {
        tokio::select! {
            event = changed.changed() => if event.is_err() { return },
            event = reload.changed() => if event.is_err() { return },
            event = own.changed() => match event {
                Ok(()) if is_revoked(&revoked, serial.as_ref()) => {}
                Ok(()) => continue,
                Err(_) => return,
            },
            event = authority.changed() => if event.is_err() { return },
            () = stop.cancelled() => return,
        }
        let reloaded = async {
            let credential = front_end_credential(&config, &app, &revoked).await?;
            let tls = front_end_server(&credential, now.clone())?;
            anyhow::Ok((tls, serial_of(&credential)))
        };
        match reloaded.await {
            Ok((tls, newer)) => {
                serial = newer;
                current.store(Arc::new(tls));
                tracing::info!("the certificate of the front end was taken anew");
            }
            Err(error) => tracing::error!(
                error = %format!("{error:#}"),
                "the changed certificate of the front end cannot be used; the one before stays in use"
            ),
        }
    }
}
