//! Where the control plane is, as far as its names can be resolved.
//!
//! Invariant: it is known where all of its hosts are, or it is said which one is missing; a part is never taken for all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};

use super::{resolve::Asker, rules::guises};

/// For how long the addresses are believed.
const FRESH: Duration = Duration::from_mins(1);
/// For how long it is believed that a host cannot be found.
const MISSING: Duration = Duration::from_secs(5);

/// The hosts of the control plane, and where they were found to be.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    hosts: Vec<String>,
    names: Asker,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// Of each host what it had when it could be resolved.
    addresses: BTreeMap<String, BTreeSet<IpAddr>>,
    /// A host that never could.
    missing: Option<Missing>,
    /// When to look again; at once when nobody has looked.
    until: Option<Instant>,
}

/// A host of the control plane that was never found, and why.
#[derive(Debug, Clone)]
pub(super) struct Missing {
    host: String,
    why: Arc<io::Error>,
}

impl Missing {
    /// Of what kind the reason is.
    pub(super) fn kind(&self) -> io::ErrorKind {
        self.why.kind()
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be resolved by this node: {}", self.host, self.why)
    }
}

impl ControlPlane {
    pub(crate) fn new(hosts: Vec<String>) -> Self {
        Self {
            hosts,
            names: Asker::of_agent(),
            found: Mutex::default(),
        }
    }

    /// Its addresses in all their guises. What was found of a host before holds while it is not found anew; an error
    /// while one never was.
    pub(super) async fn addresses(&self) -> Result<BTreeSet<IpAddr>, Missing> {
        let mut found = self.found.lock().await;
        if found.until.is_none_or(|until| until <= Instant::now()) {
            let mut missing = None;
            for host in &self.hosts {
                let resolved = self.names.resolve(host, 0).await.and_then(|addresses| {
                    let none = || io::Error::new(io::ErrorKind::NotFound, "it has no address");
                    let of_host: BTreeSet<_> = addresses.iter().flat_map(|one| guises(one.ip())).collect();
                    Some(of_host)
                        .filter(|of_host| !of_host.is_empty())
                        .ok_or_else(none)
                });
                match resolved {
                    Ok(of_host) => {
                        found.addresses.insert(host.clone(), of_host);
                    }
                    Err(_) if found.addresses.contains_key(host) => {}
                    Err(why) => {
                        missing = Some(Missing {
                            host: host.clone(),
                            why: Arc::new(why),
                        });
                    }
                }
            }
            let time = if missing.is_some() { MISSING } else { FRESH };
            found.until = Some(Instant::now() + time);
            found.missing = missing;
        }
        match &found.missing {
            Some(missing) => Err(missing.clone()),
            None => Ok(found.addresses.values().flatten().copied().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(control_plane: &ControlPlane) -> Result<BTreeSet<IpAddr>, Missing> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(control_plane.addresses())
    }

    /// A name that no resolver looks for: one of its parts is too long.
    fn nameless() -> String {
        format!("{}.example.com", "x".repeat(64))
    }

    #[test]
    fn what_was_known_of_the_control_plane_holds_while_it_cannot_be_resolved() {
        let mut control_plane = ControlPlane::new(vec![nameless(), "192.0.2.56".to_owned()]);
        let before: IpAddr = "192.0.2.55".parse().expect("an address");
        control_plane.found = Mutex::new(Found {
            addresses: BTreeMap::from([(nameless(), BTreeSet::from([before]))]),
            ..Found::default()
        });
        let now = addresses(&control_plane).expect("known");
        assert!(now.len() == 2 && now.contains(&before), "{now:?}");
    }

    #[test]
    fn a_part_of_the_control_plane_is_not_all_of_it() {
        let control_plane = ControlPlane::new(vec!["192.0.2.56".to_owned(), nameless()]);
        for _ in 0..2 {
            let missing = addresses(&control_plane).expect_err("one is missing");
            assert_eq!(missing.host, nameless());
        }
    }
}
