//! A real PostgreSQL for tests, from Debian's package: one server for the whole test process, a database for each
//! test.
//!
//! The server listens on a socket in a folder of its own, so it meets no other. A shell watches over it and ends it
//! when the pipe from this process closes, which happens however this process ends.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Where Debian 12 keeps the server's programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// A collation unlike C, so that nothing rests on the order of bytes by accident. Nothing is synced: the folder does
/// not outlive the process.
const SCRIPT: &str = r#"
set -eu
trap '' INT
dir=$(mktemp -d /tmp/muster-postgres.XXXXXX)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
initdb --auth=trust --no-sync --username=muster --encoding=UTF8 --locale=C.UTF-8 \
    --locale-provider=icu --icu-locale=en-US --pgdata="$dir/data" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
postgres -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off -c synchronous_commit=off \
    -c full_page_writes=off -c max_connections=300 >>"$dir/log" 2>&1 </dev/null &
server=$!
until pg_isready --quiet --host="$dir"; do
    kill -0 "$server" 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
    sleep 0.1
done
echo "$dir"
cat >/dev/null
kill -QUIT "$server"
wait "$server" || true
"#;

struct Server {
    folder: String,
    /// Its standard input is the pipe that keeps the server alive.
    _watch: Child,
}

static SERVER: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The address of a new, empty database.
pub(crate) fn database() -> String {
    let server = SERVER.get_or_init(start);
    let name = format!("test{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    run(
        "createdb",
        &["--host", &server.folder, "--username", "muster", &name],
    );
    format!("postgres://muster@localhost/{name}?host={}", server.folder)
}

/// The schema of a database as `pg_dump` writes it, without comments and settings.
#[allow(dead_code, reason = "for those who compare schemas")]
pub(crate) fn schema(url: &str) -> String {
    let noise = ["--", "SET ", "SELECT pg_catalog.", "\\"];
    let dump = run(
        "pg_dump",
        &[
            "--schema-only",
            "--no-owner",
            "--exclude-table=_sqlx_migrations",
            url,
        ],
    );
    let is_noise = |line: &str| line.is_empty() || noise.iter().any(|start| line.starts_with(start));
    dump.lines()
        .filter(|line| !is_noise(line))
        .collect::<Vec<_>>()
        .join("\n")
        + "\n"
}

/// Does `sql` behind the product's back.
#[allow(dead_code, reason = "for those who meddle")]
pub(crate) fn change(url: &str, sql: &str) {
    run(
        "psql",
        &["--quiet", "--set=ON_ERROR_STOP=1", "--command", sql, url],
    );
}

#[expect(clippy::disallowed_methods, reason = "tests start their own database")]
fn start() -> Server {
    assert!(
        Path::new(PROGRAMS).join("initdb").exists(),
        "these tests need PostgreSQL: apt-get install --yes postgresql-15"
    );
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    // initdb refuses to work as root.
    let mut command = Command::new(if is_root { "runuser" } else { "sh" });
    if is_root {
        command.args(["-u", "postgres", "--", "sh"]);
    }
    let mut watch = command
        .args(["-c", SCRIPT])
        .env("PATH", format!("{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin"))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell starts");
    let mut folder = String::new();
    let read = BufReader::new(watch.stdout.take().expect("stdout is piped")).read_line(&mut folder);
    if read.unwrap_or(0) == 0 {
        let mut said = String::new();
        let _ = watch
            .stderr
            .take()
            .expect("stderr is piped")
            .read_to_string(&mut said);
        panic!("PostgreSQL did not start: {said}");
    }
    Server {
        folder: folder.trim_end().to_owned(),
        _watch: watch,
    }
}

#[expect(clippy::disallowed_methods, reason = "tests use the database's own programs")]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(Path::new(PROGRAMS).join(program))
        .args(arguments)
        .output()
        .expect(program);
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
