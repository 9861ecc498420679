//! What an analysis embeds is made and configured by who saves the analysis.
//!
//! Invariant: code and configurations that no version beside it had are embedded only by who has the license to make them.

use std::collections::BTreeSet;

use muster_code_trust::{Analysis, AnalysisPart, PartContent, PartKind};
use muster_model::{
    library::{self, Kind},
    permission::UserCaller,
};
use muster_store::LibraryItem;

use crate::{App, Error};

impl App {
    /// Why `user` may not save an analysis of these parts over `before`: what it embeds is licensed as an item of its
    /// kind is. What `before` embeds now is no work of theirs, and stays.
    pub(super) async fn unlicensed(
        &self,
        user: &UserCaller,
        parts: &[AnalysisPart],
        before: &LibraryItem,
    ) -> Result<Option<Error>, Error> {
        let mut lacking: Vec<_> = parts.iter().filter_map(|part| lacks(user, part)).collect();
        if lacking.is_empty() {
            return Ok(None);
        }
        if before.kind == Kind::Analysis
            && let Some(digest) = &before.current
        {
            let version = self.store().library_version(before.id, digest).await?;
            let version = version.ok_or_else(|| Error::bug("an item without its current version"))?;
            let there = Analysis::read(version.manifest.as_bytes()).map_err(Error::bug)?;
            let there: BTreeSet<_> = there.parts.iter().filter_map(embedded).collect();
            lacking.retain(|(part, _)| embedded(part).is_none_or(|embedded| !there.contains(&embedded)));
        }
        Ok(lacking.first().map(|(AnalysisPart { kind, name, .. }, feature)| {
            Error::denied(format!(
                "user {} may not save an analysis with the new or changed {kind} \"{}\" in it; ask for a group with the license feature {feature}",
                user.name,
                name.escape_default()
            ))
        }))
    }
}

/// A part with the license feature that `user` needs to embed it and does not have.
fn lacks<'a>(user: &UserCaller, part: &'a AnalysisPart) -> Option<(&'a AnalysisPart, &'static str)> {
    embedded(part)?;
    let kind = match part.kind {
        PartKind::Script => Kind::Script,
        PartKind::ExternalAction => Kind::ExternalAction,
        PartKind::CustomQuery => Kind::CustomQuery,
        // These are always items.
        PartKind::DataFunction | PartKind::Mod => return None,
    };
    let feature = library::license(kind)?;
    let may = user.controls_library() || user.features.contains(feature);
    (!may).then_some((part, feature))
}

/// What a part embeds: its kind and digest.
fn embedded(part: &AnalysisPart) -> Option<(PartKind, &str)> {
    match &part.content {
        PartContent::Embedded { hash, .. } => Some((part.kind, hash.as_str())),
        PartContent::Item { .. } => None,
    }
}
