//! `muster-server serve`: everything is put together, then the four listeners open.

use std::{collections::HashSet, path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use muster_app::{
    App, Options, Parts,
    authority::{CONTROL_PLANE_LIFETIME, FRONT_END_LIFETIME},
    init::load_join_key,
};
use muster_daemon::{
    clock::Clock,
    descriptors,
    file::{self, Access},
    lock::FolderLock,
    log,
    random::Random,
    shutdown, systemd,
    watch::{self, Timing},
};
use muster_pki::{
    KeyUse, Outline, Profile, Serial, ServerName, Signer as _, SoftwareSigner, not_after_ms, pem,
    tls::{Credential, IsRevoked, Now, back_end_server, front_end_server},
};
use muster_store::{BlobStore, Store, Topic};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    command::open_store,
    config::Config,
    http::{
        admin, console,
        node::{self, BackEnd, connections::Connections},
        ops::{self, Operations},
        registration::{self, Registration},
    },
    instance::Instance,
    keys::Keys,
    listen::{self, Limits, Listener, Transport, Workers},
    metrics::Metrics,
};

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

/// Serials of revoked certificates, asked in every handshake.
type Revoked = Arc<ArcSwap<HashSet<String>>>;

/// Runs until a signal.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let clock = Clock::system();
    log::start(config.log_format, &config.log_levels, clock.clone())?;
    let descriptors = descriptors::raise();
    if descriptors < config.descriptors() as u64 {
        tracing::warn!(
            allowed = descriptors,
            needed = config.descriptors(),
            "fewer files may be open than full listeners need; raise LimitNOFILE, or lower the settings connections"
        );
    }
    let signals = shutdown::listen()?;
    let _lock = FolderLock::acquire(&config.state_dir)?;
    let store = open_store(&config, false).await?;
    let app = app(&config, store).await?;
    if config.auto_trust.is_some() {
        tracing::warn!(
            "nodes are trusted automatically by name or address, which can be forged; join tokens cannot ([auto_trust])"
        );
    }
    let metrics = Arc::new(Metrics::new());
    let connections = Arc::new(Connections::default());
    let revoked = Revoked::default();
    refresh_revoked(&app, &revoked).await?;
    app.reconcile_revocation_list().await?;
    app.forgive_silence().await?;
    let instance = Instance::begin(&config.state_dir, app.random())?;
    if config.back_end_is_loopback() && !config.registration.ip().is_loopback() {
        tracing::warn!(
            "nodes on other machines will be told a loopback address of the back end; set [back_end] advertise"
        );
    }
    let now: Now = Arc::new({
        let clock = clock.clone();
        move || clock.unix_ms()
    });

    let (back_end_tls, back_end_serial) = back_end_tls(&app, &revoked, &now).await?;
    let back_end_tls = Arc::new(ArcSwap::from_pointee(back_end_tls));
    let front_end_credential = front_end_credential(&config, &app, &revoked).await?;
    let front_end_serial = serial_of(&front_end_credential);
    let front_end_tls = Arc::new(ArcSwap::from_pointee(front_end_server(
        &front_end_credential,
        now.clone(),
    )?));

    let back_end = BackEnd {
        app: app.clone(),
        connections: connections.clone(),
        presence: Arc::default(),
        metrics: metrics.clone(),
        lookups: Arc::new(tokio::sync::Semaphore::new(node::LOOKUPS)),
    };
    let forget = connections.clone();
    let workers = Arc::new(Workers::start().context("the threads for connections cannot be started")?);
    let listeners = [
        Listener {
            name: "registration",
            socket: bind("registration", config.registration)?,
            transport: Transport::Plain,
            router: registration::router(Registration::new(app.clone())).merge(instance.router()),
            limits: Limits::registration(config.registration_connections),
            metrics: metrics.listener("registration"),
            ended: None,
        },
        Listener {
            name: "back_end",
            socket: bind("back_end", config.back_end)?,
            transport: Transport::MutualTls(back_end_tls.clone()),
            router: node::router(back_end),
            limits: Limits::back_end(config.back_end_connections),
            metrics: metrics.listener("back_end"),
            ended: Some(Arc::new(move |peer| {
                if let Some(muster_pki::Subject::Node(node)) =
                    peer.certificate.as_ref().map(|facts| facts.id.subject)
                {
                    forget.forget(node, peer.number);
                }
            })),
        },
        Listener {
            name: "front_end",
            socket: bind("front_end", config.front_end)?,
            transport: Transport::Tls(front_end_tls.clone()),
            router: admin::router(app.clone())
                .merge(console::router())
                .merge(instance.router()),
            limits: Limits::front_end(config.front_end_connections),
            metrics: metrics.listener("front_end"),
            ended: None,
        },
        Listener {
            name: "operations",
            socket: bind("operations", config.operations)?,
            transport: Transport::Plain,
            router: ops::router(Operations {
                app: app.clone(),
                metrics: metrics.clone(),
            })
            .merge(instance.router()),
            limits: Limits::operations(),
            metrics: metrics.listener("operations"),
            ended: None,
        },
    ];
    let stop = signals.stop.clone();
    let tasks = TaskTracker::new();
    for listener in listeners {
        let address = listener.socket.local_addr()?;
        tracing::info!(listener = listener.name, address = %address, "listening");
        tasks.spawn(listener.run(workers.clone(), stop.clone()));
    }
    let own = tokio::sync::watch::Sender::new(());
    tasks.spawn(follow_revocations(
        app.clone(),
        connections,
        revoked.clone(),
        own.clone(),
        stop.clone(),
    ));
    tasks.spawn(reconcile(app.clone(), metrics, stop.clone()));
    tasks.spawn(renew_back_end(
        app.clone(),
        (revoked.clone(), own.subscribe()),
        now.clone(),
        (back_end_tls, back_end_serial),
        stop.clone(),
    ));
    tasks.spawn(keep_roots(config.clone(), app.clone(), stop.clone()));
    tasks.spawn(reload_front_end(
        config.clone(),
        app.clone(),
        (revoked, own.subscribe()),
        now,
        (front_end_tls, front_end_serial),
        signals.reload,
        stop.clone(),
    ));
    systemd::ready("serving");
    tokio::spawn(systemd::feed_watchdog(stop.clone()));
    stop.cancelled().await;
    systemd::stopping();
    tracing::info!("stopping");
    tasks.close();
    tasks.wait().await;
    drop(workers);
    if let Err(error) = app.reconcile_liveness().await {
        tracing::warn!(error = %error, "the last signs of life could not be written");
    }
    if let Err(error) = app.reconcile_refusals().await {
        tracing::warn!(error = %error, "the last refusals could not be recorded");
    }
    app.store().close().await;
    Ok(ExitCode::SUCCESS)
}

/// The use cases over the state of this configuration.
pub async fn app(config: &Config, store: Store) -> anyhow::Result<App> {
    store.schema().await?.check()?;
    let clock = Clock::system();
    let keys = Keys::open(config)?;
    keys.adopt(&store, clock.unix_ms()).await?;
    let join_key = Arc::new(load_join_key(&store, keys.master_key()).await?);
    let blobs = BlobStore::open(&config.state_dir.join("blobs"))
        .await
        .context("the folder of blobs cannot be opened")?;
    let options = Options {
        back_ends: config.back_ends(),
        session_lifetime: config.session_lifetime,
        offers_per_second: config.offers_per_second,
        token_offers_per_second: config.token_offers_per_second,
        approvals: config.approvals.clone(),
        quotas: config.quotas,
        auto_trust: config.auto_trust.clone(),
        max_input: config.max_input,
        queues: config.queues,
        certificates: config.certificates.clone(),
    };
    let parts = Parts {
        store,
        blobs,
        keys: Arc::new(keys),
        join_key,
        clock,
        random: Random::system(),
        options,
    };
    Ok(App::new(parts).await?)
}

fn bind(name: &str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    listen::bind(address).with_context(|| {
        format!("cannot listen on {address} ([{name}] listen); another program may have the port")
    })
}

/// The configuration of the back end with a new certificate, and that certificate's serial number.
async fn back_end_tls(
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
async fn front_end_credential(config: &Config, app: &App, revoked: &Revoked) -> anyhow::Result<Credential> {
    if let (Some(certificate), Some(key)) = (&config.front_end_certificate, &config.front_end_key) {
        return read_credential(certificate, key);
    }
    let keys = Keys::open(config)?;
    let names = config
        .front_end_names
        .iter()
        .map(|name| {
            ServerName::try_from(name.clone()).with_context(|| {
                format!("\"{name}\" in [front_end] names is neither a host name nor an address")
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let wanted = config.front_end_names.join("\n");
    if let Some((chain, signer)) = keys.front_end(&wanted)
        && let Ok(credential) = Credential::new(chain, &signer)
        && !ends_soon(&credential, app.clock().unix_ms())
        && serial_of(&credential).is_some_and(|serial| !revoked.load().contains(&serial))
        && credential.chain().get(1) == Some(&app.authority().intermediate)
    {
        return Ok(credential);
    }
    let signer = SoftwareSigner::generate(KeyUse::Tls)?;
    let profile = Profile::FrontEnd {
        collective: app.collective(),
        names,
    };
    let serial = Serial::from_random(app.random().bytes());
    let authority = app.authority();
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
    let mut chain = authority.chain(leaf);
    // The root goes along so that a client can be told to trust it by its fingerprint.
    chain.extend(authority.roots.certificates().iter().cloned());
    keys.keep_front_end(&wanted, &chain, &signer)?;
    Ok(Credential::new(chain, &signer)?)
}

fn read_credential(certificate: &Path, key: &Path) -> anyhow::Result<Credential> {
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

fn serial_of(credential: &Credential) -> Option<String> {
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

async fn refresh_revoked(app: &App, revoked: &Revoked) -> anyhow::Result<Arc<HashSet<String>>> {
    let serials = app.store().revoked_serials(app.clock().unix_ms()).await?;
    let serials: Arc<HashSet<_>> = Arc::new(serials.into_iter().map(|revoked| revoked.serial).collect());
    revoked.store(serials.clone());
    Ok(serials)
}

/// Follows revocations: the connections of what was revoked are cut, here and at every other control plane, a new list
/// is published, and what is revoked of this control plane's own is replaced.
async fn follow_revocations(
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

async fn reconcile(app: App, metrics: Arc<Metrics>, stop: CancellationToken) {
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

async fn renew_back_end(
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
async fn keep_roots(config: Config, app: App, stop: CancellationToken) {
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
async fn reload_front_end(
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
