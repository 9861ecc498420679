//! The session file: which control plane, whom to trust there, who is logged in.
//!
//! Invariant: the token is sent only to the server that gave it, and the file is readable by its owner only.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use muster_daemon::file::{self, Access};
use muster_ids::{Digest, UserName};
use muster_wire::admin::v1::authority::Authority;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// A session file is far smaller; authorities in PEM are its largest part.
const LONGEST: u64 = 1024 * 1024;

/// What is remembered between commands.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// `https://host:port`.
    pub(crate) server: String,
    /// Who may speak for it.
    pub(crate) trust: Trust,
    /// Who is logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<UserName>,
    /// Proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
}

/// By what a control plane is recognized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trust {
    /// SHA-256 of its own certificate or of an authority that it sends along.
    Fingerprints(Vec<Digest>),
    /// Authorities in PEM.
    Authorities(String),
}

impl Trust {
    /// As it is while the authority of the collective is exchanged: who recognizes it by a root recognizes it by all that
    /// are accepted, and by none that was revoked.
    pub(crate) fn following(&self, authority: &Authority) -> Self {
        let Self::Fingerprints(pins) = self else {
            return self.clone();
        };
        let state = |pin: &Digest| {
            let mut all = authority.authorities.iter();
            let one = all.find(|one| one.root.parse() == Ok(*pin));
            one.map(|one| one.state.as_str())
        };
        // A pin of the server's own certificate says nothing of roots.
        if !pins.iter().any(|pin| state(pin).is_some()) {
            return self.clone();
        }
        let kept = pins.iter().filter(|pin| state(pin) != Some("revoked"));
        let mut pins: Vec<Digest> = kept.copied().collect();
        for root in &authority.root_fingerprints {
            if let Ok(root) = root.parse()
                && !pins.contains(&root)
            {
                pins.push(root);
            }
        }
        Self::Fingerprints(pins)
    }
}

/// Where the session file lies; nowhere for who has no home and names no folder, which many commands can do without.
pub(crate) struct Store {
    folder: Option<PathBuf>,
}

impl Store {
    /// In `folder`, else where the XDG base directories say.
    pub(crate) fn new(folder: Option<&Path>, environment: &BTreeMap<String, String>) -> Self {
        let absolute = |name: &str| {
            environment
                .get(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let folder = folder
            .map(Path::to_owned)
            .or_else(|| absolute("XDG_CONFIG_HOME").map(|config| config.join("muster")))
            .or_else(|| absolute("HOME").map(|home| home.join(".config/muster")));
        Self { folder }
    }

    /// The session file, where there can be one.
    fn path(&self) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("session.json"))
    }

    /// What is remembered, if anything.
    pub(crate) fn load(&self) -> Result<Option<Profile>, Failure> {
        let Some(path) = self.path() else {
            return Ok(None);
        };
        let bytes = match file::read(&path, Access::Private, LONGEST) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Failure::failed(
                "session",
                format!(
                    "cannot read the session file {} ({error}); log in again with muster login",
                    path.display()
                ),
            )
        })
    }

    /// Remembers `profile`.
    pub(crate) fn save(&self, profile: &Profile) -> Result<(), Failure> {
        let (Some(folder), Some(path)) = (&self.folder, self.path()) else {
            return Err(Failure::usage(
                "the session cannot be kept: neither XDG_CONFIG_HOME nor HOME is set; name its folder with --profile-dir",
            ));
        };
        file::create_folder(folder)?;
        let bytes = serde_json::to_vec_pretty(profile)
            .map_err(|error| Failure::failed("session", format!("cannot write the session ({error})")))?;
        Ok(file::write(&path, &bytes, 0o600, "cli.session")?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn profile() -> Profile {
        Profile {
            server: "https://host:8443".to_owned(),
            trust: Trust::Fingerprints(vec![Digest::of(b"root")]),
            user: Some("ann@SPOTFIRE".parse().expect("user")),
            token: Some("t".to_owned()),
        }
    }

    #[test]
    fn a_session_is_kept_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::new(Some(&folder.path().join("a/b")), &BTreeMap::new());
        assert!(store.load().expect("nothing yet").is_none());
        store.save(&profile()).expect("saved");
        let mode = std::fs::metadata(store.path().expect("a folder"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let loaded = store.load().expect("readable").expect("there");
        assert_eq!(loaded.token.as_deref(), Some("t"));
        assert_eq!(loaded.trust, profile().trust);
    }

    #[test]
    fn a_session_that_others_could_read_or_that_is_damaged_is_refused_with_the_cure() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::new(Some(folder.path()), &BTreeMap::new());
        store.save(&profile()).expect("saved");
        std::fs::set_permissions(
            store.path().expect("a folder"),
            std::fs::Permissions::from_mode(0o644),
        )
        .expect("mode");
        let sentence = |store: &Store| {
            store
                .load()
                .err()
                .map(|failure| failure.sentence())
                .unwrap_or_default()
        };
        assert!(sentence(&store).contains("chmod 0600"), "{}", sentence(&store));
        file::write(&store.path().expect("a folder"), b"{", 0o600, "test").expect("written");
        assert!(sentence(&store).contains("log in again"), "{}", sentence(&store));
    }

    #[test]
    fn the_folder_follows_the_environment() {
        let environment = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let of = |pairs: &[(&str, &str)]| Store::new(None, &environment(pairs)).path();
        let both = [("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(of(&both), Some(PathBuf::from("/x/muster/session.json")));
        let relative = [("XDG_CONFIG_HOME", "x"), ("HOME", "/h")];
        assert_eq!(
            of(&relative),
            Some(PathBuf::from("/h/.config/muster/session.json"))
        );
        let nowhere = Store::new(None, &environment(&[]));
        assert!(nowhere.load().expect("no session").is_none());
        let refused = nowhere.save(&profile()).expect_err("nowhere to keep it");
        assert!(
            refused.sentence().contains("--profile-dir"),
            "{}",
            refused.sentence()
        );
    }
}
