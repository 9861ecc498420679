//! Logging in by password, and knowing a caller by the token of a session.
//!
//! Invariant: the database holds digests of tokens and Argon2id hashes of passwords only. A wrong user name
//! costs the same time as a wrong password.

use std::net::IpAddr;

use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use muster_code_trust::{Group, GroupGraph, UserFacts};
use muster_ids::{Digest, Name, UserId, UserName};
use muster_model::{
    audit::Event,
    permission::{Caller, UserCaller},
    preference::Preference,
};
use muster_store::{Directory, Draft, NewSession, User, UserState};
use muster_wire::admin::v1::session::{Login, Session, WhoAmI};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::{App, Error, preference, text::rfc3339};

/// The shortest password.
const SHORTEST: usize = 12;
/// The longest password, so that hashing stays bounded.
const LONGEST: usize = 1024;
/// Bytes of chance in a session token.
const TOKEN_BYTES: usize = 32;
/// Key stretching takes tens of milliseconds and 19 MiB, so at most two run at once.
static SLOTS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

impl App {
    /// Checks a password and begins a session.
    pub async fn log_in(&self, login: Login, source: &str) -> Result<Session, Error> {
        let now = self.now();
        let guesser = format!("{} {source}", login.user.key());
        self.inner.attempts.check(&guesser, now)?;
        let user = self.store().user_by_name(&login.user).await?;
        let user = user.filter(|user| user.state == UserState::Active);
        let password = SecretString::from(login.password);
        let matches = self.guess(&guesser, password, user.as_ref()).await?;
        let Some(user) = user.filter(|_| matches) else {
            let tx = self.store().begin(&Self::system()).await?;
            let draft = Draft::new(
                Event::LoginFailed,
                login.user.to_string(),
                json!({ "source": source }),
            );
            tx.commit(draft, now).await?;
            return Err(Error::Unauthenticated {
                detail: "the user name or the password is wrong; after ten failures there is a pause of five minutes"
                    .to_owned(),
            });
        };
        let token = self.random().token(TOKEN_BYTES);
        let lifetime = i64::try_from(self.options().session_lifetime.as_millis()).unwrap_or(i64::MAX);
        let expires = now.saturating_add(lifetime);
        let caller = Caller::User(self.user_caller(&user).await?);
        let authorized = self
            .authorize(&caller, muster_model::permission::Operation::Use)
            .await?;
        let mut tx = self.store().begin(&authorized).await?;
        tx.session_insert(&NewSession {
            token_hash: token_hash(token.expose_secret()),
            user: user.id,
            created_at: now,
            expires_at: expires,
            label: source.to_owned(),
        })
        .await?;
        tx.commit(
            Draft::new(Event::Login, user.name.to_string(), json!({ "source": source })),
            now,
        )
        .await?;
        Ok(Session {
            token: token.expose_secret().to_owned(),
            user: user.name,
            expires: rfc3339(expires),
        })
    }

    /// Whether the password is the user's, with the same budget for guesses as a log-in.
    pub(crate) async fn check_password(&self, login: Login) -> Result<(), Error> {
        let guesser = format!("{} own", login.user.key());
        self.inner.attempts.check(&guesser, self.now())?;
        let user = self.store().user_by_name(&login.user).await?;
        let password = SecretString::from(login.password);
        if self.guess(&guesser, password, user.as_ref()).await? {
            return Ok(());
        }
        Err(Error::denied(
            "the present password is wrong; nothing was changed",
        ))
    }

    /// Whether `password` is the one of `user`; a failure counts for `guesser`. The slot is held from the look at the
    /// count to the count, so that guesses which come all at once do not pass it together.
    async fn guess(
        &self,
        guesser: &String,
        password: SecretString,
        user: Option<&User>,
    ) -> Result<bool, Error> {
        let hash = match user {
            Some(user) => self.store().user_password(user.id).await?,
            None => None,
        };
        let _slot = SLOTS.acquire().await.map_err(Error::bug)?;
        self.inner.attempts.check(guesser, self.now())?;
        let matches = verify(password, hash).await?;
        if !matches {
            self.inner.attempts.failed(guesser, self.now());
        }
        Ok(matches)
    }

    /// Ends the session of `token`.
    pub async fn log_out(&self, caller: &Caller, token: &str) -> Result<(), Error> {
        let authorized = self
            .authorize(caller, muster_model::permission::Operation::Use)
            .await?;
        let mut tx = self.store().begin(&authorized).await?;
        tx.session_delete(&token_hash(token)).await?;
        tx.commit(
            Draft::new(Event::Logout, caller.to_string(), json!({})),
            self.now(),
        )
        .await?;
        Ok(())
    }

    /// These came over the plain port from `source`, where everybody on the way could read them: sessions among them
    /// end at once. What is no session is counted only.
    pub async fn leaked(&self, tokens: &[&str], source: IpAddr) -> Result<(), Error> {
        let now = self.now();
        let mut found = false;
        for token in tokens {
            let Some(session) = self.store().session_user(&token_hash(token), now).await? else {
                continue;
            };
            found = true;
            let mut tx = self.store().begin(&Self::system()).await?;
            tx.session_delete(&token_hash(token)).await?;
            let detail = json!({ "source": source.to_string(), "ended": true });
            tx.commit(
                Draft::new(Event::SecretLeaked, session.user.name.to_string(), detail),
                now,
            )
            .await?;
            tracing::warn!(user = %session.user.name, %source, "a session came over the plain port and was ended");
        }
        if !found {
            self.inner.refusals.secret(source);
        }
        Ok(())
    }

    /// Who holds `token`, with the rights of this moment.
    pub async fn caller_of(&self, token: &str) -> Result<Caller, Error> {
        let unknown = || Error::Unauthenticated {
            detail: "the session is unknown or over; log in again with muster login".to_owned(),
        };
        let session = self
            .store()
            .session_user(&token_hash(token), self.now())
            .await?
            .ok_or_else(unknown)?;
        if session.user.state != UserState::Active {
            return Err(unknown());
        }
        Ok(Caller::User(self.user_caller(&session.user).await?))
    }

    /// What a caller may see of themselves.
    pub async fn who_am_i(&self, caller: &Caller) -> Result<WhoAmI, Error> {
        self.authorize(caller, muster_model::permission::Operation::Use)
            .await?;
        let Caller::User(user) = caller else {
            return Err(Error::Unauthenticated {
                detail: "this is not a user; log in with muster login".to_owned(),
            });
        };
        Ok(WhoAmI {
            user: user.name.clone(),
            groups: user.groups.iter().cloned().collect(),
            features: user.features.iter().cloned().collect(),
        })
    }

    pub(crate) async fn user_caller(&self, user: &User) -> Result<UserCaller, Error> {
        let facts = self.known_facts(user.id, &user.name).await?;
        Ok(caller_of(user.id, &facts))
    }

    /// The facts that decisions need about a user, from the directory as it is now.
    pub(crate) async fn facts_of(&self, id: UserId, name: &UserName) -> Result<UserFacts, Error> {
        let directory = self.store().directory_of(id).await?;
        let name_of = |id| directory.groups.get(id).map(|group| group.name.clone());
        let direct: Vec<Name> = directory.direct.iter().filter_map(name_of).collect();
        let mut facts = graph_of(&directory).facts(name.clone(), &direct);
        let required =
            preference::of(&directory).of_user(Preference::RequireValidSignature, &directory.direct);
        facts.accepts_invalid_signatures = !required.value;
        Ok(facts)
    }
}

/// The groups of a directory, ready to answer who is in what.
pub(crate) fn graph_of(directory: &Directory) -> GroupGraph {
    let name_of = |id| directory.groups.get(id).map(|group| group.name.clone());
    GroupGraph::new(directory.groups.values().map(|group| {
        Group {
            name: group.name.clone(),
            parents: group.parents.iter().filter_map(name_of).collect(),
            // Features of other versions of the product stay in the database and decide nothing here.
            features: group
                .features
                .iter()
                .filter_map(|feature| feature.parse().ok())
                .collect(),
        }
    }))
}

/// A user as one who asks for something, with the rights that these facts give.
pub(crate) fn caller_of(id: UserId, facts: &UserFacts) -> UserCaller {
    UserCaller {
        id,
        name: facts.user.clone(),
        groups: (facts.groups.keys())
            .filter_map(|key| facts.groups.get(key))
            .map(ToString::to_string)
            .collect(),
        features: facts.features.keys().map(ToString::to_string).collect(),
    }
}

/// What the database keeps of a token.
fn token_hash(token: &str) -> Digest {
    Digest::of_framed(&[b"muster-session/1", token.as_bytes()])
}

/// The Argon2id hash of a new password, or why it is refused.
pub(crate) async fn hash(password: SecretString) -> Result<SecretString, Error> {
    let length = password.expose_secret().chars().count();
    if !(SHORTEST..=LONGEST).contains(&length) {
        return Err(Error::invalid(format!(
            "a password has at least {SHORTEST} and at most {LONGEST} characters"
        )));
    }
    let _slot = SLOTS.acquire().await.map_err(Error::bug)?;
    blocking(move || {
        Argon2::default()
            .hash_password(password.expose_secret().as_bytes())
            .map(|hash| SecretString::from(hash.to_string()))
            .map_err(|error| Error::bug(error.to_string()))
    })
    .await?
}

/// Whether `password` is the one of `hash`; without a hash the same work is done for nothing.
async fn verify(password: SecretString, hash: Option<SecretString>) -> Result<bool, Error> {
    /// The hash of a password that nobody has.
    const NOBODY: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    blocking(move || {
        let known = hash.is_some();
        let text = hash.unwrap_or_else(|| SecretString::from(NOBODY));
        let parsed =
            PasswordHash::new(text.expose_secret()).map_err(|error| Error::bug(error.to_string()))?;
        Ok(Argon2::default()
            .verify_password(password.expose_secret().as_bytes(), &parsed)
            .is_ok()
            && known)
    })
    .await?
}

/// Off the event loop.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::bug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_nobody_has_the_decoy() {
        let stored = hash("correct horse battery".to_owned().into())
            .await
            .expect("hashed");
        assert!(
            verify("correct horse battery".to_owned().into(), Some(stored.clone()))
                .await
                .expect("checked")
        );
        assert!(
            !verify("correct horse batterz".to_owned().into(), Some(stored))
                .await
                .expect("checked")
        );
        assert!(!verify(String::new().into(), None).await.expect("checked"));
    }

    #[tokio::test]
    async fn a_short_password_is_refused() {
        assert!(matches!(
            hash("short".to_owned().into()).await,
            Err(Error::Invalid { .. })
        ));
    }

    #[tokio::test]
    async fn guesses_that_come_all_at_once_are_counted_like_others() {
        let (app, _folder) = crate::fixture::app().await;
        let mut guesses = tokio::task::JoinSet::new();
        for n in 0..40 {
            let app = app.clone();
            let login = Login {
                user: "admin@SPOTFIRE".parse().expect("a name"),
                password: format!("a wrong password {n}"),
            };
            guesses.spawn(async move { app.log_in(login, "10.0.0.1").await });
        }
        let tried = guesses
            .join_all()
            .await
            .into_iter()
            .filter(|result| matches!(result, Err(Error::Unauthenticated { .. })));
        // One guess may be under way beside the tenth.
        assert!(tried.count() <= 11);
    }
}
