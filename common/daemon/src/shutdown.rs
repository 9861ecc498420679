//! The signals by which a daemon is told to stop or to read its configuration again.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

/// What the signals of this process become.
#[derive(Debug, Clone)]
pub struct Signals {
    /// Cancelled by the first SIGTERM or SIGINT. The second ends the process at once with exit code 1.
    pub stop: CancellationToken,
    /// Counts SIGHUPs: `changed` waits for the next.
    pub reload: watch::Receiver<u64>,
}

/// Begins to listen for SIGTERM, SIGINT and SIGHUP, which then no longer end the process by themselves. Must be
/// called inside a tokio runtime.
pub fn listen() -> io::Result<Signals> {
    let signals = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    let stop = CancellationToken::new();
    let (reloads, reload) = watch::channel(0);
    tokio::spawn(run(signals, stop.clone(), reloads));
    Ok(Signals { stop, reload })
}

async fn run(
    (mut terminate, mut interrupt, mut hangup): (Signal, Signal, Signal),
    stop: CancellationToken,
    reloads: watch::Sender<u64>,
) {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {
                reloads.send_modify(|count| *count += 1);
                continue;
            }
        }
        if stop.is_cancelled() {
            tracing::warn!("told to stop a second time; leaving at once");
            std::process::exit(1);
        }
        tracing::info!("told to stop; finishing what is begun (a second signal ends the program at once)");
        stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Child, Command, Stdio},
    };

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// Signals concern a whole process, so that the tests send them to one of their own.
    fn start_victim(name: &str) -> (Child, impl FnMut() -> String) {
        #[expect(clippy::disallowed_methods, reason = "a test starts itself as a victim")]
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "shutdown::tests::the_victim", "--nocapture", "--quiet"])
            .env("MUSTER_TEST_SIGNALS", name)
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let next = move || {
            lines
                .by_ref()
                .map(|line| line.expect("text"))
                .find(|line| line.starts_with("victim: "))
                .unwrap_or_default()
        };
        (child, next)
    }

    fn send(child: &Child, signal: Signal) {
        let id = Pid::from_raw(child.id().cast_signed()).expect("a process id");
        kill_process(id, signal).expect("sent");
    }

    #[test]
    fn a_reload_is_counted_and_the_first_signal_stops_gently() {
        let (mut child, mut next) = start_victim("gentle");
        assert_eq!(next(), "victim: ready");
        send(&child, Signal::HUP);
        assert_eq!(next(), "victim: reload 1");
        send(&child, Signal::TERM);
        assert_eq!(next(), "victim: stop");
        assert!(child.wait().expect("ended").success());
    }

    #[test]
    fn the_second_signal_ends_a_process_that_does_not_stop() {
        let (mut child, mut next) = start_victim("stubborn");
        assert_eq!(next(), "victim: ready");
        send(&child, Signal::INT);
        assert_eq!(next(), "victim: stop");
        send(&child, Signal::TERM);
        assert_eq!(child.wait().expect("ended").code(), Some(1));
    }

    #[tokio::test]
    async fn the_victim() {
        let Some(name) = std::env::var_os("MUSTER_TEST_SIGNALS") else {
            return;
        };
        let mut signals = listen().expect("listening");
        println!("victim: ready");
        loop {
            tokio::select! {
                _ = signals.reload.changed() => println!("victim: reload {}", *signals.reload.borrow_and_update()),
                () = signals.stop.cancelled() => break,
            }
        }
        println!("victim: stop");
        if name == "stubborn" {
            std::future::pending::<()>().await;
        }
        assert!(signals.stop.is_cancelled());
    }
}
