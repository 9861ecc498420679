//! Packages of functions and of pools: from a locked list on the command line to the result of a run.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::Request;
use muster_ids::Digest;
use muster_tests::{CommandLine, Person, RealNode, Server, folder, program, unique};
use muster_wire::{
    admin::v1::{function::Function, run::Run},
    node::v1::outcome::{Receipt, Statement},
};
use serde_json::json;

use crate::real_node::{ended, restricted_call, value};

/// Makes a wheel of one module.
const WHEEL: &str = r#"
import sys, zipfile
folder, name, content = sys.argv[1:]
info = f"{name}-1.0.dist-info"
files = {f"{name}.py": content, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
         f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
with zipfile.ZipFile(f"{folder}/{name}-1.0-py3-none-any.whl", "w") as wheel:
    for path, text in files.items():
        wheel.writestr(path, text)
    wheel.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))
"#;

#[expect(
    clippy::disallowed_methods,
    reason = "a test makes packages as their authors do"
)]
fn said(program: &Path, arguments: &[&str]) {
    let done = std::process::Command::new(program).args(arguments).output();
    let done = done.expect("started");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A wheel in the folder; gives the line that locks it.
fn wheel(folder: &Path, name: &str, content: &str) -> String {
    let jail = program("muster-jail");
    let target = jail.ancestors().nth(2).expect("target");
    let python = target.join("engines/python/bin/python");
    said(
        &python,
        &["-I", "-c", WHEEL, &folder.to_string_lossy(), name, content],
    );
    let file = folder.join(format!("{name}-1.0-py3-none-any.whl"));
    let digest = Digest::of(&fs::read(file).expect("a wheel"));
    format!("{name}==1.0 --hash={digest}")
}

/// A source package of R in the folder; gives the line that locks it.
fn r_package(source: &Path, name: &str, code: &str) -> String {
    let work = folder("r-package");
    let package = work.join(name);
    fs::create_dir_all(package.join("R")).expect("made");
    let description =
        format!("Package: {name}\nVersion: 1.0\nTitle: A Test\nLicense: none\nDescription: Test.\n");
    for (path, text) in [
        ("DESCRIPTION", description.as_str()),
        ("NAMESPACE", "exportPattern(\".\")\n"),
        ("R/code.R", code),
    ] {
        fs::write(package.join(path), text).expect("written");
    }
    let file = source.join(format!("{name}_1.0.tar.gz"));
    let (file_text, work) = (file.to_string_lossy(), work.to_string_lossy());
    said(
        Path::new("/usr/bin/tar"),
        &["-czf", &file_text, "-C", &work, name],
    );
    format!("{name} 1.0 {}", Digest::of(&fs::read(&file).expect("a package")))
}

/// The statement of the receipt of a run.
async fn statement(person: &Person, run: &Run) -> Statement {
    let path = format!("/api/v1/runs/{}/receipt", run.id);
    let receipt: Receipt = person
        .send(Request::get(path))
        .await
        .expect("a receipt")
        .json()
        .expect("JSON");
    let payload = receipt.receipt["payload"].as_str().expect("a payload");
    serde_json::from_slice(&STANDARD.decode(payload).expect("base64")).expect("a statement")
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_come_from_a_locked_list_to_the_result_and_nothing_else_does() {
    let server = Server::shared();
    let pool = server.pool().await;
    let (admin, author, analyst) = (
        server.admin().await,
        server.author().await,
        server.analyst().await,
    );
    let source = folder("packages");
    let node = RealNode::folder(server, &pool, server.root());
    let sources = format!("[packages]\nsources = [\"{}\"]\n[engines]\n", source.display());
    node.configure("[engines]\n", &sources);
    node.join(server, &[]).await;
    node.run(&[]);
    node.connected(server).await;
    let scope = format!("pool:{pool}");
    admin
        .set("restricted_engines", &scope, "python_service,r_service")
        .await;
    let request = json!({ "pool": pool });

    // A function of the library, as an author at a terminal registers it.
    let own = wheel(&source, "muster_own", "answer = 42\n");
    let work = folder("function");
    let name = unique("f");
    let script = format!("import muster_own\ny = muster_own.answer # {name}\n");
    fs::write(work.join("lock.txt"), own.replace(" --hash", " \\\n    --hash")).expect("written");
    fs::write(work.join("f.py"), script).expect("written");
    let definition = format!(
        "name = \"{name}\"\nlanguage = \"python\"\nscript_file = \"f.py\"\npackages_file = \"lock.txt\"\n\
         [[outputs]]\nname = \"y\"\nkind = \"value\"\n"
    );
    let file = work.join("f.toml");
    fs::write(&file, definition).expect("written");
    let muster = CommandLine::log_in(server);
    let file = file.to_string_lossy();
    let (exit, registered, complained) = muster.run(&["function", "register", &file, "--output", "json"]);
    assert_eq!(exit, Some(0), "{complained}");
    let function: Function = serde_json::from_str(&registered).expect("a function");
    assert_eq!(function.definition.packages, [own.replace('_', "-")]);

    // Without trust it runs restricted, without its packages, and nothing is built.
    let run = ended(&analyst, &analyst.run(&function, &request).await).await;
    restricted_call(&run, "import muster_own");
    assert!(!node.state_dir().join("packages/sets").exists());
    author.trust(&function).await;
    let mut sets = Vec::new();
    for _ in 0..2 {
        let run = ended(&analyst, &analyst.run(&function, &request).await).await;
        assert_eq!(run.state, "succeeded", "{:?}", run.ending);
        assert_eq!(value(&analyst, run.id, "y").await, 42);
        let set = run
            .ending
            .as_ref()
            .and_then(|ending| ending.packages)
            .expect("its set");
        assert_eq!(statement(&analyst, &run).await.predicate.packages, Some(set));
        let (exit, shown, _) = muster.run(&["run", "show", &run.id.to_string()]);
        assert!(exit == Some(0) && shown.contains(&set.to_string()), "{shown}");
        assert!(
            node.state_dir()
                .join("packages/sets")
                .join(set.hex())
                .join("muster_own.py")
                .is_file()
        );
        sets.push(set);
    }
    assert_eq!(sets[0], sets[1]);

    // What a pool has belongs to the engine there: untrusted functions have it, too.
    let ours = r_package(&source, "musterPool", "answer <- function() 43\n");
    let list = work.join("pool.txt");
    fs::write(&list, format!("# of the pool\n{ours}\n")).expect("written");
    let value_of = format!("@{}", list.display());
    let (exit, _, complained) = muster.run(&["setting", "set", "packages.r", &value_of, "--scope", &scope]);
    assert_eq!(exit, Some(0), "{complained}");
    for language in ["r", "terr"] {
        let script = format!("library(musterPool); y <- answer() # {}", unique("s"));
        let definition = json!({
            "name": unique("f"), "language": language, "script": script, "outputs": [{ "name": "y", "kind": "value" }],
        });
        let function = author.register_definition(&definition).await;
        let run = ended(&analyst, &analyst.run(&function, &request).await).await;
        assert_eq!(
            (run.state.as_str(), run.mode.as_deref()),
            ("succeeded", Some("restricted")),
            "{:?}",
            run.ending
        );
        assert_eq!(value(&analyst, run.id, "y").await, 43);
    }
    admin.unset("packages.r", &scope).await;

    // The other way round: Python's for the pool, R's for a function.
    let shared = wheel(&source, "muster_shared", "answer = 44\n");
    admin.set("packages.python", &scope, &shared).await;
    let script = format!("import muster_shared\ny = muster_shared.answer # {}", unique("s"));
    let outputs = json!([{ "name": "y", "kind": "value" }]);
    let definition =
        json!({ "name": unique("f"), "language": "python", "script": script, "outputs": outputs });
    let function = author.register_definition(&definition).await;
    let run = ended(&analyst, &analyst.run(&function, &request).await).await;
    assert_eq!(run.mode.as_deref(), Some("restricted"), "{:?}", run.ending);
    assert_eq!(value(&analyst, run.id, "y").await, 44);
    admin.unset("packages.python", &scope).await;
    let line = r_package(&source, "musterOwn", "answer <- function() 45\n");
    let script = format!("library(musterOwn); y <- answer() # {}", unique("s"));
    let definition = json!({
        "name": unique("f"), "language": "r", "script": script, "outputs": outputs, "packages": [line],
    });
    let function = author.register_definition(&definition).await;
    author.trust(&function).await;
    let run = ended(&analyst, &analyst.run(&function, &request).await).await;
    assert_eq!(run.mode.as_deref(), Some("unrestricted"), "{:?}", run.ending);
    assert_eq!(value(&analyst, run.id, "y").await, 45);

    // A file that is not what the list says, one that is not there, and a list that is not locked.
    let before = wheel(&source, "muster_changed", "answer = 1\n");
    wheel(&source, "muster_changed", "answer = 2\n");
    for (line, state, problem, words) in [
        (
            before.as_str(),
            "refused",
            "packages-changed",
            "is not what the list of packages says",
        ),
        (
            "muster_gone==1.0 --hash=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "failed",
            "packages-missing",
            "put it into one of them",
        ),
    ] {
        let definition = json!({
            "name": unique("f"), "language": "python", "script": format!("# {}", unique("s")), "packages": [line],
        });
        let function = author.register_definition(&definition).await;
        author.trust(&function).await;
        let run = ended(&analyst, &analyst.run(&function, &request).await).await;
        let ending = run.ending.expect("an ending");
        assert_eq!(
            (run.state.as_str(), ending.problem.as_deref()),
            (state, Some(problem)),
            "{}",
            ending.message
        );
        assert!(
            ending.message.contains(words) && ending.packages.is_none(),
            "{}",
            ending.message
        );
    }
    let open = work.join("open.txt");
    fs::write(&open, "numpy\n").expect("written");
    let (open, script) = (open.to_string_lossy(), work.join("f.py").display().to_string());
    let arguments = [
        "function",
        "register",
        "--name",
        &name,
        "--language",
        "python",
        "--script",
    ];
    let arguments = [&arguments[..], &[script.as_str(), "--packages", &open]].concat();
    let (exit, _, complained) = muster.run(&arguments);
    assert!(
        exit == Some(2) && complained.contains("open.txt: line 1 of the list of packages"),
        "{complained}"
    );
}
