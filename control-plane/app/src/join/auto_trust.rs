//! Automatic trust by host name or address: documented, off by default, and no proof of anything.
//!
//! A name is what a stranger says of itself, and an address belongs to whoever answers there. So a configuration that
//! switches this on has to say that it accepts that (ADR 0019), and it never stands for several people or for a known
//! node.

use std::net::IpAddr;

use muster_ids::Name;
use muster_model::{
    audit::Event,
    join::{JoinRequest, approval::people_needed},
};
use muster_store::{Draft, Records, Tx};
use regex::Regex;
use serde_json::json;

use crate::{App, Error};

/// The longest expression for addresses, in bytes.
const LONGEST: usize = 200;
/// The most memory that a compiled expression takes, in bytes.
const COMPILED: usize = 1024 * 1024;

/// Who is trusted without being asked about.
#[derive(Debug, Clone)]
pub struct AutoTrust {
    hosts: Vec<Name>,
    addresses: Vec<Regex>,
}

impl AutoTrust {
    /// Nodes of one of these names, or from an address that is wholly like one of these expressions; every node when
    /// both lists are empty. The error says which expression is none.
    pub fn new(hosts: Vec<Name>, ip_regexps: &[String]) -> Result<Self, String> {
        let addresses = ip_regexps
            .iter()
            .map(|text| anchored(text).map_err(|error| format!("\"{}\": {error}", text.escape_default())))
            .collect::<Result<_, _>>()?;
        Ok(Self { hosts, addresses })
    }

    /// The rule that trusts a node of this name from this address.
    pub fn rule(&self, name: &Name, source: IpAddr) -> Option<String> {
        if self.hosts.is_empty() && self.addresses.is_empty() {
            return Some("every node".to_owned());
        }
        if let Some(host) = self.hosts.iter().find(|host| host.key() == name.key()) {
            return Some(format!("allowed_hosts {host}"));
        }
        let source = source.to_canonical().to_string();
        let like = self.addresses.iter().find(|regex| regex.is_match(&source))?;
        Some(format!("allowed_ip_regexps {}", like.as_str()))
    }
}

/// The expression for whole addresses: without the anchors, `10.1.` would trust `210.1.2.3`.
fn anchored(text: &str) -> Result<Regex, String> {
    if text.is_empty() || text.len() > LONGEST {
        return Err(format!("an expression has 1 to {LONGEST} characters"));
    }
    // By itself first: "a)|(b" would get out of the group.
    let compile = |text: &str| {
        regex::RegexBuilder::new(text)
            .size_limit(COMPILED)
            .build()
            .map_err(|error| {
                let line = error.to_string();
                line.lines().last().unwrap_or_default().trim().to_owned()
            })
    };
    compile(text)?;
    compile(&format!("^(?:{text})$"))
}

impl App {
    /// The rule by which `request` is trusted without a person, if there is one. Whatever needs a decision waits for it:
    /// a known key, a name that is taken, a place that does not exist, a node that several people must approve.
    pub(super) async fn auto_trust_rule(&self, request: &JoinRequest) -> Result<Option<String>, Error> {
        let Some(rules) = &self.options().auto_trust else {
            return Ok(None);
        };
        let Ok(source) = request.source.parse() else {
            return Ok(None);
        };
        let applicant = &request.applicant;
        if request.renewal_of.is_some() || people_needed(&self.options().approvals, applicant) > 1 {
            return Ok(None);
        }
        let Some(rule) = rules.rule(&applicant.name, source) else {
            return Ok(None);
        };
        let free = self.store().node_by_name(&applicant.name).await?.is_none();
        let placed = self.pool_or_default(applicant.pool.as_ref()).await.is_ok()
            && self.site_or_default(applicant.site.as_ref()).await.is_ok();
        Ok((free && placed).then_some(rule))
    }

    /// Lets the node of `request` in by `rule`.
    pub(super) async fn auto_trust(
        &self,
        tx: Tx,
        request: JoinRequest,
        rule: String,
    ) -> Result<JoinRequest, Error> {
        let (version, now) = (request.version, request.revealed_at);
        let approved = request.approve(now).map_err(|error| super::refused(&error))?;
        let (node, stored, drafts, tx) = self.issue_join(tx, approved, version, now, None).await?;
        let detail = json!({
            "join": stored.id.to_string(),
            "node": node.id.to_string(),
            "key": stored.key.to_string(),
            "by": "auto_trust",
            "rule": rule,
        });
        let draft = Draft::new(Event::JoinApproved, node.name.to_string(), detail);
        tx.commit(Records::new(draft, drafts), now).await?;
        tracing::warn!(node.id = %node.id, node.name = %node.name, rule, "a node was trusted automatically");
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(hosts: &[&str], regexps: &[&str], name: &str, source: &str) -> Option<String> {
        let hosts = hosts.iter().map(|host| host.parse().expect("a name")).collect();
        let regexps: Vec<String> = regexps.iter().map(|&text| text.to_owned()).collect();
        let rules = AutoTrust::new(hosts, &regexps).expect("valid");
        rules.rule(
            &name.parse().expect("a name"),
            source.parse().expect("an address"),
        )
    }

    #[test]
    fn a_node_is_trusted_by_its_whole_name_or_its_whole_address() {
        for (name, source, trusted) in [
            ("TERR01", "192.0.2.1", true),
            ("terr011", "192.0.2.1", false),
            ("x", "10.1.2.3", true),
            ("x", "::ffff:10.1.2.3", true),
            ("x", "210.1.2.3", false),
            ("x", "10.1.2.30", false),
            ("x", "fd00::7", true),
            ("x", "fd00::71", false),
        ] {
            let found = rule(
                &["terr01"],
                &[r"10\.1\.2\.3", "fd00::7|10\\.9\\..*"],
                name,
                source,
            );
            assert_eq!(found.is_some(), trusted, "{name} {source}");
        }
        assert_eq!(rule(&[], &[], "x", "192.0.2.1").as_deref(), Some("every node"));
    }

    #[test]
    fn an_expression_cannot_get_out_of_its_anchors() {
        for text in ["a)|(b", "(", "", "[", &"x".repeat(201)] {
            let refused = AutoTrust::new(Vec::new(), &[text.to_owned()]);
            assert!(refused.is_err(), "{text}");
        }
        assert_eq!(rule(&[], &["10|192"], "x", "192.0.2.1"), None);
    }
}
