//! `muster setting`: settings that loosen or tighten trust. The nearest scope holds: node, pool, site, all.

use std::path::Path;

use clap::{Args, Subcommand};
use muster_client::{Request, Rest};
use muster_daemon::file::{self, Access};
use muster_wire::admin::v1::setting::{Setting, SettingInfo};

use crate::{
    context::Context,
    escape::escaped,
    failure::{Failure, chain},
    list, table,
};

const PATH: &str = "/api/v1/settings";
/// The longest value, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// Settings that loosen or tighten trust, for all, a site, a pool or a node
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  muster setting list\n  \
                  muster setting set terr.restricted.execution.mode false --scope node:terr01\n  \
                  muster setting set restricted_engines python_service,r_service\n  \
                  muster setting set unrestricted_policy @policy.json --scope pool:finance\n  \
                  muster setting set packages.python @requirements.txt --scope pool:default\n  \
                  muster setting unset restricted_engines\n\n\
                  The nearest scope holds: a node's before its pool's before its site's before all.")]
pub(crate) enum Command {
    /// List settings, their defaults and where they are set
    List,
    /// Show one setting and where it is set
    Get {
        /// The documented name
        name: String,
    },
    /// Set a setting at a scope
    Set {
        /// The documented name
        name: String,
        /// The value; @FILE takes it from a file
        value: String,
        /// Where.
        #[command(flatten)]
        place: Place,
    },
    /// Remove a setting from a scope: the next wider one holds
    Unset {
        /// The documented name
        name: String,
        /// Where.
        #[command(flatten)]
        place: Place,
    },
}

/// Where a setting holds.
#[derive(Args)]
pub(crate) struct Place {
    /// Where it holds: all, site:NAME, pool:NAME or node:NAME
    #[arg(long, default_value = "all", value_parser = scope)]
    scope: String,
}

/// Does `command`.
pub(crate) async fn run(context: &Context, mut command: Command) -> Result<(), Failure> {
    // What is wrong with a file is said before anybody is asked to log in.
    if let Command::Set { value, .. } = &mut command
        && let Some(file) = value.strip_prefix('@')
    {
        *value = crate::function::text(Path::new(file))?;
    }
    let rest = context.rest()?;
    match command {
        Command::List => {
            let settings = all(&rest).await?;
            context.show(&settings, || rows(&settings, context.colour))
        }
        Command::Get { name } => {
            let settings = all(&rest).await?;
            let found = settings
                .into_iter()
                .find(|setting| setting.name == name)
                .ok_or_else(|| {
                    Failure::failed(
                        "not-found",
                        format!(
                            "there is no setting \"{}\"; muster setting list shows all",
                            escaped(&name)
                        ),
                    )
                })?;
            context.show(&found, || fields(&found, context.colour))
        }
        Command::Set { name, value, place } => {
            let wanted = Setting {
                name,
                scope: place.scope,
                value: value_of(value)?,
            };
            let set: Setting = rest.call(Request::put(PATH).json(&wanted)).await?;
            context.show(&set, || {
                escaped(&format!(
                    "{} is {} for {} now.",
                    set.name,
                    on_one_line(&set.value),
                    set.scope
                ))
            })
        }
        Command::Unset { name, place } => {
            let request = Request::delete(PATH)
                .query("name", &name)
                .query("scope", &place.scope);
            rest.call::<()>(request).await?;
            context.done(&escaped(&format!(
                "{name} is not set for {} any more.",
                place.scope
            )))
        }
    }
}

async fn all(rest: &Rest) -> Result<Vec<SettingInfo>, Failure> {
    list::every(rest, PATH).await
}

fn scope(text: &str) -> Result<String, String> {
    let named = ["site:", "pool:", "node:"].iter().any(|kind| {
        text.strip_prefix(kind)
            .is_some_and(|name| name.parse::<muster_ids::Name>().is_ok())
    });
    if text == "all" || named {
        Ok(text.to_owned())
    } else {
        Err("a scope is all, site:NAME, pool:NAME or node:NAME".to_owned())
    }
}

/// What was given, or what the file that it names holds.
fn value_of(value: String) -> Result<String, Failure> {
    let Some(path) = value.strip_prefix('@') else {
        return Ok(value);
    };
    let bytes =
        file::read(Path::new(path), Access::Any, LONGEST).map_err(|error| Failure::usage(chain(&error)))?;
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{path} is not UTF-8 text")))
}

/// Of several lines the first, and how many there are.
fn on_one_line(value: &str) -> String {
    match value.split_once('\n') {
        Some((first, rest)) => format!("{first} … ({} lines)", rest.lines().count() + 1),
        None => value.to_owned(),
    }
}

/// A list may be empty.
fn value_or_dash(value: &str) -> String {
    if value.is_empty() {
        table::dash()
    } else {
        on_one_line(value)
    }
}

fn rows(settings: &[SettingInfo], colour: bool) -> String {
    table::rows(
        ["name", "scope", "value", "meaning"],
        settings.iter().flat_map(|setting| {
            let unset = [
                setting.name.clone(),
                "default".to_owned(),
                value_or_dash(&setting.default),
                setting.meaning.clone(),
            ];
            let set = setting.values.iter().map(|value| {
                [
                    value.name.clone(),
                    value.scope.clone(),
                    on_one_line(&value.value),
                    String::new(),
                ]
            });
            std::iter::once(unset).chain(set)
        }),
        "No settings.",
        colour,
    )
}

fn fields(setting: &SettingInfo, colour: bool) -> String {
    let set: Vec<_> = setting
        .values
        .iter()
        .map(|value| format!("{} for {}", on_one_line(&value.value), value.scope))
        .collect();
    table::fields(
        [
            ("Name", setting.name.clone()),
            ("Meaning", setting.meaning.clone()),
            ("Default", value_or_dash(&setting.default)),
            (
                "Set",
                if set.is_empty() {
                    "nowhere".to_owned()
                } else {
                    set.join("\n")
                },
            ),
        ],
        colour,
    )
}
