//! A control plane on SQLite and one node, as their administrators would start them, in a folder of their own.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use muster_client::{Limits, Request, Rest, Transport};
use muster_daemon::Clock;
use muster_ids::UserName;
use muster_pki::{
    pem,
    tls::{FrontEndTrust, front_end_client},
};
use muster_wire::admin::v1::{
    Page,
    join::{ApproveJoin, Join, MatchJoin},
    node::Node,
    session::{Login, Session},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{programs::Programs, report::note};

/// The first administrator, who becomes a Script Author too.
const ADMINISTRATOR: &str = "admin@SPOTFIRE";
/// Host ids for runs of a node that root starts outside of packages.
pub(crate) const FIRST_ID: u32 = 0x7000_0000;
/// The longest time for one step of the way up or down; generous, for busy machines.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Both daemons; dropping it ends them and removes their folder.
pub(crate) struct Collective {
    pub(crate) rest: Arc<Rest>,
    /// Where the database and the blobs are.
    pub(crate) folder: PathBuf,
    node: Daemon,
    server: Daemon,
}

impl Collective {
    /// Starts both, joins the node and approves it.
    pub(crate) async fn start(programs: &Programs, clock: &Clock) -> anyhow::Result<Self> {
        let folder = programs
            .folder()
            .join(format!("collective-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        note(&format!("collective: starting in {}", folder.display()));
        let ports = free_ports()?;
        let server = start_server(programs, &folder, ports, "")?;
        until("the control plane to listen", || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", ports.front_end))
                .ok()
                .map(drop))
        })
        .await?;
        let rest = log_in(&folder, ports.front_end, clock).await?;
        let path = Request::put("/api/v1/groups")
            .segment("Script Author")
            .segment("members")
            .segment(ADMINISTRATOR);
        rest.call::<()>(path).await?;
        let node = start_node(programs, &folder, ports)?;
        approve(programs, &folder, &rest).await?;
        Ok(Self {
            rest: Arc::new(rest),
            folder,
            node,
            server,
        })
    }

    /// The agent's process.
    pub(crate) fn agent(&self) -> u32 {
        self.node.0.id()
    }

    /// The control plane's process.
    pub(crate) fn server(&self) -> u32 {
        self.server.0.id()
    }
}

impl Drop for Collective {
    fn drop(&mut self) {
        self.node.stop();
        self.server.stop();
        // What remains is below the target folder, and visible there.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A process that is told to stop when it is no longer needed.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Standard output and error go to a file in `folder`.
    #[expect(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]
    pub(crate) fn start(program: &Path, arguments: &[&str], log: &Path) -> anyhow::Result<Self> {
        let log = fs::File::create(log).with_context(|| format!("make {}", log.display()))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self(child))
    }

    /// Asks, waits, and only then kills.
    pub(crate) fn stop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let mut waited = Duration::ZERO;
        while waited < PATIENCE && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) registration: u16,
    back_end: u16,
    pub(crate) front_end: u16,
    pub(crate) operations: u16,
}

/// Ports that were free a moment ago.
pub(crate) fn free_ports() -> anyhow::Result<Ports> {
    let listeners = [(); 4].map(|()| TcpListener::bind(("127.0.0.1", 0)));
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    let [registration, back_end, front_end, operations] = ports;
    Ok(Ports {
        registration,
        back_end,
        front_end,
        operations,
    })
}

/// A control plane with `settings` besides its listeners.
pub(crate) fn start_server(
    programs: &Programs,
    folder: &Path,
    ports: Ports,
    settings: &str,
) -> anyhow::Result<Daemon> {
    let (config, state) = (folder.join("server.toml"), folder.join("server"));
    let listen = |section: &str, port: u16| format!("[{section}]\nlisten = \"127.0.0.1:{port}\"\n");
    let text = [
        listen("registration", ports.registration),
        listen("back_end", ports.back_end),
        listen("front_end", ports.front_end),
        listen("operations", ports.operations),
        settings.to_owned(),
    ];
    fs::write(&config, text.concat())?;
    let (config, state) = (text_of(&config)?, text_of(&state)?);
    let options = ["--config", &config, "--state-dir", &state];
    let said = ask(&programs.server()?, &[&options[..], &["init"]].concat())?;
    ensure!(
        said.contains("CA fingerprint:"),
        "muster-server init said:\n{said}"
    );
    Daemon::start(
        &programs.server()?,
        &[&options[..], &["serve"]].concat(),
        &folder.join("server.log"),
    )
}

/// The first administrator.
pub(crate) async fn log_in(folder: &Path, port: u16, clock: &Clock) -> anyhow::Result<Rest> {
    let connect = || -> anyhow::Result<Rest> {
        let roots = pem::certificates(&fs::read(folder.join("server/keys/root.pem"))?)?;
        let clock = clock.clone();
        let tls = front_end_client(
            FrontEndTrust::Authorities(roots),
            Arc::new(move || clock.unix_ms()),
        )?;
        let transport = Transport::tls(Arc::new(tls), Limits::default());
        let endpoint = format!("https://127.0.0.1:{port}").parse()?;
        Ok(Rest::new(transport, vec![endpoint], 0))
    };
    let password = fs::read_to_string(folder.join("server/admin-password"))?;
    let login = Login {
        user: ADMINISTRATOR.parse::<UserName>()?,
        password: password.trim().to_owned(),
    };
    let session: Session = connect()?.post("/api/v1/sessions", &login, None).await?;
    Ok(connect()?.with_token(session.token.into()))
}

fn start_node(programs: &Programs, folder: &Path, ports: Ports) -> anyhow::Result<Daemon> {
    let config = folder.join("node.toml");
    let roots = muster_pki::Roots::new(pem::certificates(&fs::read(
        folder.join("server/keys/root.pem"),
    )?)?)?;
    let pin = roots
        .fingerprints()
        .first()
        .context("the collective has a root")?
        .to_string();
    let ids = if rustix::process::geteuid().is_root() {
        format!("id_first = {FIRST_ID}\n")
    } else {
        String::new()
    };
    let text = format!(
        "[node]\nname = \"bench\"\ncapabilities = [\"TERR\", \"PYTHON\"]\nstate_dir = \"{}\"\n\
         [control_plane]\nregistration = [\"http://127.0.0.1:{}\"]\n\
         [join]\nca_fingerprint = [\"{pin}\"]\n\
         [jail]\nprogram = \"{}\"\nlock_library = \"{}\"\n{ids}\
         [engines]\npython = \"{}\"\n",
        folder.join("node").display(),
        ports.registration,
        programs.jail()?.display(),
        programs.lock_library()?.display(),
        programs.python().display(),
    );
    fs::write(&config, text)?;
    let config = text_of(&config)?;
    Daemon::start(
        &programs.node()?,
        &["--config", &config, "run"],
        &folder.join("node.log"),
    )
}

/// Reads the code on the node, as an administrator does, and approves it.
async fn approve(programs: &Programs, folder: &Path, rest: &Rest) -> anyhow::Result<()> {
    let config = text_of(&folder.join("node.toml"))?;
    let code = until("the node to show its code", || {
        let status = ask(
            &programs.node()?,
            &["--config", &config, "--output", "json", "status"],
        )?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        Ok(status["code"].as_str().map(str::to_owned))
    })
    .await?;
    let join = loop {
        let wanted = MatchJoin { code: code.clone() };
        match rest.post::<_, Join>("/api/v1/joins/match", &wanted, None).await {
            Ok(join) => break join,
            // The node shows its code a moment before the control plane knows it.
            Err(error) if error.to_string().contains("No waiting request") => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(error.into()),
        }
    };
    let approval = ApproveJoin {
        code: Some(code),
        fingerprint: None,
    };
    let path = format!("/api/v1/joins/{}/approve", join.id);
    rest.post::<_, Join>(&path, &approval, None).await?;
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        let nodes: Page<Node> = rest.get("/api/v1/nodes").await?;
        if nodes.items.iter().any(|node| node.health == "online") {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!(
        "the node did not come online; see {}",
        folder.join("node.log").display()
    )
}

/// What a command prints when it is done.
#[expect(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]
pub(crate) fn ask(program: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} {arguments:?} ended with {}: {}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Looks again and again until there is something.
pub(crate) async fn until<T>(
    what: &str,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        if let Some(found) = look()? {
            return Ok(found);
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("waited {} s for {what}", PATIENCE.as_secs())
}

/// A path as an argument.
pub(crate) fn text_of(path: &Path) -> anyhow::Result<String> {
    let text = path
        .to_str()
        .context("the target folder has a name that is not UTF-8")?;
    Ok(text.to_owned())
}
