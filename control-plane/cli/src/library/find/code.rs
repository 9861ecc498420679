//! The code in one item, read from the control plane, and trusted where that was asked for.

use std::collections::{BTreeMap, BTreeSet};

use muster_client::{ClientError, Request, Rest};
use muster_code_trust::{Analysis, AnalysisPart, CODE_FILE, CodeManifest, ItemHash, PartContent, PartKind};
use muster_ids::LibraryItemId;
use muster_wire::admin::v1::{
    function::Function,
    library::{Content, LibraryItem},
    stamp::{ItemCode, Stamp, StampChoice, Stamped},
};

use super::{PATH, at};
use crate::failure::Failure;

/// What a piece of code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Script,
    DataFunction,
    CustomQuery,
    JobScript,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [
        Self::Script,
        Self::DataFunction,
        Self::CustomQuery,
        Self::JobScript,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Script => "script",
            Self::DataFunction => "data_function",
            Self::CustomQuery => "custom_query",
            Self::JobScript => "job_script",
        }
    }
}

/// Whether something came of trusting a piece of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nobody asked for it, and no stamp on the item is for it.
    Unasked,
    /// Nobody asked for it; there is a stamp on the item.
    Standing,
    /// There is a stamp now.
    Given,
    /// There was one.
    There,
    /// Why not.
    Refused(String),
}

/// A piece of code.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub(super) kind: Kind,
    /// What the item calls it.
    pub(super) name: String,
    pub(super) language: String,
    /// Its content, as stamps name it; empty where it could not be learned.
    pub(super) hash: String,
    /// The item that holds it: another one where an analysis names it.
    pub(super) held_by: LibraryItemId,
    /// What it says; why it could not be read, where it could not.
    pub(super) text: Result<String, String>,
    pub(super) trust: Trust,
}

/// An item with its code.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) item: LibraryItem,
    /// Why the item could not be read, where it could not.
    pub(super) codes: Result<Vec<Code>, String>,
}

impl Found {
    /// What is told of it.
    pub(super) fn sentence(&self) -> String {
        let path = &self.item.path;
        match &self.codes {
            Err(why) => format!("{path}: {why}"),
            Ok(codes) if codes.is_empty() => format!("{path}: no code"),
            Ok(codes) => {
                let counted: Vec<String> = Kind::ALL
                    .into_iter()
                    .map(|kind| (kind, codes.iter().filter(|code| code.kind == kind).count()))
                    .filter(|(_, count)| *count > 0)
                    .map(|(kind, count)| format!("{count} {}", kind.word()))
                    .collect();
                format!("{path}: {}", counted.join(", "))
            }
        }
    }
}

/// Whether items of this kind can hold code that is trusted by stamps, or run by jobs.
pub(super) fn can_hold_code(kind: &str) -> bool {
    matches!(
        kind,
        "script" | "job_script" | "custom_query" | "data_function" | "analysis"
    )
}

/// Whether something is not there, or must not be known.
pub(super) fn is_gone(failure: &Failure) -> bool {
    matches!(failure, Failure::Call(error) if refusal(error).is_some_and(|(status, _)| matches!(status, 403 | 404)))
}

/// Reads an item, and trusts what it holds of `kinds`.
pub(super) async fn read(rest: &Rest, item: LibraryItem, kinds: &[Kind]) -> Result<Found, Failure> {
    let codes = match item.kind.as_str() {
        "data_function" => function(rest, item.id, None).await,
        "analysis" => analysis(rest, item.id).await,
        kind => coded(rest, item.id, kind, None).await.map(|code| vec![code]),
    };
    let mut codes = match codes {
        Ok(codes) => codes,
        // What is wrong with one item does not keep the others from being found.
        Err(error) => {
            let why = told(error)?;
            return Ok(Found {
                item,
                codes: Err(why),
            });
        }
    };
    for code in &mut codes {
        if code.name.is_empty() {
            item.name.as_str().clone_into(&mut code.name);
        }
    }
    trust(rest, item.id, &mut codes, kinds).await?;
    standing(rest, item.id, &mut codes).await?;
    Ok(Found {
        item,
        codes: Ok(codes),
    })
}

/// The code of a script, job script or custom query, in its current version or in another.
async fn coded(rest: &Rest, id: LibraryItemId, kind: &str, digest: Option<&str>) -> Result<Code, Failure> {
    let item = id.to_string();
    let mut request = at(Request::get(PATH), &item).segment("content");
    if let Some(digest) = digest {
        request = request.query("digest", digest);
    }
    let content: Content = rest.call(request).await?;
    let request = at(Request::get(PATH), &item)
        .segment("file")
        .query("path", CODE_FILE)
        .query("digest", &content.digest);
    let text = match rest.send(request).await {
        Ok(answer) => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
        Err(error) => Err(told(error.into())?),
    };
    let declared = kind
        .parse()
        .ok()
        .and_then(|kind| CodeManifest::read(kind, content.manifest.as_bytes()).ok());
    Ok(Code {
        kind: match kind {
            "custom_query" => Kind::CustomQuery,
            "job_script" => Kind::JobScript,
            _ => Kind::Script,
        },
        name: String::new(),
        language: declared.map_or_else(String::new, |declared| declared.language.to_string()),
        hash: content.digest,
        held_by: id,
        text,
        trust: Trust::Unasked,
    })
}

/// A data function. Of older versions only the hash is known.
async fn function(rest: &Rest, id: LibraryItemId, digest: Option<&str>) -> Result<Vec<Code>, Failure> {
    let request = Request::get("/api/v1/functions").segment(&id.to_string());
    let function: Function = rest.call(request).await?;
    let current = function.digest.to_string();
    let meant = digest.unwrap_or(&current);
    let text = if meant == current {
        Ok(function.definition.script)
    } else {
        Err("an older version, which is not shown any more".to_owned())
    };
    Ok(vec![Code {
        kind: Kind::DataFunction,
        name: String::new(),
        language: function.definition.language,
        hash: meant.to_owned(),
        held_by: id,
        text,
        trust: Trust::Unasked,
    }])
}

/// What an analysis embeds, and what it names.
async fn analysis(rest: &Rest, id: LibraryItemId) -> Result<Vec<Code>, Failure> {
    let request = at(Request::get(PATH), &id.to_string()).segment("content");
    let content: Content = rest.call(request).await?;
    let analysis = Analysis::read(content.manifest.as_bytes())
        .map_err(|error| Failure::failed(UNREADABLE, error.to_string()))?;
    let mut codes = Vec::new();
    for AnalysisPart { kind, name, content } in analysis.parts {
        let (kind, word) = match kind {
            PartKind::Script => (Kind::Script, "script"),
            PartKind::DataFunction => (Kind::DataFunction, "data_function"),
            PartKind::CustomQuery => (Kind::CustomQuery, "custom_query"),
            PartKind::Mod | PartKind::ExternalAction => continue,
        };
        match content {
            PartContent::Embedded { hash, language, text } => codes.push(Code {
                kind,
                name,
                language: language.map_or_else(String::new, |language| language.to_string()),
                hash: hash.to_string(),
                held_by: id,
                text: Ok(text),
                trust: Trust::Unasked,
            }),
            PartContent::Item { id, digest } => {
                codes.push(named(rest, (kind, word), name, id, digest).await?);
            }
        }
    }
    Ok(codes)
}

/// What an analysis names: its content is that of the other item.
async fn named(
    rest: &Rest,
    (kind, word): (Kind, &str),
    name: String,
    id: LibraryItemId,
    digest: Option<ItemHash>,
) -> Result<Code, Failure> {
    let digest = digest.map(|digest| digest.to_string());
    let read = match kind {
        Kind::DataFunction => function(rest, id, digest.as_deref())
            .await
            .map(|mut codes| codes.pop()),
        _ => coded(rest, id, word, digest.as_deref()).await.map(Some),
    };
    let missing = |why: String| Code {
        kind,
        name: name.clone(),
        language: String::new(),
        hash: digest.clone().unwrap_or_default(),
        held_by: id,
        text: Err(why),
        trust: Trust::Unasked,
    };
    match read {
        Ok(Some(code)) => Ok(Code { name, ..code }),
        Ok(None) => Ok(missing("it has no content".to_owned())),
        Err(error) => Ok(missing(told(error)?)),
    }
}

/// Marks problems of one item among those of the search.
const UNREADABLE: &str = "unreadable-item";

/// What is told of a problem with one item. Other problems end the search, which can then go on later.
fn told(failure: Failure) -> Result<String, Failure> {
    match &failure {
        Failure::Failed { kind, detail } if *kind == UNREADABLE => Ok(detail.clone()),
        Failure::Call(error) => match (refusal(error), error.as_ref()) {
            (Some((400 | 403 | 404 | 409 | 422, detail)), _) => Ok(detail),
            (_, ClientError::TooLong { .. }) => Ok("it is longer than this program reads".to_owned()),
            _ => Err(failure),
        },
        _ => Err(failure),
    }
}

fn refusal(error: &ClientError) -> Option<(u16, String)> {
    let problem = error.problem()?;
    Some((problem.status, problem.detail.clone()))
}

/// Trusts what the item holds of these kinds: all at once, or, where that is refused, in ever smaller parts, so that it is
/// known what is refused and why.
async fn trust(rest: &Rest, item: LibraryItemId, codes: &mut [Code], kinds: &[Kind]) -> Result<(), Failure> {
    let wanted: BTreeSet<(bool, String)> = codes
        .iter()
        .filter(|code| kinds.contains(&code.kind) && !code.hash.is_empty())
        .map(|code| (code.kind == Kind::CustomQuery, code.hash.clone()))
        .collect();
    let mut answers: BTreeMap<(bool, String), Trust> = BTreeMap::new();
    let mut parts: Vec<Vec<(bool, String)>> = vec![wanted.into_iter().collect()];
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        let (denied, why) = match stamp(rest, item, &part).await? {
            Ok(stamped) => {
                note(&stamped, &mut answers);
                continue;
            }
            Err(refused) => refused,
        };
        // Sorted: queries come last. Rights are the same for all of one kind; anything else is about single contents.
        let queries = part.partition_point(|(query, _)| !query);
        let split = match denied {
            true if queries < part.len() => queries,
            true => 0,
            false => part.len() / 2,
        };
        if split == 0 {
            answers.extend(part.into_iter().map(|one| (one, Trust::Refused(why.clone()))));
        } else {
            parts.push(part.split_off(split));
            parts.push(part);
        }
    }
    for code in codes.iter_mut().filter(|code| kinds.contains(&code.kind)) {
        let key = (code.kind == Kind::CustomQuery, code.hash.clone());
        code.trust = match answers.get(&key) {
            Some(answer) => answer.clone(),
            None => Trust::Refused("its content could not be learned".to_owned()),
        };
    }
    Ok(())
}

/// Which of the rest stamps on the item trust already.
async fn standing(rest: &Rest, item: LibraryItemId, codes: &mut [Code]) -> Result<(), Failure> {
    if codes.iter().all(|code| code.trust != Trust::Unasked) {
        return Ok(());
    }
    let request = at(Request::get(PATH), &item.to_string()).segment("code");
    let there: Vec<ItemCode> = match rest.call(request).await {
        Ok(there) => there,
        // It was deleted or closed meanwhile, and stamps with it.
        Err(error) => {
            told(error.into())?;
            return Ok(());
        }
    };
    for code in codes.iter_mut().filter(|code| code.trust == Trust::Unasked) {
        let same = |one: &ItemCode| one.stamped && one.kind == code.kind.word() && one.hash == code.hash;
        if there.iter().any(same) {
            code.trust = Trust::Standing;
        }
    }
    Ok(())
}

fn note(stamped: &Stamped, answers: &mut BTreeMap<(bool, String), Trust>) {
    let key = |stamp: &Stamp| (stamp.kind == Kind::CustomQuery.word(), stamp.hash.clone());
    for stamp in &stamped.stamped {
        answers.insert(key(stamp), Trust::Given);
    }
    for stamp in &stamped.already {
        answers.entry(key(stamp)).or_insert(Trust::There);
    }
}

/// What the control plane says to stamps on an item, or why it refuses, and whether that is for rights that are missing.
async fn stamp(
    rest: &Rest,
    item: LibraryItemId,
    wanted: &[(bool, String)],
) -> Result<Result<Stamped, (bool, String)>, Failure> {
    let hashes = |queries: bool| {
        let of = wanted.iter().filter(|(query, _)| *query == queries);
        Some(of.map(|(_, hash)| hash.clone()).collect())
    };
    let choice = StampChoice {
        scripts: hashes(false),
        queries: hashes(true),
    };
    let request = at(Request::post(PATH), &item.to_string())
        .segment("trust")
        .json(&choice);
    match rest.call(request).await {
        Ok(stamped) => Ok(Ok(stamped)),
        Err(error) => {
            let denied = refusal(&error).is_some_and(|(status, _)| status == 403);
            Ok(Err((denied, told(error.into())?)))
        }
    }
}
