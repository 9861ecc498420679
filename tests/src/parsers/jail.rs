//! What agent, launcher, process 1 of a run and payload say to each other.
//!
//! Two sides read frames, each with a reader of its own: they must understand the same.

use std::{collections::BTreeMap, fmt::Debug, fs, path::Path};

use muster_engines::frame as agents;
use muster_sandbox::{
    frame as jails, launcher,
    protocol::{
        Exit, FromLauncher, IdRange, JAILS_OWN, Limits, Mode, Mount, Network, Programs, Report, Stage,
        StagedFile, Start, Supervised, ToLauncher,
    },
    staged,
};
use serde::{Serialize, de::DeserializeOwned};

const LIMITS: Limits = Limits {
    memory_bytes: 1 << 30,
    processes: 64,
    open_files: 256,
    scratch_bytes: 1 << 26,
    cpu_seconds: 60,
    wall_ms: 60_000,
    output_bytes: 1 << 24,
};

/// What a launcher is asked for.
pub(super) fn request(bytes: &[u8]) {
    let Ok(message) = launcher::asked(bytes) else {
        return;
    };
    understood_again(&message);
    let ToLauncher::Start(start) = message else { return };
    let program = start.command.first();
    assert!(program.is_none_or(|program| program.starts_with('/')));
    if start.mode == Mode::Restricted {
        assert_eq!(start.network, Network::None);
        assert!(start.mounts.iter().all(|mount| !mount.writable));
    }
    for mount in &start.mounts {
        assert!(mount.source.is_absolute() && mount.target.is_absolute());
        assert!(!mount.target.components().any(|part| part.as_os_str() == ".."));
        assert!(!JAILS_OWN.iter().any(|ours| mount.target.starts_with(ours)));
        assert_ne!(mount.target, Path::new("/"));
    }
    if let Some(IdRange { first, count }) = start.ids {
        assert!(first >= 65_536 && count >= 2 && first.checked_add(count).is_some());
    }
}

pub(super) fn request_seeds() -> Vec<Vec<u8>> {
    let mount = |writable| Mount {
        source: "/var/data".into(),
        target: "/data".into(),
        writable,
        by_policy: writable,
    };
    let start = |mode, network, writable| {
        ToLauncher::Start(Start {
            command: vec!["/usr/bin/python3".to_owned(), "-I".to_owned()],
            environment: BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]),
            mode,
            network,
            programs: match mode {
                Mode::Restricted => Programs::None,
                Mode::Unrestricted => Programs::Listed(["/usr/bin/git".into()].into()),
            },
            mounts: vec![mount(writable)],
            ids: Some(IdRange {
                first: 2_000_000_000,
                count: 64,
            }),
            limits: LIMITS,
        })
    };
    json(&[
        start(Mode::Restricted, Network::None, false),
        start(Mode::Unrestricted, Network::Host, true),
        ToLauncher::Run {
            slot: Some(3),
            run: 7,
            limits: LIMITS,
        },
    ])
}

/// What a launcher answers, as the agent reads it.
pub(super) fn answer(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<FromLauncher>(bytes) {
        understood_again(&message);
    }
}

pub(super) fn answer_seeds() -> Vec<Vec<u8>> {
    let why = || "a reason".to_owned();
    json(&[
        FromLauncher::Ready {
            landlock_abi: 2,
            degraded: vec![why()],
            own_ids: true,
        },
        FromLauncher::Refused { why: why() },
        FromLauncher::Forked { run: 7 },
        FromLauncher::NotForked { run: 8, why: why() },
        FromLauncher::Over { run: 7 },
    ])
}

/// What a run's process 1 and its payload say, as both readers read it.
pub(super) fn report(bytes: &[u8]) {
    alike::<Report>(bytes);
    alike::<Supervised>(bytes);
    alike::<Vec<String>>(bytes);
}

pub(super) fn report_seeds() -> Vec<Vec<u8>> {
    let payload = [
        frame(&Report::Locked),
        frame(&Report::Finished {
            ending: "succeeded".to_owned(),
            message: "words".to_owned(),
        }),
    ];
    let supervisor = [
        frame(&Supervised::Started),
        frame(&Supervised::Begun),
        frame(&Supervised::Ended {
            exit: Exit::Code(0),
            cpu_ms: 1,
            peak_bytes: 2,
        }),
        frame(&Supervised::NoOutput {
            index: 1,
            why: "missing".to_owned(),
        }),
        frame(&Supervised::Output { index: 0, size: 0 }),
        frame(&Supervised::Done),
    ];
    let killed = frame(&Supervised::Ended {
        exit: Exit::Signal(9),
        cpu_ms: u64::MAX,
        peak_bytes: 0,
    });
    let finished = frame(&Supervised::Ended {
        exit: Exit::Finished,
        cpu_ms: 1,
        peak_bytes: 2,
    });
    let list = frame(&["out.csv", "outputs/1"]);
    vec![payload.concat(), supervisor.concat(), killed, finished, list]
}

/// What a payload is given, as it puts it into its folder.
pub(super) fn stage(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let scratch = folder.path().join("scratch");
    fs::create_dir(&scratch).expect("a folder");
    let outcome = staged(bytes, &scratch);
    let beside: Vec<_> = fs::read_dir(folder.path()).expect("a folder").flatten().collect();
    assert_eq!(beside.len(), 1, "nothing is written outside");
    let mut size = 0;
    look(&scratch, 0, &mut size);
    if let Ok(outputs) = outcome {
        assert!(scratch.join("run.json").is_file());
        // The frame, its files and nothing more.
        assert!(size <= bytes.len(), "{size} bytes from {}", bytes.len());
        for output in outputs {
            let parts: Vec<&str> = output.split('/').collect();
            assert!(
                parts.len() <= 2 && parts.iter().all(|part| !["", ".", ".."].contains(part)),
                "{output:?}"
            );
        }
    }
}

fn look(folder: &Path, depth: usize, size: &mut usize) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let kind = entry.file_type().expect("a type");
        assert!(
            kind.is_file() || (kind.is_dir() && depth == 0),
            "{}",
            entry.path().display()
        );
        if kind.is_dir() {
            look(&entry.path(), depth + 1, size);
        } else {
            *size += usize::try_from(entry.metadata().expect("metadata").len()).expect("small");
        }
    }
}

pub(super) fn stage_seeds() -> Vec<Vec<u8>> {
    let stage = |files: &[(&str, u64)]| Stage {
        files: files
            .iter()
            .map(|&(path, size)| StagedFile {
                path: path.to_owned(),
                size,
            })
            .collect(),
        outputs: vec!["outputs/0".to_owned(), "out.csv".to_owned()],
        limits: None,
        stays: false,
        run: serde_json::value::to_raw_value(&serde_json::json!({ "script": "x <- 1" })).expect("JSON"),
    };
    let with_files = [frame(&stage(&[("a.csv", 3), ("inputs/0", 2)])), b"abcde".to_vec()].concat();
    vec![frame(&stage(&[])), with_files]
}

/// What was understood is understood again when it is written down.
fn understood_again<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T) {
    let again = serde_json::to_vec(message).expect("JSON");
    assert_eq!(
        &serde_json::from_slice::<T>(&again).expect("its own JSON"),
        message
    );
}

/// Both readers find the same frames.
fn alike<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let mut rest = bytes;
    let mut found = Vec::new();
    while let Ok(Some(message)) = jails::read::<T>(&mut rest) {
        found.push(message);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let others = runtime.block_on(async {
        let (mut rest, mut found) = (bytes, Vec::new());
        while let Ok(Some(message)) = agents::read::<T>(&mut rest).await {
            found.push(message);
        }
        found
    });
    assert_eq!(found, others);
    for message in &found {
        assert_eq!(
            jails::read::<T>(frame(message).as_slice())
                .expect("its own frame")
                .as_ref(),
            Some(message)
        );
    }
}

fn frame(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    jails::write(&mut bytes, message).expect("a short message");
    bytes
}

fn json<T: Serialize>(messages: &[T]) -> Vec<Vec<u8>> {
    messages
        .iter()
        .map(|message| serde_json::to_vec(message).expect("JSON"))
        .collect()
}
