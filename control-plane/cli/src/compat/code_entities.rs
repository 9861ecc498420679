//! `list-code-entities`: what contents are known here, by hash, and by what each is known.

use clap::Parser;
use muster_client::{Request, Rest};
use muster_wire::admin::v1::trust::{CodeEntity, Item};
use serde::Serialize;

use super::{Common, options};
use crate::{
    context::Context,
    failure::Failure,
    list::{self, Extent},
    table, trust,
};

const ENTITIES: &str = "/api/v1/trust/entities";

/// Lists the hashes of items that are known here
#[derive(Debug, Parser)]
#[command(name = "list-code-entities")]
struct ListCodeEntities {
    /// Only this hash; may be repeated
    #[arg(short = 'H', long = "hash")]
    hash: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// A line of `list-code-entities`.
#[derive(Serialize)]
struct Entity {
    hash: String,
    r#type: String,
    name: Option<String>,
    /// `library`, `signed`, `trusted`, `blocked`.
    known: String,
}

/// `list-code-entities [-H HASH]…`.
pub(super) async fn list(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ListCodeEntities>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let rest = context.rest()?;
    let mut lines = known(&rest).await?;
    if !options.hash.is_empty() {
        lines.retain(|line| options.hash.contains(&line.hash));
    }
    context.show(&lines, || {
        table::rows(
            ["hash", "type", "name", "known"],
            lines.iter().map(|line| {
                let name = table::or_dash(line.name.as_ref());
                [line.hash.clone(), line.r#type.clone(), name, line.known.clone()]
            }),
            "No items are known.",
            context.colour,
        )
    })
}

async fn known(rest: &Rest) -> Result<Vec<Entity>, Failure> {
    let entities: Vec<CodeEntity> = list::all(rest, || Request::get(ENTITIES), &Extent::default()).await?;
    let (items, blocks) = (trust::items(rest).await?, trust::blocks(rest).await?);
    let of = |item: &Item, known: &str| Entity {
        hash: item.hash.clone(),
        r#type: item.kind.clone(),
        name: None,
        known: known.to_owned(),
    };
    let mut lines: Vec<Entity> = entities
        .into_iter()
        .map(|entity| Entity {
            hash: entity.hash,
            r#type: entity.kind,
            name: Some(entity.name),
            known: entity.known,
        })
        .collect();
    lines.extend(items.iter().map(|entry| of(&entry.item, "trusted")));
    lines.extend(
        blocks
            .iter()
            .filter_map(|block| block.item.as_ref())
            .map(|item| of(item, "blocked")),
    );
    lines.sort_by(|one, other| {
        (&one.hash, &one.r#type, &one.known, &one.name).cmp(&(
            &other.hash,
            &other.r#type,
            &other.known,
            &other.name,
        ))
    });
    lines.dedup_by(|one, other| {
        (&one.hash, &one.r#type, &one.known, &one.name)
            == (&other.hash, &other.r#type, &other.known, &other.name)
    });
    Ok(lines)
}
