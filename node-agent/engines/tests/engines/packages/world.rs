//! A node with a folder of packages, and how their authors make them.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use muster_engines::{PackageSet, PackageSets, PackagesConfig, PackagesError, Wanted};
use muster_ids::{Digest, PackageLanguage, PackageList};
use tokio_util::sync::CancellationToken;

use super::super::bench::{Node, *};

/// Makes a wheel: name, version, tag, then path and content of each file.
const WHEEL: &str = r#"
import base64, hashlib, sys, zipfile
folder, name, version, tag, *files = sys.argv[1:]
info = f"{name}-{version}.dist-info"
content = dict(zip(files[::2], files[1::2])) | {
    f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n"}
record = f"{info}/RECORD"
def line(path):
    digest = base64.urlsafe_b64encode(hashlib.sha256(content[path].encode()).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content[path].encode())}\n"
with zipfile.ZipFile(f"{folder}/{name}-{version}-{tag}.whl", "w") as wheel:
    for path in content:
        wheel.writestr(path, content[path])
    wheel.writestr(record, "".join(map(line, content)) + f"{record},,\n")
"#;

/// Makes the wheel again of which an installed distribution came, compiled code and all.
pub(super) const AGAIN: &str = r#"
import base64, importlib.metadata, hashlib, os, sys, zipfile
folder, name = sys.argv[1:]
of = importlib.metadata.distribution(name)
info = next(path for path in of.files if path.name == "WHEEL").parent
tags = [line.split(": ")[1] for line in of.read_text("WHEEL").splitlines() if line.startswith("Tag: ")]
noise = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json")
paths = [p for p in of.files if p.parts[0] != ".." and "__pycache__" not in p.parts and not (p.parent == info and p.name in noise)]
file = f"{info.name.removesuffix('.dist-info')}-{tags[0]}.whl"
with zipfile.ZipFile(os.path.join(folder, file), "w", zipfile.ZIP_DEFLATED) as wheel:
    lines = []
    for path in paths:
        content = path.locate().read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}\n")
        wheel.writestr(str(path), content)
    wheel.writestr(f"{info}/RECORD", "".join(lines) + f"{info}/RECORD,,\n")
print(file, of.version)
"#;

/// A node with a folder of packages, and two places for sets.
pub(super) struct World {
    pub(super) node: Node,
    place: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        fs::create_dir(place.path().join("source")).expect("made");
        open_to_all(place.path(), place.path());
        Self {
            node: Node::new(|config| {
                for service in [
                    &mut config.services.r,
                    &mut config.services.python,
                    &mut config.services.terr,
                ] {
                    service.queue = 0;
                }
            }),
            place,
        }
    }

    pub(super) fn source(&self) -> PathBuf {
        self.place.path().join("source")
    }

    pub(super) fn config(&self, folder: &str) -> PackagesConfig {
        PackagesConfig {
            folder: self.place.path().join(folder),
            sources: vec![self.source()],
            indexes: Vec::new(),
            index_hosts: BTreeSet::new(),
            sets: 4,
            total_bytes: 256 << 20,
            set_bytes: 64 << 20,
            patience: Duration::from_mins(5),
        }
    }

    pub(super) fn python(&self, script: &str, arguments: &[&str]) -> String {
        let python = self.node.engines.config().python.join("bin/python");
        said(&python, &[&["-I", "-c", script], arguments].concat())
    }

    /// Makes a wheel; gives the line that locks it.
    pub(super) fn wheel(&self, name: &str, version: &str, tag: &str, files: &[(&str, &str)]) -> String {
        let source = self.source().display().to_string();
        let mut arguments = vec![source.as_str(), name, version, tag];
        arguments.extend(files.iter().flat_map(|(path, content)| [*path, *content]));
        self.python(WHEEL, &arguments);
        let file = self.source().join(format!("{name}-{version}-{tag}.whl"));
        format!("{name}=={version} --hash={}", digest(&file))
    }

    /// Makes a source package of R; gives the line that locks it.
    pub(super) fn r_package(&self, name: &str, fields: &str, files: &[(&str, &str)]) -> String {
        let work = tempfile::tempdir().expect("a folder");
        let description = format!(
            "Package: {name}\nVersion: 1.2\nTitle: A Test\nLicense: none\nDescription: Tests.\n{fields}"
        );
        for (path, content) in files.iter().chain(&[("DESCRIPTION", description.as_str())]) {
            let path = work.path().join(name).join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, content).expect("written");
        }
        let file = self.source().join(format!("{name}_1.2.tar.gz"));
        let (file_text, folder) = (file.display().to_string(), work.path().display().to_string());
        said(
            Path::new("/usr/bin/tar"),
            &["-czf", &file_text, "-C", &folder, name],
        );
        format!("{name} 1.2 {}", digest(&file))
    }

    pub(super) fn build(
        &self,
        sets: &PackageSets,
        folder: &str,
        language: PackageLanguage,
        lines: &[String],
    ) -> Result<PackageSet, PackagesError> {
        self.build_with(sets, &self.config(folder), language, lines)
    }

    pub(super) fn build_with(
        &self,
        sets: &PackageSets,
        config: &PackagesConfig,
        language: PackageLanguage,
        lines: &[String],
    ) -> Result<PackageSet, PackagesError> {
        let list = PackageList::of_lines(language, lines.iter().map(String::as_str)).expect("locked");
        let version = match language {
            PackageLanguage::Python => "3.11",
            PackageLanguage::R => "4.2",
        };
        let wanted = Wanted { list: &list, version };
        let engines = &self.node.engines;
        let forget = |set: &Path| engines.forget(set);
        let cancel = CancellationToken::new();
        RUNTIME.block_on(sets.build(config, engines, &wanted, forget, &cancel))
    }

    /// Builds it in two places and expects the same.
    pub(super) fn twice(&self, language: PackageLanguage, lines: &[String]) -> PackageSet {
        let sets = PackageSets::default();
        let one = self.build(&sets, "one", language, lines).expect("built");
        let reversed: Vec<String> = lines.iter().rev().cloned().collect();
        let other = self.build(&sets, "other", language, &reversed).expect("built");
        assert_ne!(one.folder, other.folder);
        let (one_text, other_text) = (
            one.folder.display().to_string(),
            other.folder.display().to_string(),
        );
        let differ = done(
            Path::new("/usr/bin/diff"),
            &["-r", "--brief", &one_text, &other_text],
        );
        let differ = String::from_utf8_lossy(&differ.stdout).into_owned();
        assert_eq!(one.digest, other.digest, "{differ}");
        one
    }
}

/// An index of Python packages on this machine: folders with the names of packages, and wheels in them.
pub(super) struct Index {
    server: Child,
    pub(super) port: u16,
    pub(super) folder: tempfile::TempDir,
}

impl Index {
    pub(super) fn new(world: &World) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("simple")).expect("made");
        let python = world.node.engines.config().python.join("bin/python");
        #[expect(clippy::disallowed_methods, reason = "a test starts an index")]
        let mut server = Command::new(python)
            .args([
                "-I",
                "-u",
                "-m",
                "http.server",
                "--bind",
                "127.0.0.1",
                "--directory",
            ])
            .arg(folder.path())
            .arg("0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a server");
        let said = BufReader::new(server.stdout.take().expect("a pipe"))
            .lines()
            .next();
        let said = said.expect("it listens").expect("text");
        let port = said
            .split(" port ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse().ok());
        Self {
            server,
            port: port.unwrap_or_else(|| panic!("{said}")),
            folder,
        }
    }

    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}/simple", self.port)
    }

    /// Moves a wheel of the world's folder here, under the name of its package.
    pub(super) fn take(&self, world: &World, package: &str, file: &str) {
        let place = self.folder.path().join("simple").join(package);
        fs::create_dir_all(&place).expect("made");
        fs::rename(world.source().join(file), place.join(file)).expect("moved");
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test makes packages as their authors do"
)]
pub(super) fn done(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect("started")
}

pub(in super::super) fn said(program: &Path, arguments: &[&str]) -> String {
    let done = done(program, arguments);
    let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{complaint}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

pub(super) fn digest(file: &Path) -> Digest {
    Digest::of(&fs::read(file).expect("a package"))
}
