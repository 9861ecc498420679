//! What a payload sends, whatever it is, harms its own run at the most.

use std::{io::Write as _, path::Path, sync::Arc};

use muster_sandbox::protocol::Mode;
use proptest::prelude::*;
use tokio::net::{UnixStream, unix::pipe};

use super::*;
use crate::{Cure, EngineKind, Format, OutputSpec, Shape, live::Live};

/// Kept of what a run prints here, in bytes.
const PRINTED: usize = 512;

/// All that a payload has: what it sends on its control socket, and what it prints.
#[derive(Debug, Clone)]
struct Payload {
    control: Vec<u8>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// A frame as a payload may write it, its length true or not.
fn frame_of(body: Vec<u8>, lie: Option<u32>) -> Vec<u8> {
    let length = lie.unwrap_or_else(|| u32::try_from(body.len()).expect("short"));
    [length.to_be_bytes().to_vec(), body].concat()
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![
        Just("succeeded".to_owned()),
        Just("script_error".to_owned()),
        Just("restricted_call".to_owned()),
        ".*"
    ];
    let finished = (words, ".*").prop_map(|(ending, message)| {
        serde_json::json!({ "report": "finished", "ending": ending, "message": message })
            .to_string()
            .into_bytes()
    });
    let body = prop_oneof![
        3 => Just(br#"{"report":"locked"}"#.to_vec()),
        3 => finished,
        2 => Just(br#"{"report":"overstep","what":"Native[file], line 1"}"#.to_vec()),
        2 => prop::collection::vec(any::<u8>(), 0..64),
        1 => Just(br#"{"event":"ended","exit":{"code":0},"cpu_ms":0,"peak_bytes":0}"#.to_vec()),
        1 => (0_usize..300).prop_map(|deep| vec![b'['; deep]),
    ];
    let lie = prop_oneof![9 => Just(None), 1 => any::<u32>().prop_map(Some)];
    let frame = (body, lie).prop_map(|(body, lie)| frame_of(body, lie));
    prop::collection::vec(frame, 0..80).prop_map(|frames| frames.concat())
}

fn payloads() -> impl Strategy<Value = Payload> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..2 * PRINTED);
    let control = prop_oneof![3 => frames(), 1 => prop::collection::vec(any::<u8>(), 0..400)];
    (control, bytes(), bytes()).prop_map(|(control, stdout, stderr)| Payload {
        control,
        stdout,
        stderr,
    })
}

fn order(folder: &Path) -> RunOrder {
    RunOrder {
        engine: EngineKind::R,
        mode: Mode::Restricted,
        policy: Arc::default(),
        script: "x <- 1".to_owned(),
        inputs: Vec::new(),
        outputs: vec![OutputSpec {
            name: "x".to_owned(),
            kind: Shape::Value,
            format: Format::Json,
        }],
        trace: true,
        limits: crate::default_limits(),
        session: None,
        folder: folder.to_owned(),
        live: Live::default(),
    }
}

/// One run whose payload sends this, and whose process 1 says that.
fn executed(payload: &Payload, supervisor: &[u8]) -> RunEnding {
    let folder = tempfile::tempdir().expect("folder");
    let (control, mut theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let (events, mut teller) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let (stdout, mut out) = io::pipe().expect("a pipe");
    let (stderr, mut err) = io::pipe().expect("a pipe");
    // All of it is less than the kernel keeps for a socket or a pipe, so nobody waits.
    theirs.write_all(&payload.control).expect("sent");
    teller.write_all(supervisor).expect("sent");
    out.write_all(&payload.stdout).expect("printed");
    err.write_all(&payload.stderr).expect("printed");
    drop((out, err, teller));
    // What it is told it does not read; the end of its life is the end of the socket.
    theirs.shutdown(std::net::Shutdown::Write).expect("shut");
    for socket in [&control, &events] {
        socket.set_nonblocking(true).expect("set");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ending = runtime.expect("a runtime").block_on(async {
        let sockets = RunSockets {
            control: UnixStream::from_std(control).expect("a socket"),
            supervisor: UnixStream::from_std(events).expect("a socket"),
            stdout: pipe::Receiver::from_owned_fd(stdout.into()).expect("a pipe"),
            stderr: pipe::Receiver::from_owned_fd(stderr.into()).expect("a pipe"),
            locked: false,
            used_ms: None,
        };
        let order = order(folder.path());
        execute(
            &order,
            order.limits,
            PRINTED,
            sockets,
            false,
            &CancellationToken::new(),
        )
        .await
        .map(|(ending, _)| ending)
    });
    drop(theirs);
    ending.unwrap_or_else(|NeverBegan| RunEnding::refused(Mode::Restricted, "it never began"))
}

fn said(events: &[Supervised]) -> Vec<u8> {
    let body = |event| serde_json::to_vec(event).expect("JSON");
    events
        .iter()
        .flat_map(|event| frame_of(body(event), None))
        .collect()
}

fn ended(exit: Exit) -> Vec<u8> {
    said(&[
        Supervised::Started,
        Supervised::Begun,
        Supervised::Ended {
            exit,
            cpu_ms: 7,
            peak_bytes: 8,
        },
        Supervised::NoOutput {
            index: 0,
            why: "missing".to_owned(),
        },
        Supervised::Done,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_a_payload_sends_its_supervisor_says_how_it_ended(payload in payloads(), code in 0..3_i32, which in 0..6) {
        let exit = match which {
            0 => Exit::Signal(9),
            1 => Exit::TimedOut,
            2 => Exit::OutOfMemory,
            3 => Exit::Finished,
            _ => Exit::Code(code),
        };
        let ending = executed(&payload, &ended(exit));
        match (exit, &ending.outcome) {
            // A run may accuse itself, and of nothing better.
            (_, Outcome::RestrictedCall { .. })
            | (Exit::Signal(_), Outcome::Signalled { signal: 9 })
            | (Exit::TimedOut, Outcome::TimedOut)
            | (Exit::OutOfMemory, Outcome::OutOfMemory)
            // Its output did not come, so it never succeeded.
            | (
                Exit::Code(_) | Exit::Finished,
                Outcome::JailRefused { .. } | Outcome::ScriptError { .. } | Outcome::Exited { .. },
            ) => {}
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert_eq!((ending.cpu_ms, ending.peak_bytes), (7, 8));
        prop_assert!(ending.outputs.is_empty() && ending.schema.is_none());
        for (printed, sent) in [(&ending.stdout, &payload.stdout), (&ending.stderr, &payload.stderr)] {
            prop_assert_eq!(&printed.bytes[..], &sent[..sent.len().min(PRINTED)]);
            prop_assert_eq!((printed.total, printed.truncated), (sent.len() as u64, sent.len() > PRINTED));
        }
        let words = ending.in_words(Cure::Expression);
        prop_assert!(words.len() < 3 * LONGEST_MESSAGE);
        prop_assert!(!words.chars().any(|one| one.is_control() && one != '\n' && one != '\t'), "{words:?}");
    }

    #[test]
    fn a_supervisor_that_says_nothing_sensible_ends_the_run_without_a_result(
        payload in payloads(),
        supervisor in prop_oneof![frames(), prop::collection::vec(any::<u8>(), 0..200)],
    ) {
        let ending = executed(&payload, &supervisor);
        prop_assert!(ending.outcome != Outcome::Succeeded && ending.outputs.is_empty());
    }
}
