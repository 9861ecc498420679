//! Users of the built-in directory.

mod delete;

use muster_ids::{UserId, UserName};
use muster_model::{
    audit::Event,
    permission::{ADMINISTRATOR, Authorized, Caller, Operation},
};
use muster_store::{Draft, User, UserState};
use muster_wire::admin::v1::{
    Page, PageQuery,
    user::{CreateUser, PatchUser, SetPassword, User as WireUser},
};
use secrecy::SecretString;
use serde_json::json;

use crate::{App, Error, group::an_administrator_is_left, page, session, text::rfc3339};

impl App {
    /// All users, by name.
    pub async fn list_users(&self, caller: &Caller, query: &PageQuery) -> Result<Page<WireUser>, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "list users", "")
            .await?;
        let limit = page::limit(query)?;
        let rows = self
            .store()
            .user_list(page::after::<UserName>(query)?.as_ref(), limit + 1)
            .await?;
        let mut users = Vec::with_capacity(rows.len());
        for row in rows {
            users.push(self.user_to_wire(row).await?);
        }
        Ok(page::of(users, limit, |user| user.name.clone(), |user| user))
    }

    /// One user; everybody may look at themselves.
    pub async fn show_user(&self, caller: &Caller, name: &UserName) -> Result<WireUser, Error> {
        let own = matches!(caller, Caller::User(user) if user.name.key() == name.key());
        let operation = if own {
            Operation::Use
        } else {
            Operation::ReadAdministration
        };
        self.authorize(caller, operation).await?;
        let user = self.user_named(name).await?;
        self.user_to_wire(user).await
    }

    /// Makes a user.
    pub async fn create_user(&self, caller: &Caller, new: CreateUser) -> Result<WireUser, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageUsers, "make the user", &new.name)
            .await?;
        let password = new.password.map(SecretString::from);
        let user = self.add_user(&authorized, new.name, password).await?;
        self.user_to_wire(user).await
    }

    pub(crate) async fn add_user(
        &self,
        authorized: &Authorized,
        name: UserName,
        password: Option<SecretString>,
    ) -> Result<User, Error> {
        let now = self.now();
        let password_hash = match password {
            Some(password) => Some(session::hash(password).await?),
            None => None,
        };
        let user = User {
            id: self.random().id(now, UserId::new),
            name,
            state: UserState::Active,
            created_at: now,
            version: 1,
        };
        let mut tx = self.begin_asked(authorized).await?;
        tx.user_insert(&user).await?;
        if let Some(hash) = &password_hash {
            tx.user_set_password(user.id, Some(hash)).await?;
        }
        tx.commit(
            Draft::new(Event::UserCreated, user.name.to_string(), json!({})),
            now,
        )
        .await?;
        Ok(user)
    }

    /// Sets a password: the own one with the present one, any with rights.
    pub async fn set_password(
        &self,
        caller: &Caller,
        name: &UserName,
        new: SetPassword,
    ) -> Result<(), Error> {
        let own = matches!(caller, Caller::User(user) if user.name.key() == name.key());
        let operation = if own {
            Operation::ChangeOwnPassword
        } else {
            Operation::ManageUsers
        };
        let authorized = self
            .authorize_to(caller, operation, "set the password of the user", name)
            .await?;
        let user = self.user_named(name).await?;
        if own {
            let current = new
                .current
                .ok_or_else(|| Error::invalid("give the present password too"))?;
            let login = muster_wire::admin::v1::session::Login {
                user: name.clone(),
                password: current,
            };
            self.check_password(login).await?;
        }
        let hash = session::hash(SecretString::from(new.password)).await?;
        self.store_password(&authorized, user, hash).await
    }

    /// Stores the hash of a new password and ends the user's sessions.
    pub(crate) async fn store_password(
        &self,
        authorized: &Authorized,
        user: User,
        hash: SecretString,
    ) -> Result<(), Error> {
        let mut tx = self.begin_asked(authorized).await?;
        let (id, name) = (user.id, user.name.to_string());
        tx.user_put(&User {
            version: user.version + 1,
            ..user
        })
        .await?;
        tx.user_set_password(id, Some(&hash)).await?;
        tx.sessions_delete_of(id).await?;
        tx.commit(Draft::new(Event::PasswordSet, name, json!({})), self.now())
            .await?;
        Ok(())
    }

    /// Disables or enables a user.
    pub async fn patch_user(
        &self,
        caller: &Caller,
        name: &UserName,
        patch: &PatchUser,
    ) -> Result<WireUser, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageUsers, "change the user", name)
            .await?;
        let state: UserState = patch
            .state
            .parse()
            .ok()
            .filter(|state| *state != UserState::Deleted)
            .ok_or_else(|| Error::invalid("a user is active or disabled; DELETE deletes one for ever"))?;
        let user = self.user_named(name).await?;
        if state == UserState::Disabled && matches!(caller, Caller::User(me) if me.id == user.id) {
            return Err(Error::conflict(
                "own-account",
                "nobody disables their own account; ask another administrator",
            ));
        }
        let changed = User {
            state,
            version: user.version + 1,
            ..user
        };
        let mut tx = self.begin_asked(&authorized).await?;
        tx.user_put(&changed).await?;
        let mut detail = json!({ "state": state.as_str() });
        if state == UserState::Disabled {
            tx.sessions_delete_of(changed.id).await?;
            an_administrator_is_left(&mut tx).await?;
            detail["runs_stopped"] = tx.runs_cancel_of(changed.id).await?.into();
        }
        let draft = Draft::new(Event::UserChanged, changed.name.to_string(), detail);
        tx.commit(draft, self.now()).await?;
        self.user_to_wire(changed).await
    }

    /// Gives the first administrator a new password; for `muster-server reset-admin` on the machine itself.
    pub async fn reset_admin(&self, name: &UserName, password: SecretString) -> Result<(), Error> {
        let authorized = Self::system();
        let hash = session::hash(password.clone()).await?;
        let user = match self.store().user_by_name(name).await? {
            Some(user) => user,
            None => self.add_user(&authorized, name.clone(), None).await?,
        };
        let id = user.id;
        let active = User {
            state: UserState::Active,
            ..user
        };
        self.store_password(&authorized, active, hash).await?;
        let group = self
            .group_named(&ADMINISTRATOR.parse().map_err(Error::bug)?)
            .await?;
        self.add_member_as(&authorized, &group, id, name).await
    }

    pub(crate) async fn user_named(&self, name: &UserName) -> Result<User, Error> {
        let user = self.store().user_by_name(name).await?;
        user.ok_or_else(|| Error::not_found("user", name, "muster user list shows all of them"))
    }

    async fn user_to_wire(&self, user: User) -> Result<WireUser, Error> {
        let directory = self.store().directory_of(user.id).await?;
        Ok(WireUser {
            id: user.id,
            name: user.name,
            state: user.state.as_str().to_owned(),
            created: rfc3339(user.created_at),
            groups: directory
                .direct
                .iter()
                .filter_map(|id| directory.groups.get(id))
                .map(|group| group.name.to_string())
                .collect(),
        })
    }
}
