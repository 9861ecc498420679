//! `muster-server serve`: everything is put together, then the four listeners open.

mod credentials;
mod tasks;

use std::{collections::HashSet, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use muster_app::{App, Options, Parts, init::load_join_key};
use muster_daemon::{clock::Clock, descriptors, lock::FolderLock, log, random::Random, shutdown, systemd};
use muster_pki::tls::{Now, front_end_server};
use muster_store::{BlobStore, Store};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

pub(crate) use self::credentials::read_credential;
use self::{
    credentials::{
        back_end_tls, front_end_credential, keep_roots, reload_front_end, renew_back_end, serial_of,
    },
    tasks::{follow_revocations, reconcile, refresh_revoked},
};
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
    app.complete_groups().await?;
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
        allowed_issuers: config.allowed_issuers.clone(),
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
