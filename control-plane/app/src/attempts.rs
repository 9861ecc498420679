//! A budget for guessing passwords and verification codes.
//!
//! Invariant: nobody learns of more than [`MOST_FAILURES`] wrong guesses in [`WINDOW_MS`], however many they make at
//! once: a guess counts before it is looked at, and is given back when it was right.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use muster_daemon::clock::Clock;
use tokio::sync::Notify;

use crate::Error;

/// Failures within [`WINDOW_MS`] after which a caller has to wait.
const MOST_FAILURES: u32 = 10;
/// How long failures are remembered.
const WINDOW_MS: i64 = 5 * 60 * 1000;
/// Different callers that failures are remembered of.
const MOST_CALLERS: usize = 10_000;

/// Recent failures by caller.
#[derive(Default)]
pub(crate) struct Attempts {
    counts: Mutex<HashMap<String, Count>>,
    /// Whenever a guess was looked at.
    looked_at: Notify,
}

#[derive(Default)]
struct Count {
    since: i64,
    failures: u32,
    /// Guesses that are being looked at.
    open: u32,
}

impl Count {
    fn failures(&self, now: i64) -> u32 {
        if now - self.since < WINDOW_MS {
            self.failures
        } else {
            0
        }
    }
}

/// A guess that is being looked at. Dropped, it counts as a failure.
pub(crate) struct Attempt<'a> {
    attempts: &'a Attempts,
    caller: String,
    clock: &'a Clock,
    right: bool,
}

impl Attempt<'_> {
    /// It was right, or was no guess at all.
    pub(crate) fn right(mut self) {
        self.right = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.right {
            self.attempts.failed(&self.caller, self.clock.unix_ms());
        }
        let mut counts = self
            .attempts
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.caller) {
            count.open = count.open.saturating_sub(1);
            if count.open == 0 && count.failures == 0 {
                counts.remove(&self.caller);
            }
        }
        drop(counts);
        self.attempts.looked_at.notify_waiters();
    }
}

impl Attempts {
    /// Begins a guess of `caller`, who waits while as many of theirs are being looked at as they have left, and is
    /// refused when they have failed too often lately.
    pub(crate) async fn begin<'a>(
        &'a self,
        caller: &impl ToString,
        clock: &'a Clock,
    ) -> Result<Attempt<'a>, Error> {
        let caller = caller.to_string();
        loop {
            let mut looked_at = std::pin::pin!(self.looked_at.notified());
            looked_at.as_mut().enable();
            let now = clock.unix_ms();
            self.check(&caller, now)?;
            if self.open(&caller, now) {
                return Ok(Attempt {
                    attempts: self,
                    caller,
                    clock,
                    right: false,
                });
            }
            looked_at.await;
        }
    }

    fn open(&self, caller: &str, now: i64) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(caller.to_owned()).or_default();
        let free = count.failures(now) + count.open < MOST_FAILURES;
        count.open += u32::from(free);
        free
    }

    /// Refuses a caller who has failed too often lately.
    pub(crate) fn check(&self, caller: &impl ToString, now: i64) -> Result<(), Error> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get(&caller.to_string()) {
            Some(count) if count.failures(now) >= MOST_FAILURES => Err(Error::TooMany {
                detail: "too many failures; wait five minutes and try again".to_owned(),
                retry_after: 300,
            }),
            _ => Ok(()),
        }
    }

    /// Remembers a failure.
    pub(crate) fn failed(&self, caller: &impl ToString, now: i64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST_CALLERS {
            counts.retain(|_, count| count.open > 0 || now - count.since < WINDOW_MS);
        }
        let caller = caller.to_string();
        // Giving up the oldest costs whoever fills this as many failures; not counting would cost them nothing more.
        let idle = counts.iter().filter(|(_, count)| count.open == 0);
        if counts.len() >= MOST_CALLERS
            && !counts.contains_key(&caller)
            && let Some(oldest) = idle.min_by_key(|(_, count)| count.since)
        {
            let oldest = oldest.0.clone();
            counts.remove(&oldest);
        }
        let count = counts.entry(caller).or_default();
        if count.failures == 0 || now - count.since >= WINDOW_MS {
            (count.since, count.failures) = (now, 0);
        }
        count.failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_many_others_do_not_buy_more_guesses() {
        let attempts = Attempts::default();
        for n in 0..MOST_CALLERS {
            attempts.failed(&n, 0);
        }
        for _ in 0..MOST_FAILURES {
            attempts.failed(&"ann", 1);
        }
        assert!(attempts.check(&"ann", 2).is_err());
        assert!(attempts.counts.lock().expect("counts").len() <= MOST_CALLERS);
    }

    #[test]
    fn ten_failures_cost_five_minutes() {
        let attempts = Attempts::default();
        for n in 0..10 {
            assert!(attempts.check(&"ann", n).is_ok());
            attempts.failed(&"ann", n);
        }
        assert!(attempts.check(&"ann", 10).is_err());
        assert!(attempts.check(&"bob", 10).is_ok());
        assert!(attempts.check(&"ann", WINDOW_MS).is_ok());
    }

    #[tokio::test]
    async fn guesses_that_come_all_at_once_count_before_they_are_looked_at() {
        let (attempts, clock) = (Attempts::default(), Clock::system());
        let guess = async |right: bool| {
            let attempt = attempts.begin(&"ann", &clock).await.ok()?;
            tokio::task::yield_now().await;
            if right {
                attempt.right();
            }
            Some(())
        };
        let good: Vec<_> = (0..50).map(|_| guess(true)).collect();
        assert!(
            join_all(good).await.iter().all(Option::is_some),
            "right guesses only wait for each other"
        );
        assert!(attempts.counts.lock().expect("counts").is_empty());
        let wrong: Vec<_> = (0..50).map(|_| guess(false)).collect();
        assert_eq!(join_all(wrong).await.iter().flatten().count(), 10);
    }

    /// All of them, in one task and all at once.
    async fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
        let mut futures: Vec<_> = futures
            .into_iter()
            .map(|future| (Box::pin(future), None))
            .collect();
        std::future::poll_fn(move |context| {
            for (future, done) in &mut futures {
                if done.is_none()
                    && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
                {
                    *done = Some(value);
                }
            }
            if futures.iter().all(|(_, done)| done.is_some()) {
                return std::task::Poll::Ready(
                    futures.iter_mut().filter_map(|(_, done)| done.take()).collect(),
                );
            }
            std::task::Poll::Pending
        })
        .await
    }
}
