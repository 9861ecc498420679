//! The threads that serve connections.
//!
//! Invariant: a connection and all that its requests start live on one thread. A heartbeat is read, answered and
//! written there in one go; with a scheduler that moves tasks between threads each of these steps woke another thread,
//! which cost more than the work (docs/reference/benchmarks.md, `server_cpu_5000_percent`).

use std::{
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, JoinHandle},
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// One thread a processor, each with a runtime of its own.
pub struct Workers {
    threads: Vec<(Handle, Option<JoinHandle<()>>)>,
    next: AtomicUsize,
    end: CancellationToken,
}

impl Workers {
    /// Starts them.
    pub fn start() -> std::io::Result<Self> {
        let end = CancellationToken::new();
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let one = |_| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (handle, end) = (runtime.handle().clone(), end.clone());
            let thread = thread::Builder::new()
                .name("connections".to_owned())
                .spawn(move || runtime.block_on(end.cancelled()))?;
            Ok((handle, Some(thread)))
        };
        let threads = (0..processors).map(one).collect::<std::io::Result<_>>()?;
        Ok(Self {
            threads,
            next: AtomicUsize::new(0),
            end,
        })
    }

    /// The one for the next connection.
    pub(super) fn next(&self) -> &Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.threads[turn % self.threads.len()].0
    }
}

impl Drop for Workers {
    /// What still runs is dropped with its runtime.
    fn drop(&mut self) {
        self.end.cancel();
        for (_, thread) in &mut self.threads {
            if let Some(thread) = thread.take()
                && thread.join().is_err()
            {
                tracing::error!("a thread of connections panicked");
            }
        }
    }
}
