//! People who open connections and mean no good: many, from many addresses of this machine, a byte a second.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use muster_daemon::descriptors;
use rustix::process::{Resource, Rlimit, geteuid, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{interval, timeout},
};

/// Descriptors that the rest of a test program needs.
const SPARE: u64 = 4_000;
/// Connections that are opened at the same time.
const AT_ONCE: usize = 64;
/// A request that never comes to its end.
const BEGIN: &[u8] =
    b"POST /join/v1/hello HTTP/1.1\r\nHost: muster\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n";

/// `wanted` connections; as many as this machine lets one program have only for who may not raise its own limit. Root may,
/// and programs that are started from here inherit it.
pub fn possible(wanted: usize) -> usize {
    let needed = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(SPARE);
    let mut allowed = descriptors::raise();
    if allowed < needed {
        let limit = Rlimit {
            current: Some(needed),
            maximum: Some(needed),
        };
        let raised = setrlimit(Resource::Nofile, limit);
        allowed = descriptors::raise();
        assert!(
            allowed >= needed || !geteuid().is_root(),
            "{needed} open files are needed and {allowed} allowed, which root could not raise ({raised:?}); raise the limit of \
             open files (ulimit -Hn, fs.nr_open)"
        );
    }
    wanted.min(usize::try_from(allowed.saturating_sub(SPARE)).unwrap_or(usize::MAX))
}

/// A flood that goes on until it is dropped.
pub struct Flood {
    all: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Flood {
    /// `connections` to `target`, taken in turns from `sources`, each of which sends one byte a second and comes back when
    /// it is cut. Returns when each has come at least once.
    pub async fn slow(target: SocketAddr, sources: &[IpAddr], connections: usize) -> Self {
        let (all, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for part in 0..AT_ONCE {
            let sources: Vec<IpAddr> = (part..connections)
                .step_by(AT_ONCE)
                .map(|n| sources[n % sources.len()])
                .collect();
            let (all, cut, stop) = (all.clone(), cut.clone(), stop.clone());
            tasks.spawn(trickle(target, sources, all, cut, stop));
        }
        let flood = Self {
            all,
            cut,
            stop,
            _tasks: tasks,
        };
        while flood.opened() < connections {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        flood
    }

    /// Whole `hello`s on `connections`, each as soon as the one before is answered. They count as opened.
    pub fn hellos(target: SocketAddr, sources: &[IpAddr], hello: &[u8], connections: usize) -> Self {
        let (all, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let head = format!(
            "POST /join/v1/hello HTTP/1.1\r\nHost: muster\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            hello.len()
        );
        let message = Arc::new([head.as_bytes(), hello].concat());
        let mut tasks = JoinSet::new();
        for n in 0..connections {
            let source = sources[n % sources.len()];
            let (message, all, cut, stop) = (message.clone(), all.clone(), cut.clone(), stop.clone());
            tasks.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    if let Some(stream) = connect(target, source).await {
                        greet(stream, &message, &all, &stop).await;
                        cut.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        Self {
            all,
            cut,
            stop,
            _tasks: tasks,
        }
    }

    /// Connections that were opened.
    pub fn opened(&self) -> usize {
        self.all.load(Ordering::SeqCst)
    }

    /// Connections that the other side has ended.
    pub fn cut(&self) -> usize {
        self.cut.load(Ordering::SeqCst)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

async fn trickle(
    target: SocketAddr,
    sources: Vec<IpAddr>,
    all: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) {
    let mut open: Vec<Option<(TcpStream, usize)>> = sources.iter().map(|_| None).collect();
    let mut second = interval(Duration::from_secs(1));
    while !stop.load(Ordering::SeqCst) {
        second.tick().await;
        for (slot, source) in open.iter_mut().zip(&sources) {
            let stream = match slot.take() {
                Some(known) => Some(known),
                None => connect(target, *source)
                    .await
                    .inspect(|_| {
                        all.fetch_add(1, Ordering::SeqCst);
                    })
                    .map(|stream| (stream, 0)),
            };
            let Some((mut stream, sent)) = stream else {
                continue;
            };
            let byte = BEGIN.get(sent).copied().unwrap_or(b' ');
            let mut answer = [0; 512];
            // A socket that can be read has an answer or its end.
            let ended = stream.try_read(&mut answer).is_ok()
                || !matches!(
                    timeout(Duration::from_secs(1), stream.write_all(&[byte])).await,
                    Ok(Ok(()))
                );
            if ended {
                cut.fetch_add(1, Ordering::SeqCst);
            } else {
                *slot = Some((stream, sent + 1));
            }
        }
    }
}

/// Sends `message` again and again until the other side has enough.
async fn greet(mut stream: TcpStream, message: &[u8], all: &AtomicUsize, stop: &AtomicBool) {
    let mut answer = vec![0; 64 * 1024];
    while !stop.load(Ordering::SeqCst) {
        if stream.write_all(message).await.is_err() {
            return;
        }
        match stream.read(&mut answer).await {
            Ok(read) if read > 0 => all.fetch_add(1, Ordering::SeqCst),
            _ => return,
        };
    }
}

/// A connection from an address of this machine, such as 127.1.2.3.
pub async fn connect(target: SocketAddr, source: IpAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::new(source, 0)).ok()?;
    let connected = timeout(Duration::from_secs(10), socket.connect(target)).await;
    connected.ok()?.ok()
}

/// The 250 addresses of the /24 of 127.`second`.`third`, without the first, which is everybody's.
pub fn neighbours(second: u8, third: u8) -> Vec<IpAddr> {
    (2..=251)
        .map(|last| IpAddr::from([127, second, third, last]))
        .collect()
}
