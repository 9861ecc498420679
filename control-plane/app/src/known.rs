//! What decides about runs, read once for as long as nothing but runs changes.
//!
//! Invariant: an answer is used only while no change other than of runs was committed, or was about to be, since before
//! it was read; and for [`MOMENT`] at the most, because somebody may have put another database in place. Where other
//! processes change the database, every question is asked anew.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use muster_code_trust::{TrustState, UserFacts};
use muster_ids::{Digest, FunctionId, LibraryItemId, Name, PoolId, SiteId, UserId, UserName};
use muster_model::library::Step;
use muster_store::{CertificateState, Pool, Site, TrustHead, UserState};
use muster_wire::function::FunctionDefinition;

use crate::{App, Error, function::Current};

/// The longest time for which an answer is used.
const MOMENT: Duration = Duration::from_millis(500);
/// Answers of one kind that are kept at once.
const MOST: usize = 1024;

/// Answers, by what was asked.
#[derive(Default)]
pub(crate) struct Known {
    functions: Kept<String, Arc<Current>>,
    definitions: Kept<(FunctionId, Digest), Option<Arc<FunctionDefinition>>>,
    chains: Kept<LibraryItemId, Arc<Vec<Step>>>,
    pools: Kept<Name, Pool>,
    sites: Kept<Name, Site>,
    pool_names: Kept<PoolId, Option<Name>>,
    site_names: Kept<SiteId, Option<Name>>,
    active: Kept<UserId, bool>,
    facts: Kept<UserId, UserFacts>,
    trust: Kept<(), Arc<(TrustHead, TrustState)>>,
    valid: Kept<String, bool>,
}

impl App {
    /// The facts that decisions need about a user.
    pub(crate) async fn known_facts(&self, user: UserId, name: &UserName) -> Result<UserFacts, Error> {
        let read = async || self.facts_of(user, name).await;
        self.inner.known.facts.get(self, user, read).await
    }

    /// The function that people mean by `reference`, in its current version.
    pub(crate) async fn known_function(&self, reference: &str) -> Result<Arc<Current>, Error> {
        let read = async || self.function_of(reference).await.map(Arc::new);
        let functions = &self.inner.known.functions;
        functions.get(self, reference.to_owned(), read).await
    }

    /// The content of a version of a function; nothing once the function was deleted.
    pub(crate) async fn known_definition(
        &self,
        function: FunctionId,
        digest: Digest,
    ) -> Result<Option<Arc<FunctionDefinition>>, Error> {
        let read = async || {
            let version = self.store().function_version(function, &digest).await?;
            version
                .map(|version| serde_json::from_str(&version.definition).map(Arc::new))
                .transpose()
                .map_err(Error::bug)
        };
        let definitions = &self.inner.known.definitions;
        definitions.get(self, (function, digest), read).await
    }

    /// What decides about the rights to an item of the library; nothing where there is none.
    pub(crate) async fn known_chain(&self, item: LibraryItemId) -> Result<Arc<Vec<Step>>, Error> {
        let read = async || Ok(Arc::new(self.store().library_chain(item).await?));
        self.inner.known.chains.get(self, item, read).await
    }

    /// Pool and site of these names, or the built-in ones.
    pub(crate) async fn known_places(
        &self,
        pool: Option<&Name>,
        site: Option<&Name>,
    ) -> Result<(Pool, Site), Error> {
        let named = |name: Option<&Name>| match name {
            Some(name) => Ok(name.clone()),
            None => "default".parse().map_err(Error::bug),
        };
        let (pool, site) = (named(pool)?, named(site)?);
        let read_pool = async || self.pool_or_default(Some(&pool)).await;
        let read_site = async || self.site_or_default(Some(&site)).await;
        let known = &self.inner.known;
        Ok((
            known.pools.get(self, pool.clone(), read_pool).await?,
            known.sites.get(self, site.clone(), read_site).await?,
        ))
    }

    /// What pool and site are called now, if they still exist.
    pub(crate) async fn known_names(
        &self,
        pool: PoolId,
        site: SiteId,
    ) -> Result<(Option<Name>, Option<Name>), Error> {
        let read_pool = async || Ok(self.store().pool(pool).await?.map(|pool| pool.name));
        let read_site = async || Ok(self.store().site(site).await?.map(|site| site.name));
        let known = &self.inner.known;
        Ok((
            known.pool_names.get(self, pool, read_pool).await?,
            known.site_names.get(self, site, read_site).await?,
        ))
    }

    /// Whether a user may have runs.
    pub(crate) async fn known_active(&self, user: UserId) -> Result<bool, Error> {
        let read = async || {
            let found = self.store().user(user).await?;
            Ok(found.is_some_and(|user| user.state == UserState::Active))
        };
        self.inner.known.active.get(self, user, read).await
    }

    /// The trust state with its head.
    pub(crate) async fn known_trust(&self) -> Result<Arc<(TrustHead, TrustState)>, Error> {
        let read = async || self.trust_state_and_head().await.map(Arc::new);
        self.inner.known.trust.get(self, (), read).await
    }

    /// Whether the certificate of this serial number was issued here and is not revoked.
    pub(crate) async fn known_valid(&self, serial: &str) -> Result<bool, Error> {
        let read = async || {
            let found = self.store().certificate(serial).await?;
            Ok(found.is_some_and(|certificate| certificate.state == CertificateState::Valid))
        };
        self.inner.known.valid.get(self, serial.to_owned(), read).await
    }
}

/// Answers of one kind.
struct Kept<K, V>(Mutex<Answers<K, V>>);

struct Answers<K, V> {
    /// How far the database was before they were read.
    commits: u64,
    found: HashMap<K, (V, Duration)>,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Answers {
            commits: 0,
            found: HashMap::new(),
        }))
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    async fn get(&self, app: &App, key: K, read: impl AsyncFnOnce() -> Result<V, Error>) -> Result<V, Error> {
        // Looked at before the database is: a change in between makes the answer one of the past.
        let Some(commits) = app.store().commits() else {
            return read().await;
        };
        let boot = app.clock().boot();
        if let Some(answer) = self.find(commits, &key, boot) {
            return Ok(answer);
        }
        let answer = read().await?;
        self.keep(commits, key, answer.clone(), boot);
        Ok(answer)
    }

    fn find(&self, commits: u64, key: &K, boot: Duration) -> Option<V> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, read) = answers.found.get(key).filter(|_| answers.commits == commits)?;
        (boot.saturating_sub(*read) < MOMENT).then(|| answer.clone())
    }

    fn keep(&self, commits: u64, key: K, answer: V, boot: Duration) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if commits > answers.commits || answers.found.len() >= MOST {
            answers.commits = answers.commits.max(commits);
            answers.found.clear();
        }
        if commits == answers.commits {
            answers.found.insert(key, (answer, boot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(1);

    #[test]
    fn an_answer_holds_until_something_is_committed_and_for_a_moment_only() {
        let kept = Kept::<&str, u8>::default();
        kept.keep(1, "a", 7, LATER);
        assert_eq!(kept.find(1, &"a", LATER), Some(7));
        assert_eq!(kept.find(1, &"b", LATER), None, "another question");
        assert_eq!(kept.find(2, &"a", LATER), None, "something was committed");
        assert_eq!(kept.find(1, &"a", LATER + MOMENT), None, "long ago");
        kept.keep(2, "b", 8, LATER);
        assert_eq!(kept.find(2, &"a", LATER), None, "nothing older counts");
        // One that read before the commit comes last.
        kept.keep(1, "a", 7, LATER);
        assert_eq!(kept.find(2, &"a", LATER), None);
        assert_eq!(kept.find(2, &"b", LATER), Some(8));
    }

    #[tokio::test]
    async fn a_list_asks_for_no_item_by_itself() {
        use muster_model::permission::Caller;
        let (app, _folder) = crate::fixture::app().await;
        let name = "admin@SPOTFIRE".parse().expect("a name");
        let user = app.user_named(&name).await.expect("a user");
        let admin = Caller::User(app.user_caller(&user).await.expect("their rights"));
        for name in ["f", "g"] {
            let definition = serde_json::json!({ "name": name, "language": "terr", "script": "1" });
            let definition = serde_json::from_value(definition).expect("a function");
            app.register_function(&admin, definition, None)
                .await
                .expect("registered");
        }
        let page = muster_wire::admin::v1::PageQuery::default();
        let functions = app.list_functions(&admin, &page).await.expect("a list");
        assert_eq!(functions.items.len(), 2);
        let stamps = app
            .list_stamps(&admin, &muster_wire::admin::v1::stamp::StampQuery::default())
            .await
            .expect("a list");
        assert!(stamps.items.is_empty());
        let chains = app.inner.known.chains.0.lock().expect("nobody panicked");
        assert!(chains.found.is_empty(), "{:?}", chains.found);
    }

    #[tokio::test]
    async fn runs_take_no_right_away_and_every_other_change_may() {
        use muster_model::audit::Event;
        use muster_store::Draft;
        let (app, _folder) = crate::fixture::app().await;
        let commit = async |event| {
            let tx = app.store().begin(&App::system()).await.expect("begun");
            let draft = Draft::new(event, "x", serde_json::json!({}));
            tx.commit(draft, app.now()).await.expect("committed");
            app.store().commits().expect("nobody else changes it")
        };
        let before = app.store().commits().expect("nobody else changes it");
        assert_eq!(commit(Event::RunEnded).await, before);
        assert!(commit(Event::UserChanged).await > before);
    }
}
