//! Lists: pages are followed to the end.

use clap::Args;
use muster_client::{Request, Rest};
use muster_wire::admin::v1::Page;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// The most that a control plane gives in one page.
const LARGEST_PAGE: usize = 1000;

/// How much of a list is wanted.
#[derive(Debug, Default, Args)]
pub(crate) struct Extent {
    /// Stop after this many rows [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

/// The things that `request` lists, up to `extent`.
pub(crate) async fn all<T: DeserializeOwned>(
    rest: &Rest,
    request: impl Fn() -> Request,
    extent: &Extent,
) -> Result<Vec<T>, Failure> {
    let wanted = extent
        .limit
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut items: Vec<T> = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let page = LARGEST_PAGE.min(wanted - items.len());
        let mut call = request().query("limit", &page.to_string());
        if let Some(next) = &next {
            call = call.query("next", next);
        }
        let answer: Page<T> = rest.call(call).await?;
        items.extend(answer.items);
        items.truncate(wanted);
        if answer.next.is_none() || items.len() == wanted {
            return Ok(items);
        }
        if answer.next == next {
            return Err(Failure::failed(
                "unexpected-answer",
                "the list does not end: its pages repeat; are this program and the control plane of like versions?",
            ));
        }
        next = answer.next;
    }
}

/// Everything that the list at `path` has.
pub(crate) async fn every<T: DeserializeOwned>(rest: &Rest, path: &str) -> Result<Vec<T>, Failure> {
    all(rest, || Request::get(path), &Extent::default()).await
}
