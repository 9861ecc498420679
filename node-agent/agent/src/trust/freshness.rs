//! How long the held trust state may be relied on.
//!
//! ```text
//!   challenge made ──(sent)──► beacon signed ──(on its way)──► answer: fresh until  made + min(ttl, max staleness)
//! ```
//!
//! Invariant: freshness counts from the moment when this node *asked*, on its boot clock. However long a beacon was
//! on its way, and whatever any wall clock says, nothing is fresh for longer than the bound after a question.

use std::{collections::VecDeque, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_code_trust::StateVersion;
use muster_wire::node::v1::beacon::Beacon;

/// Questions that may be open at once: with one every ten seconds, those of the last five minutes.
const MAX_OPEN: usize = 32;

/// A beacon that answers no open question: recorded, late beyond measure, or for another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it answers no question that this node has asked of late")]
pub struct UnknownChallenge;

/// A question, and what it takes to judge the answer.
#[derive(Debug)]
struct Question {
    challenge: String,
    made: Duration,
    /// What was known then: the answer cannot be older.
    known: Option<StateVersion>,
}

/// The freshness clock.
#[derive(Debug)]
pub struct Freshness {
    max_staleness: Duration,
    /// Open questions with the time when each was made, oldest first.
    open: VecDeque<Question>,
    until: Option<Duration>,
    /// A newer version that is current until then, once it is held.
    promised: Option<(StateVersion, Duration)>,
}

impl Freshness {
    /// Nothing is fresh yet.
    pub fn new(max_staleness: Duration) -> Self {
        Self {
            max_staleness,
            open: VecDeque::new(),
            until: None,
            promised: None,
        }
    }

    /// Lets later answers count for this long only.
    pub fn limit(&mut self, max_staleness: Duration) {
        self.max_staleness = max_staleness;
    }

    /// A new question made of `random` at `boot`, when the version `known` was.
    pub fn challenge(&mut self, random: [u8; 32], boot: Duration, known: Option<StateVersion>) -> String {
        let text = STANDARD.encode(random);
        if self.open.len() == MAX_OPEN {
            self.open.pop_front();
        }
        self.open.push_back(Question {
            challenge: text.clone(),
            made: boot,
            known,
        });
        text
    }

    /// Closes the question that `beacon` answers, with all before it, and says until when the beacon counts and which
    /// version was known when it was asked.
    pub fn answer(&mut self, beacon: &Beacon) -> Result<(Duration, Option<StateVersion>), UnknownChallenge> {
        let at = self
            .open
            .iter()
            .position(|question| question.challenge == beacon.challenge)
            .ok_or(UnknownChallenge)?;
        let Question { made, known, .. } = self.open.drain(..=at).next_back().ok_or(UnknownChallenge)?;
        let until = made + Duration::from_secs(beacon.time_to_live).min(self.max_staleness);
        Ok((until, known))
    }

    /// What is held is current until then.
    pub fn extend(&mut self, until: Duration) {
        self.until = self.until.max(Some(until));
    }

    /// `version`, which is not held yet, is current until then.
    pub fn promise(&mut self, version: StateVersion, until: Duration) {
        self.promised = Some((version, until));
    }

    /// `held` was installed: a promise that it, or something older, is current is kept now.
    pub fn settle(&mut self, held: &StateVersion) {
        if let Some((_, until)) = self
            .promised
            .take_if(|(promised, _)| held.supersedes(promised).is_ok())
        {
            self.extend(until);
        }
    }

    /// Whether what is held is current at `boot`.
    pub fn is_fresh(&self, boot: Duration) -> bool {
        self.until.is_some_and(|until| boot < until)
    }

    /// Until when, on the boot clock.
    pub fn until(&self) -> Option<Duration> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use muster_ids::{Digest, Incarnation};
    use proptest::prelude::*;

    use super::*;

    const BOUND: Duration = Duration::from_mins(15);

    fn version(number: u64) -> StateVersion {
        StateVersion {
            incarnation: Incarnation::new(1, [1; 10]),
            epoch: 1,
            number,
            digest: Digest::of(&number.to_be_bytes()),
            previous: Digest::of(&number.wrapping_sub(1).to_be_bytes()),
        }
    }

    fn beacon(challenge: &str, time_to_live: u64) -> Beacon {
        Beacon {
            version: crate::trust::wire_version(&version(1)),
            issued: 0,
            time_to_live,
            challenge: challenge.to_owned(),
        }
    }

    #[test]
    fn nothing_is_fresh_before_the_first_beacon() {
        let mut freshness = Freshness::new(BOUND);
        freshness.challenge([1; 32], Duration::ZERO, None);
        assert!(!freshness.is_fresh(Duration::ZERO));
    }

    #[test]
    fn freshness_counts_from_the_question_and_not_from_the_answer() {
        let mut freshness = Freshness::new(BOUND);
        let challenge = freshness.challenge([1; 32], Duration::from_secs(100), None);
        let until = freshness.answer(&beacon(&challenge, 60)).expect("asked").0;
        freshness.extend(until);
        assert_eq!(until, Duration::from_secs(160));
        assert!(freshness.is_fresh(Duration::from_secs(159)) && !freshness.is_fresh(until));
    }

    #[test]
    fn the_nodes_own_bound_holds_against_a_longer_time_to_live() {
        let mut freshness = Freshness::new(BOUND);
        let challenge = freshness.challenge([1; 32], Duration::ZERO, None);
        assert_eq!(freshness.answer(&beacon(&challenge, u64::MAX)), Ok((BOUND, None)));
    }

    #[test]
    fn a_recorded_or_superseded_beacon_answers_nothing() {
        let mut freshness = Freshness::new(BOUND);
        let first = freshness.challenge([1; 32], Duration::ZERO, None);
        let second = freshness.challenge([2; 32], Duration::from_secs(10), None);
        assert!(freshness.answer(&beacon(&second, 60)).is_ok());
        for challenge in [&first, &second, "", "AAAA"] {
            assert_eq!(freshness.answer(&beacon(challenge, 60)), Err(UnknownChallenge));
        }
    }

    #[test]
    fn a_promise_for_a_newer_state_is_kept_when_that_state_arrives() {
        let mut freshness = Freshness::new(BOUND);
        freshness.promise(version(8), Duration::from_mins(1));
        freshness.settle(&version(7));
        assert!(!freshness.is_fresh(Duration::ZERO));
        freshness.settle(&version(8));
        assert!(freshness.is_fresh(Duration::from_secs(59)));
    }

    proptest! {
        #[test]
        fn nothing_is_fresh_for_longer_than_the_bound_after_the_last_question(
            steps in proptest::collection::vec((0_u64..1200, 0_u64..4000, any::<bool>()), 1..40),
        ) {
            let mut freshness = Freshness::new(BOUND);
            let (mut now, mut last_answered) = (Duration::ZERO, None);
            for (index, (wait, time_to_live, answered)) in steps.into_iter().enumerate() {
                now += Duration::from_secs(wait);
                let made = now;
                let mut random = [0; 32];
                random[0] = u8::try_from(index).expect("few steps");
                let challenge = freshness.challenge(random, made, None);
                if answered {
                    let until = freshness.answer(&beacon(&challenge, time_to_live)).expect("asked").0;
                    freshness.extend(until);
                    last_answered = Some(made);
                }
                let bound = last_answered.map(|made| made + BOUND);
                prop_assert!(freshness.until() <= bound);
            }
        }
    }
}
