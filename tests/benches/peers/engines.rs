//! What a run costs in the engines themselves, beside processes without a jail: Rserve, and a Python that is warm.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use muster_engines::{
    Data, EngineKind, Engines, EnginesConfig, Format, IdRange, Input, Live, Mode, Outcome, OutputSpec,
    Pruning, Recycle, RunOrder, Service, Services, Shape, default_limits,
};
use tokio_util::sync::CancellationToken;

use crate::{
    collective::{FIRST_ID, until},
    programs::Programs,
    report::{Row, note},
    sample::{median, now_us, number},
};

/// Runs in one batch of one contender, after one that is not counted.
const BATCH: usize = 10;
/// Children that wait for each engine.
const QUEUE: usize = 2;
/// Between two looks at the children that wait.
const LOOK: Duration = Duration::from_millis(1);
/// Rows of the table that the Python function groups.
const ROWS: usize = 200;
/// What R evaluates.
const R_SCRIPT: &str = "y <- x + 1";
/// What Python evaluates.
const PYTHON_SCRIPT: &str = "y = x.groupby('g', as_index=False)['v'].mean()";
/// A warm process: pandas is loaded, and a request is a length and a CSV document, as is the answer.
const WARM: &str = "
import io, sys
import pandas
script = sys.argv[1]
sys.stdout.buffer.write(b'ready')
sys.stdout.buffer.flush()
while True:
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        break
    world = {'x': pandas.read_csv(io.BytesIO(sys.stdin.buffer.read(int.from_bytes(head, 'big'))))}
    exec(compile(script, 'script', 'exec'), world)
    answer = world['y'].to_csv(index=False).encode()
    sys.stdout.buffer.write(len(answer).to_bytes(4, 'big') + answer)
    sys.stdout.buffer.flush()
";

/// Both comparisons; each contender is first equally often.
pub(crate) async fn rows(programs: &Programs, rounds: usize) -> anyhow::Result<Vec<Row>> {
    note(&format!("engines: {rounds} rounds"));
    let folder = programs.folder().join(format!("engines-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let ours = Ours::new(programs, &folder)?;
    let rserve = Rserve::start()?;
    until("Rserve to listen", || Ok(rserve.eval().ok())).await?;
    let mut warm = Warm::start(programs)?;
    let (mut r, mut python) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for round in 0..rounds {
        for turn in 0..2 {
            let which = (round + turn) % 2;
            let mut samples = [const { Vec::new() }; 2];
            for _ in 0..=BATCH {
                let (of_r, of_python) = match which {
                    0 => (
                        ours.run(EngineKind::R, Mode::Restricted).await?,
                        ours.run(EngineKind::Python, Mode::Unrestricted).await?,
                    ),
                    _ => (timed(|| rserve.eval())?, timed(|| warm.ask())?),
                };
                samples[0].push(of_r);
                samples[1].push(of_python);
            }
            let [of_r, of_python] = samples.map(|samples| median(samples[1..].to_vec()));
            r[which].push(of_r);
            python[which].push(of_python);
        }
    }
    drop(ours);
    fs::remove_dir_all(&folder)?;
    let ([ours_r, rserve], [ours_python, warm]) = (r, python);
    Ok(vec![
        Row::beside(
            "r_first_eval_vs_rserve",
            &ours_r,
            "Rserve, new connection",
            &rserve,
        ),
        Row::beside("python_run_vs_warm", &ours_python, "warm Python process", &warm),
    ])
}

/// Milliseconds.
fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let before = now_us();
    work()?;
    Ok(number(now_us() - before) / 1000.0)
}

/// The table that Python groups.
fn table() -> Vec<u8> {
    let lines = (0..ROWS).map(|row| format!("g{},{row}.5\n", row % 7));
    format!("g,v\n{}", lines.collect::<String>()).into_bytes()
}

/// The engines of a node.
struct Ours {
    engines: Engines,
    folder: PathBuf,
}

impl Ours {
    fn new(programs: &Programs, folder: &Path) -> anyhow::Result<Self> {
        let service = || Service {
            limits: default_limits(),
            queue: QUEUE,
            sessions: 2,
            pruning: Pruning::default(),
            package_path: None,
            startup_hook: None,
        };
        let engines = Engines::new(EnginesConfig {
            jail: programs.jail()?,
            lock_library: programs.lock_library()?,
            runners: folder.join("runners"),
            r_home: "/usr/lib/R".into(),
            python: programs.python(),
            terr: None,
            r_packages: Vec::new(),
            python_packages: vec!["numpy".to_owned(), "pandas".to_owned()],
            ids: rustix::process::geteuid().is_root().then_some(IdRange {
                first: FIRST_ID,
                count: 64,
            }),
            unrestricted: Arc::default(),
            guarded: Vec::new(),
            control_plane: Vec::new(),
            services: Services {
                r: service(),
                python: service(),
                terr: service(),
            },
            printed_bytes: 1 << 20,
            recycle: Recycle::default(),
        });
        Ok(Self {
            engines,
            folder: folder.to_owned(),
        })
    }

    /// From the order to the result of the run; milliseconds. As many children wait as are wanted, as on a node at rest.
    async fn run(&self, engine: EngineKind, mode: Mode) -> anyhow::Result<f64> {
        self.engines.warm(engine, mode).await?;
        while self.engines.waiting(engine, mode).now < QUEUE {
            tokio::time::sleep(LOOK).await;
        }
        let (script, kind, format, data) = match engine {
            EngineKind::Python => (PYTHON_SCRIPT, Shape::Table, Format::Csv, table()),
            _ => (R_SCRIPT, Shape::Value, Format::Json, b"1".to_vec()),
        };
        let folder = self.folder.join("run");
        fs::create_dir(&folder)?;
        let order = RunOrder {
            engine,
            mode,
            policy: Arc::default(),
            script: script.to_owned(),
            inputs: vec![Input {
                name: "x".to_owned(),
                kind,
                format,
                types: BTreeMap::new(),
                data: Some(Data::Bytes(data)),
            }],
            outputs: vec![OutputSpec {
                name: "y".to_owned(),
                kind,
                format,
            }],
            trace: false,
            limits: default_limits(),
            session: None,
            folder: folder.clone(),
            live: Live::default(),
        };
        let before = now_us();
        let ending = self.engines.run(&order, &CancellationToken::new()).await;
        let after = now_us();
        ensure!(
            ending.outcome == Outcome::Succeeded && ending.outputs.len() == 1,
            "a run of {engine} ended with {:?}: {}",
            ending.outcome,
            String::from_utf8_lossy(&ending.stderr.bytes)
        );
        fs::remove_dir_all(&folder)?;
        Ok(number(after - before) / 1000.0)
    }
}

/// Rserve as Debian has it, without a jail.
struct Rserve {
    child: Child,
    port: u16,
}

impl Rserve {
    #[expect(clippy::disallowed_methods, reason = "a benchmark starts the peers")]
    fn start() -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?
            .local_addr()?
            .port();
        let child = Command::new("/usr/bin/R")
            .args(["--vanilla", "--slave", "-e"])
            .arg(format!("Rserve::run.Rserve(port = {port})"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start R with Rserve (apt-get install r-cran-rserve)")?;
        Ok(Self { child, port })
    }

    /// A new connection, which is a process of its own there, and its first evaluation.
    fn eval(&self) -> anyhow::Result<()> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port))?;
        connection.set_nodelay(true)?;
        let mut hello = [0; 32];
        connection.read_exact(&mut hello)?;
        ensure!(hello.starts_with(b"Rsrv"), "this is not Rserve");
        let mut text = format!("x <- 1; {R_SCRIPT}; y").into_bytes();
        text.resize((text.len() + 4) / 4 * 4, 0);
        let length = u32::try_from(text.len())?;
        // Evaluate (3), the length of what follows, no offset; a string (4) and its length in three bytes.
        let mut message = Vec::new();
        for word in [3, length + 4, 0, 0, 4 | length << 8] {
            message.extend_from_slice(&word.to_le_bytes());
        }
        message.extend_from_slice(&text);
        connection.write_all(&message)?;
        let mut head = [0; 16];
        connection.read_exact(&mut head)?;
        ensure!(head[..4] == [1, 0, 1, 0], "Rserve refused: {head:?}");
        let mut answer = vec![0; usize::from(head[4]) | usize::from(head[5]) << 8];
        connection.read_exact(&mut answer)?;
        Ok(())
    }
}

impl Drop for Rserve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python process that has loaded pandas and waits, without a jail.
struct Warm(Child);

impl Warm {
    #[expect(clippy::disallowed_methods, reason = "a benchmark starts the peers")]
    fn start(programs: &Programs) -> anyhow::Result<Self> {
        let mut child = Command::new(programs.python().join("bin/python"))
            .args(["-c", WARM, PYTHON_SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start Python")?;
        let mut ready = [0; 5];
        child
            .stdout
            .as_mut()
            .context("it has an output")?
            .read_exact(&mut ready)?;
        Ok(Self(child))
    }

    fn ask(&mut self) -> anyhow::Result<()> {
        let table = table();
        let input = self.0.stdin.as_mut().context("it has an input")?;
        input.write_all(&u32::try_from(table.len())?.to_be_bytes())?;
        input.write_all(&table)?;
        input.flush()?;
        let output = self.0.stdout.as_mut().context("it has an output")?;
        let mut head = [0; 4];
        output.read_exact(&mut head)?;
        let mut answer = vec![0; usize::try_from(u32::from_be_bytes(head))?];
        output.read_exact(&mut answer)?;
        ensure!(answer.starts_with(b"g,v"), "it answered something else");
        Ok(())
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
