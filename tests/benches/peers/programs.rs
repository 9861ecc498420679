//! Where cargo put what is measured.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The programs of one build.
pub(crate) struct Programs {
    /// `target/release`.
    built: PathBuf,
}

impl Programs {
    /// Cargo puts this program into the folder `deps` beside the others.
    pub(crate) fn beside_this_one() -> anyhow::Result<Self> {
        let this = std::env::current_exe().context("find this program")?;
        let built = this
            .ancestors()
            .nth(2)
            .context("this program is not where cargo builds")?
            .to_owned();
        Ok(Self { built })
    }

    pub(crate) fn server(&self) -> anyhow::Result<PathBuf> {
        self.packaged("dist/muster-server")
    }

    pub(crate) fn node(&self) -> anyhow::Result<PathBuf> {
        self.packaged("node/muster-node")
    }

    /// A program as it is in its package.
    fn packaged(&self, name: &str) -> anyhow::Result<PathBuf> {
        let packaged = self.target().join(name);
        ensure!(
            packaged.is_file(),
            "{} is missing; build it as tests/benches/run.sh does",
            packaged.display()
        );
        Ok(packaged)
    }

    pub(crate) fn jail(&self) -> anyhow::Result<PathBuf> {
        self.program("muster-jail")
    }

    pub(crate) fn lock_library(&self) -> anyhow::Result<PathBuf> {
        self.program("libmuster_lock.so")
    }

    /// The Python engine's environment, made by run.sh.
    pub(crate) fn python(&self) -> PathBuf {
        self.target().join("engines/python")
    }

    /// Where the results go.
    pub(crate) fn summary(&self) -> PathBuf {
        self.folder().join("summary.json")
    }

    /// A folder for what benchmarks leave behind.
    pub(crate) fn folder(&self) -> PathBuf {
        self.target().join("bench")
    }

    fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.built.join(name);
        ensure!(
            path.is_file(),
            "{} is missing; build it as tests/benches/run.sh does",
            path.display()
        );
        Ok(path)
    }

    fn target(&self) -> &Path {
        self.built.parent().unwrap_or(Path::new("/"))
    }
}
