//! What is done again and again beside the listeners.

use std::{collections::HashSet, sync::Arc, time::Duration};

use muster_app::App;
use muster_store::Topic;
use tokio_util::sync::CancellationToken;

use super::Revoked;
use crate::{http::node::connections::Connections, metrics::Metrics};

/// Between two looks at leases.
const RECONCILE: Duration = Duration::from_secs(5);
/// Between two writes of who was heard of. They matter after a start only, and then the silence of the control plane
/// itself is forgiven.
const LIVENESS: Duration = Duration::from_secs(30);
/// Between two records of what was refused to strangers.
const REFUSALS: Duration = Duration::from_mins(1);
/// Between two looks whether the revocation list must be made again.
const REVOCATION_LIST: Duration = Duration::from_mins(30);
/// Between two looks at when certificates end.
const EXPIRIES: Duration = Duration::from_mins(1);
/// Between two clean-ups.
const TIDY: Duration = Duration::from_mins(10);

pub(super) async fn refresh_revoked(app: &App, revoked: &Revoked) -> anyhow::Result<Arc<HashSet<String>>> {
    let serials = app.store().revoked_serials(app.clock().unix_ms()).await?;
    let serials: Arc<HashSet<_>> = Arc::new(serials.into_iter().map(|revoked| revoked.serial).collect());
    revoked.store(serials.clone());
    Ok(serials)
}

/// Follows revocations: the connections of what was revoked are cut, here and at every other control plane, a new list
/// is published, and what is revoked of this control plane's own is replaced.
pub(super) async fn follow_revocations(
    app: App,
    connections: Arc<Connections>,
    revoked: Revoked,
    own: tokio::sync::watch::Sender<()>,
    stop: CancellationToken,
) {
    let mut wake = app.store().wake_listener();
    let mut tick = tokio::time::interval(REVOCATION_LIST);
    loop {
        let cut = tokio::select! {
            topics = wake.next() => match topics {
                Some(topics) if topics.contains(&Topic::Revocations) => true,
                Some(_) => continue,
                None => return,
            },
            _ = tick.tick() => false,
            () = stop.cancelled() => return,
        };
        if cut {
            match refresh_revoked(&app, &revoked).await {
                Ok(serials) => {
                    connections.cut_revoked(&serials);
                    own.send_replace(());
                }
                Err(error) => {
                    tracing::error!(error = %error, "the list of revoked certificates could not be read");
                }
            }
        }
        if let Err(error) = app.reconcile_revocation_list().await {
            tracing::error!(error = %error, "the revocation list could not be published and will be tried again");
        }
    }
}

pub(super) async fn reconcile(app: App, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(RECONCILE);
    let mut liveness = tokio::time::interval(LIVENESS);
    let mut tidy = tokio::time::interval(TIDY);
    let mut expiries = tokio::time::interval(EXPIRIES);
    let mut refusals = tokio::time::interval(REFUSALS);
    loop {
        let done = tokio::select! {
            _ = tick.tick() => async {
                metrics.runs_lost.inc_by(app.reconcile_leases().await? as u64);
                metrics.note_alarms(app.alarms());
                metrics.trust_number.set(i64::try_from(app.trust_number().await?).unwrap_or(i64::MAX));
                app.reconcile_rotation().await?;
                app.reconcile_drains().await.map(drop)
            }.await,
            _ = liveness.tick() => app.reconcile_liveness().await,
            _ = expiries.tick() => app.expiries().await.map(|found| {
                for expiry in found {
                    let ends = expiry.validity.not_after_ms() / 1000;
                    metrics.certificate_expiry.get_or_create(&[("certificate", expiry.what)]).set(ends);
                }
            }),
            _ = refusals.tick() => app.reconcile_refusals().await.map(|refused| {
                metrics.joins_refused.inc_by(refused);
            }),
            _ = tidy.tick() => async {
                app.reconcile_authority().await?;
                app.reconcile_tidy().await
            }.await,
            () = stop.cancelled() => return,
        };
        if let Err(error) = done {
            tracing::error!(error = %error, "a reconciler failed and will be tried again");
        }
    }
}
