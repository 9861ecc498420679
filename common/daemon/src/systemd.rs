//! What a service tells systemd. Without `NOTIFY_SOCKET` in the environment nothing is told to anybody.

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The service serves; `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// What the service does now.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(&one_line(status))]);
}

/// The service has begun to stop.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds systemd's watchdog until `stop`, three times in each of its intervals, so that a runtime that no
/// longer runs tasks is noticed. Returns at once where the unit has no `WatchdogSec=`.
pub async fn feed_watchdog(stop: CancellationToken) {
    let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero()) else {
        return;
    };
    let mut ticks = tokio::time::interval(interval / 3);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        tell(&[NotifyState::Watchdog]);
    }
}

/// A manager that cannot be told is no reason to stop serving.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell systemd how this service is; check NOTIFY_SOCKET");
    }
}

/// A line end would begin another message of the protocol.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixDatagram, process::Command, time::Duration};

    use super::*;

    #[test]
    fn systemd_hears_that_a_service_is_ready_alive_and_stopping() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("socket");
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("time-out");
        #[expect(
            clippy::disallowed_methods,
            reason = "a test starts itself with another environment"
        )]
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "systemd::tests::the_service", "--quiet"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "30000")
            .env("MUSTER_TEST_SERVICE", "1")
            .spawn()
            .expect("started");
        let hear = || {
            let mut buffer = [0; 256];
            let length = socket.recv(&mut buffer).expect("a message");
            String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
        };
        assert_eq!(hear(), "READY=1\nSTATUS=serving READY=0");
        assert_eq!([hear(), hear(), hear()], ["WATCHDOG=1"; 3]);
        assert!(child.wait().expect("ended").success());
        let rest: Vec<String> = std::iter::repeat_with(hear)
            .take_while(|message| message != "STOPPING=1")
            .collect();
        assert!(rest.iter().all(|message| message == "WATCHDOG=1"), "{rest:?}");
    }

    #[tokio::test]
    async fn the_service() {
        if std::env::var_os("MUSTER_TEST_SERVICE").is_none() {
            return;
        }
        ready("serving\nREADY=0");
        let stop = CancellationToken::new();
        let fed = tokio::time::timeout(Duration::from_millis(100), feed_watchdog(stop.clone())).await;
        assert!(fed.is_err(), "it feeds until it is told to stop");
        stopping();
    }
}
