//! Pages of lists, and lines of text that people give.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use muster_wire::admin::v1::{Page, PageQuery};
use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

/// The page size when none is asked for.
const DEFAULT: u32 = 100;
/// The largest page.
const LARGEST: u32 = 1000;

/// How many things the page may hold.
pub(crate) fn limit(query: &PageQuery) -> Result<u32, Error> {
    match query.limit.unwrap_or(DEFAULT) {
        limit @ 1..=LARGEST => Ok(limit),
        _ => Err(Error::invalid(format!("limit is a number from 1 to {LARGEST}"))),
    }
}

/// The key after which the page begins.
pub(crate) fn after<K: DeserializeOwned>(query: &PageQuery) -> Result<Option<K>, Error> {
    let Some(next) = &query.next else { return Ok(None) };
    let bad = || Error::invalid("next is not one that a list gave; begin the list again without it");
    let json = URL_SAFE_NO_PAD.decode(next).map_err(|_| bad())?;
    serde_json::from_slice(&json).map(Some).map_err(|_| bad())
}

/// The page of `rows`, of which one more than `limit` was asked for.
pub(crate) fn of<R, K: Serialize, T>(
    mut rows: Vec<R>,
    limit: u32,
    key: impl Fn(&R) -> K,
    convert: impl Fn(R) -> T,
) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| {
        let json = serde_json::to_vec(&key(row)).expect("keys of lists are tuples of numbers and strings");
        URL_SAFE_NO_PAD.encode(json)
    });
    Page {
        items: rows.into_iter().map(convert).collect(),
        next,
    }
}

/// The page of a list that is read whole, since it is short: its things with their keys, which no two share.
pub(crate) fn of_whole<K: Clone + DeserializeOwned + Ord + Serialize, T>(
    query: &PageQuery,
    rows: impl IntoIterator<Item = (K, T)>,
) -> Result<Page<T>, Error> {
    let (limit, after) = (limit(query)?, after::<(K,)>(query)?);
    // A database may have an order of its own.
    let mut rows: Vec<(K, T)> = rows.into_iter().collect();
    rows.retain(|(key, _)| after.as_ref().is_none_or(|(after,)| key > after));
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(of(rows, limit, |(key, _)| (key.clone(),), |(_, thing)| thing))
}

/// A line that a person gave for others to read: no control characters, at most 500 characters.
pub(crate) fn clean_line(text: &str) -> Result<String, Error> {
    const LONGEST: usize = 500;
    if text.chars().count() > LONGEST || text.chars().any(char::is_control) {
        return Err(Error::invalid(
            "a reason or version is one line of at most 500 characters",
        ));
    }
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_read_whole_comes_in_pages_by_its_keys() {
        let mut query = PageQuery {
            limit: Some(2),
            ..PageQuery::default()
        };
        let mut seen = Vec::new();
        loop {
            let rows = ["d", "b", "e", "a", "c"].map(|key| (key.to_owned(), key));
            let page = of_whole(&query, rows).expect("a page");
            assert!(page.items.len() <= 2);
            seen.extend(page.items);
            query.next = page.next;
            if query.next.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
        query.next = Some("x".to_owned());
        assert!(of_whole(&query, [(1, 1)]).is_err(), "no list gave that");
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let all: Vec<i64> = (0..7).collect();
        let mut query = PageQuery {
            limit: Some(3),
            ..PageQuery::default()
        };
        let mut seen = Vec::new();
        loop {
            let from = after::<i64>(&query).expect("key");
            let rows: Vec<i64> = all
                .iter()
                .copied()
                .filter(|n| from.is_none_or(|f| *n > f))
                .take(4)
                .collect();
            let page = of(rows, limit(&query).expect("limit"), |n| *n, |n| n);
            seen.extend(page.items);
            match page.next {
                Some(next) => query.next = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_forged_place_in_a_list_is_refused() {
        let query = PageQuery {
            next: Some("nonsense".into()),
            ..PageQuery::default()
        };
        assert!(after::<(i64, String)>(&query).is_err());
    }
}
