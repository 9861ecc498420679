//! How many people must approve a join, and what their votes are worth.
//!
//! Invariant: one person counts once, whatever sessions they have, and only while they are entitled when the last vote
//! is given. Each voter has typed the code or the full fingerprint, which the caller has compared.

use muster_ids::{Name, UserId, UserName};
use serde::{Deserialize, Serialize};

use super::{Applicant, Capability, JoinRefused, JoinRequest, JoinState};

/// The most people that a rule may ask for.
pub const MOST_PEOPLE: u32 = 10;

/// One person's approval of one transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who.
    pub by: UserId,
    /// Their name.
    pub name: UserName,
    /// When.
    pub at: i64,
}

/// That joins of some kind need several people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRule {
    /// Requests that offer this; any when absent.
    pub capability: Option<Capability>,
    /// Requests for this pool; any when absent.
    pub pool: Option<Name>,
    /// How many people, 1 to [`MOST_PEOPLE`].
    pub count: u32,
}

impl ApprovalRule {
    fn applies(&self, applicant: &Applicant) -> bool {
        let pool = applicant
            .pool
            .as_ref()
            .map_or_else(|| "default".to_owned(), Name::key);
        self.capability
            .is_none_or(|capability| applicant.capabilities.contains(&capability))
            && self.pool.as_ref().is_none_or(|wanted| wanted.key() == pool)
    }
}

/// How many people must approve what `applicant` asks for: the most that any rule says, else one.
pub fn people_needed(rules: &[ApprovalRule], applicant: &Applicant) -> u32 {
    rules
        .iter()
        .filter(|rule| rule.applies(applicant))
        .map(|rule| rule.count)
        .max()
        .unwrap_or(1)
}

/// What a vote led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    /// The request, approved if this was the last vote that was needed.
    pub request: JoinRequest,
    /// Earlier votes that do not count any more: their voters are not entitled now.
    pub void: Vec<Vote>,
}

impl JoinRequest {
    /// `vote` is given at its time; `needed` people must agree, and `entitled` says who of those who voted before still
    /// may.
    pub fn vote(
        self,
        vote: Vote,
        needed: u32,
        entitled: impl Fn(&Vote) -> bool,
    ) -> Result<Ballot, JoinRefused> {
        let now = vote.at;
        let request = self.at(now);
        if request.token.is_some() {
            return Err(JoinRefused::NamesToken);
        }
        if request.state != JoinState::Pending {
            return Err(JoinRefused::NotPending(request.state));
        }
        if !request.code_is_fresh(now) {
            return Err(JoinRefused::CodeTooOld);
        }
        let again = request.votes.iter().any(|earlier| earlier.by == vote.by);
        // Where one person suffices there is nothing to count, also when more were needed before.
        if again && needed > 1 {
            return Err(JoinRefused::SamePerson);
        }
        let (mut votes, void): (Vec<Vote>, Vec<Vote>) = request
            .votes
            .iter()
            .filter(|earlier| earlier.by != vote.by)
            .cloned()
            .partition(|earlier| entitled(earlier));
        votes.push(vote);
        let enough = u32::try_from(votes.len()).is_ok_and(|given| given >= needed);
        let request = Self { votes, ..request };
        let request = if enough {
            request.approve(now)?
        } else {
            Self {
                version: request.version + 1,
                ..request
            }
        };
        Ok(Ballot { request, void })
    }
}
