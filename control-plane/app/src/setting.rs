//! Settings that loosen or tighten trust: entries of the trust state, set here and nowhere else.

use muster_code_trust::{Entry, Scope, Setting, SettingName};
use muster_ids::Name;
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
};
use muster_store::Draft;
use muster_wire::admin::v1::{
    Page, PageQuery,
    setting::{Setting as WireSetting, SettingInfo},
};
use serde_json::json;

use crate::{App, Error, page};

impl App {
    /// Every setting with its default, its meaning and where it is set.
    pub async fn list_settings(
        &self,
        caller: &Caller,
        query: &PageQuery,
    ) -> Result<Page<SettingInfo>, Error> {
        self.authorize(caller, Operation::Use).await?;
        let entries = self.store().trust_entries().await?;
        let mut infos: Vec<SettingInfo> = SettingName::ALL.iter().map(|name| describe(*name)).collect();
        for (key, value) in &entries {
            if let Ok(Entry::Setting(scope, setting)) = Entry::parse(key, value) {
                let scope = self.scope_name(scope).await?;
                if let Some(info) = infos.iter_mut().find(|info| info.name == setting.name().as_str()) {
                    let value = setting.to_text();
                    info.values.push(WireSetting {
                        name: info.name.clone(),
                        scope,
                        value,
                    });
                }
            }
        }
        page::of_whole(query, (0_u64..).zip(infos))
    }

    /// Sets a value at one scope.
    pub async fn set_setting(&self, caller: &Caller, wanted: &WireSetting) -> Result<WireSetting, Error> {
        let authorized = self
            .authorize_to(
                caller,
                Operation::ManageSettings,
                "change the setting",
                &wanted.name,
            )
            .await?;
        let name = parse_name(&wanted.name)?;
        let scope = self.scope_of(&wanted.scope).await?;
        self.require_place(scope).await?;
        let setting =
            Setting::parse(name, &wanted.value).map_err(|error| Error::invalid(error.to_string()))?;
        let shown = WireSetting {
            name: wanted.name.clone(),
            scope: self.scope_name(scope).await?,
            value: setting.to_text(),
        };
        let entry = Entry::Setting(scope, setting);
        let now = self.now();
        let mut tx = self.begin_asked(&authorized).await?;
        tx.trust_change(&[(entry.key(), Some(entry.value()))], now)
            .await?;
        let detail = json!({ "scope": shown.scope, "value": shown.value });
        tx.commit(Draft::new(Event::SettingChanged, shown.name.clone(), detail), now)
            .await?;
        Ok(shown)
    }

    /// Removes what is set at one scope, so that the wider one or the default holds.
    pub async fn remove_setting(&self, caller: &Caller, name: &str, scope: &str) -> Result<(), Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageSettings, "remove the setting", name)
            .await?;
        let name = parse_name(name)?;
        let scope = self.scope_of(scope).await?;
        let key = Entry::Setting(scope, name.default_setting()).key();
        if !self.store().trust_entries().await?.contains_key(&key) {
            return Err(Error::not_found(
                "value of this setting at",
                self.scope_name(scope).await?,
                "muster setting list shows what is set",
            ));
        }
        let now = self.now();
        let mut tx = self.begin_asked(&authorized).await?;
        tx.trust_change(&[(key, None)], now).await?;
        let detail = json!({ "scope": self.scope_name(scope).await?, "value": null });
        tx.commit(Draft::new(Event::SettingChanged, name.to_string(), detail), now)
            .await?;
        Ok(())
    }

    async fn require_place(&self, scope: Scope) -> Result<(), Error> {
        let exists = match scope {
            Scope::All => true,
            Scope::Site(id) => self.store().site(id).await?.is_some(),
            Scope::Pool(id) => self.store().pool(id).await?.is_some(),
            Scope::Node(id) => self.store().node(id).await?.is_some(),
        };
        if exists {
            return Ok(());
        }
        Err(Error::NotFound {
            detail: "there is no such place to set this for; nothing was changed".to_owned(),
        })
    }

    async fn scope_of(&self, text: &str) -> Result<Scope, Error> {
        let form = || Error::invalid("a scope is all, site:NAME, pool:NAME or node:NAME");
        let Some((kind, name)) = text.split_once(':') else {
            return if text == "all" {
                Ok(Scope::All)
            } else {
                Err(form())
            };
        };
        // What is set for a place that was deleted is still there under its identifier, and can be removed.
        if let Some(scope) = scope_by_id(kind, name) {
            return Ok(scope);
        }
        let name: Name = name.parse().map_err(|_| form())?;
        match kind {
            "site" => Ok(Scope::Site(self.site_or_default(Some(&name)).await?.id)),
            "pool" => Ok(Scope::Pool(self.pool_or_default(Some(&name)).await?.id)),
            "node" => Ok(Scope::Node(self.node_named(name.as_str()).await?.id)),
            _ => Err(form()),
        }
    }

    async fn scope_name(&self, scope: Scope) -> Result<String, Error> {
        let named = |kind: &str, name: Option<Name>, id: String| match name {
            Some(name) => format!("{kind}:{name}"),
            None => format!("{kind}:{id}"),
        };
        Ok(match scope {
            Scope::All => "all".to_owned(),
            Scope::Site(id) => named(
                "site",
                self.store().site(id).await?.map(|site| site.name),
                id.to_string(),
            ),
            Scope::Pool(id) => named(
                "pool",
                self.store().pool(id).await?.map(|pool| pool.name),
                id.to_string(),
            ),
            Scope::Node(id) => named(
                "node",
                self.store().node(id).await?.map(|node| node.name),
                id.to_string(),
            ),
        })
    }
}

fn scope_by_id(kind: &str, id: &str) -> Option<Scope> {
    match kind {
        "site" => id.parse().ok().map(Scope::Site),
        "pool" => id.parse().ok().map(Scope::Pool),
        "node" => id.parse().ok().map(Scope::Node),
        _ => None,
    }
}

fn parse_name(text: &str) -> Result<SettingName, Error> {
    text.parse()
        .map_err(|_| Error::not_found("setting", text, "muster setting list shows all of them"))
}

fn describe(name: SettingName) -> SettingInfo {
    SettingInfo {
        name: name.to_string(),
        default: name.default_setting().to_text(),
        meaning: name.meaning().to_owned(),
        values: Vec::new(),
    }
}
