//! Notices that configuration or certificates in a folder have changed.
//!
//! Folders are watched and not files: a file that is replaced by renaming is another file, of which a watch on
//! the old one hears nothing more. What the kernel cannot tell (a file system on the network, a target behind
//! a link, a folder that was replaced) is found by a slow timer. So a signal means "look", not "it changed".

use std::{path::PathBuf, sync::Arc, time::Duration};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

/// When to signal.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long it must be quiet after a change, so that a change of several files is one.
    pub quiet: Duration,
    /// How often to signal without any change.
    pub slow: Duration,
}

impl Default for Timing {
    /// 250 ms, well above the gaps between the files of one `cp`; and five minutes.
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(250),
            slow: Duration::from_mins(5),
        }
    }
}

/// A change that never becomes quiet is signalled after this many quiet spans.
const PATIENCE: u32 = 20;

/// Watches `folders`; the number received rises whenever it is time to look. The watch ends when all receivers
/// are dropped. Must be called inside a tokio runtime. Where the kernel cannot watch, the reason is logged and
/// the slow timer remains.
pub fn folders(folders: Vec<PathBuf>, timing: Timing) -> watch::Receiver<u64> {
    let changed = Arc::new(Notify::new());
    let events = Arc::clone(&changed);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| matters(event.kind)) {
            events.notify_one();
        }
    });
    let mut watcher = watcher
        .inspect_err(
            |error| tracing::warn!(%error, "cannot watch for changed files; looking every {:?}", timing.slow),
        )
        .ok();
    // Before the task starts, so that no change after this function is missed.
    rewatch(watcher.as_mut(), &folders, true);
    let (looks, receiver) = watch::channel(0);
    tokio::spawn(async move {
        let mut ticks = interval_at(Instant::now() + timing.slow, timing.slow);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = looks.closed() => return,
                () = changed.notified() => settle(&changed, timing.quiet).await,
                _ = ticks.tick() => rewatch(watcher.as_mut(), &folders, false),
            }
            looks.send_modify(|count| *count += 1);
        }
    });
    receiver
}

/// Returns once nothing has changed for a while.
async fn settle(changed: &Notify, quiet: Duration) {
    for _ in 0..PATIENCE {
        if timeout(quiet, changed.notified()).await.is_err() {
            return;
        }
    }
}

/// Watches all folders; those that were replaced since are found again.
fn rewatch(watcher: Option<&mut RecommendedWatcher>, folders: &[PathBuf], first: bool) {
    let Some(watcher) = watcher else { return };
    for folder in folders {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
            && first
        {
            let folder = folder.display();
            tracing::warn!(%error, %folder, "cannot watch a folder for changes; it is looked at from time to time only");
        }
    }
}

/// Whether an event can mean new content. Opening and reading must not count: the reader would wake itself.
fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GENEROUS: Duration = Duration::from_secs(30);
    const QUICK: Timing = Timing {
        quiet: Duration::from_millis(20),
        slow: Duration::from_hours(1),
    };

    #[tokio::test]
    async fn a_file_that_is_replaced_again_and_again_is_noticed_each_time() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("tls.crt");
        let mut looks = folders(vec![folder.path().to_owned()], QUICK);
        for round in 0..3 {
            crate::file::write(&path, format!("certificate {round}").as_bytes(), 0o644, "test")
                .expect("written");
            timeout(GENEROUS, looks.changed())
                .await
                .expect("noticed")
                .expect("alive");
            looks.mark_unchanged();
            // Several signals for one replacement are allowed; none may be lost.
            while timeout(QUICK.quiet * 10, looks.changed()).await.is_ok() {}
        }
        assert!(*looks.borrow() >= 3);
    }

    #[tokio::test]
    async fn reading_is_not_a_change() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("tls.crt");
        fs::write(&path, "certificate").expect("written");
        let mut looks = folders(vec![folder.path().to_owned()], QUICK);
        assert_eq!(fs::read(&path).expect("read"), b"certificate");
        assert!(
            timeout(Duration::from_millis(300), looks.changed())
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_folder_that_comes_later_is_found_by_the_slow_timer() {
        let outer = tempfile::tempdir().expect("folder");
        let folder = outer.path().join("tls");
        let timing = Timing {
            slow: Duration::from_millis(30),
            ..QUICK
        };
        let mut looks = folders(vec![folder.clone()], timing);
        fs::create_dir(&folder).expect("made");
        timeout(GENEROUS, looks.changed())
            .await
            .expect("looked")
            .expect("alive");
        assert!(*looks.borrow() >= 1);
    }
}
