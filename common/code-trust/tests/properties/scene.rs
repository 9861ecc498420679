//! A world with a question about it, and what can be asked of it.

use std::collections::BTreeSet;

use muster_code_trust::{
    Block, Certificate, Client, CodeType, Entry, Group, GroupGraph, ItemHash, Moment, Place, Question, Scope,
    Setting, StampsCount, Subject, TrustState, UserFacts, Verdict, decide, stricter,
};
use muster_ids::{Name, StampId, UserName};

pub(crate) const GROUPS: [&str; 6] = ["Everyone", "Script Author", "Custom Query Author", "A", "B", "C"];
pub(crate) const USERS: [&str; 3] = ["ann@SPOTFIRE", "bob@SPOTFIRE", "eve@SPOTFIRE"];

/// A world and a question about it. Small alphabets, so that things meet.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) groups: Vec<Group>,
    pub(crate) direct: Vec<Name>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) readable: BTreeSet<StampId>,
    pub(crate) relaxed: bool,
    pub(crate) client: Client,
    pub(crate) subject: Subject,
}

impl Scene {
    pub(crate) fn facts(&self) -> UserFacts {
        let graph = GroupGraph::new(self.groups.clone());
        let mut facts = graph
            .facts(USERS[0].parse().expect("user"), &self.direct)
            .reading(self.readable.iter().copied());
        facts.accepts_invalid_signatures = self.relaxed;
        facts
    }

    pub(crate) fn state(&self) -> TrustState {
        TrustState::from_entries(self.entries.clone())
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.decide_with(&self.facts(), &self.state())
    }

    pub(crate) fn decide_with(&self, facts: &UserFacts, state: &TrustState) -> Verdict {
        let (client, subject) = (self.client, self.subject.clone());
        let question = Question {
            user: facts,
            client,
            subject,
            now: moment(50),
        };
        decide(&question, state, &state.settings_at(&Place::default())).verdict()
    }

    pub(crate) fn with(&self, entry: Entry) -> Self {
        let mut other = self.clone();
        other.entries.push(entry);
        other
    }

    /// Whether one of the documented reasons to run a service unrestricted is there, read off the entries themselves.
    pub(crate) fn vouched_for(&self) -> bool {
        let Subject::Code(code, _) = &self.subject else {
            return false;
        };
        let strict = self.setting(&Setting::TrustStamps(StampsCount::SameItem));
        let stamped = self.entries.iter().any(|entry| {
            matches!(entry, Entry::Stamp(stamp) if Some(&stamp.hash) == code.hash.as_ref()
                && stamp.kind == CodeType::DataFunction && self.readable.contains(&stamp.id)
                && (!strict || code.library_item.as_ref() == Some(&stamp.library_item))
                && !self.has_lost_their_word(&stamp.author, stamp.at))
        });
        stamped || self.reaches_script_author() || self.setting(&Setting::DisableTrustChecks(true))
    }

    /// Whether an author is blocked, or what they did at this moment revoked.
    fn has_lost_their_word(&self, author: &UserName, at: Moment) -> bool {
        self.entries.iter().any(|entry| match entry {
            Entry::Block(Block::User(user)) => user.key() == author.key(),
            Entry::Revocation(revocation) => {
                revocation.user.key() == author.key() && revocation.from <= at && revocation.until.is_none()
            }
            _ => false,
        })
    }

    /// By following parents one by one, as often as there are groups.
    pub(crate) fn reaches_script_author(&self) -> bool {
        let mut member: BTreeSet<String> = self.direct.iter().map(Name::key).collect();
        member.insert("everyone".to_owned());
        for _ in &GROUPS {
            for group in &self.groups {
                if member.contains(&group.name.key()) {
                    member.extend(group.parents.iter().map(Name::key));
                }
            }
        }
        member.contains("script author")
    }

    /// Whether the last entry that sets this for all says so.
    pub(crate) fn setting(&self, wanted: &Setting) -> bool {
        let last = self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Setting(Scope::All, setting) if setting.name() == wanted.name() => Some(setting),
            _ => None,
        });
        last == Some(wanted)
    }
}

/// Whether `after` is at least as strict as `before`.
pub(crate) fn no_wider(before: &Verdict, after: &Verdict) -> bool {
    stricter(after.clone(), before.clone()) == *after
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect(text)
}

pub(crate) fn hash(text: &str) -> ItemHash {
    text.parse().expect(text)
}

pub(crate) fn moment(at: i64) -> Moment {
    Moment::from_unix_ms(at)
}

pub(crate) fn stamp_id(number: u8) -> StampId {
    StampId::new(i64::from(number), [number; 10])
}

pub(crate) fn certificate(serial: &str) -> Certificate {
    Certificate {
        issuer: "CN=Corp CA".parse().expect("issuer"),
        serial: serial.parse().expect("serial"),
    }
}
