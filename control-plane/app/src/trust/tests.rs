use muster_code_trust::{Block, Entry, Moment};
use muster_ids::Sha512;

use super::*;
use crate::fixture;

fn stamp(number: u8, author: &str, hash: &ItemHash) -> Stamp {
    Stamp {
        id: StampId::new(1, [number; 10]),
        kind: CodeType::Script,
        hash: hash.clone(),
        library_item: LibraryItemId::ROOT.to_string().parse().expect("a label"),
        author: author.parse().expect("a name"),
        at: Moment::from_unix_ms(1),
    }
}

#[tokio::test]
async fn stamps_that_do_not_count_crowd_out_none_that_does() {
    let (app, _folder) = fixture::app().await;
    let name = "admin@SPOTFIRE".parse().expect("a name");
    let admin = app.user_named(&name).await.expect("a user");
    let admin = app.user_caller(&admin).await.expect("their rights");
    let hash: ItemHash = Sha512::of(b"1").into();
    let last = stamp(255, "bob@SPOTFIRE", &hash);
    let of_ann = (0..100).map(|number| Entry::Stamp(stamp(number, "ann@SPOTFIRE", &hash)));
    let readable = async |entries: Vec<Entry>| {
        let state = TrustState::from_entries(entries);
        let content = (CodeType::Script, &hash);
        let readable = app.readable_stamps(&admin, &state, content, None).await;
        readable.expect("read")
    };
    let mut entries: Vec<Entry> = of_ann.chain([Entry::Stamp(last.clone())]).collect();
    let before = readable(entries.clone()).await;
    assert_eq!((before.len(), before.contains(&last.id)), (MOST_STAMPS, false));
    let blocked = "ann@SPOTFIRE".parse().expect("a name");
    entries.push(Entry::Block(Block::User(blocked)));
    let after = readable(entries).await;
    assert_eq!((after.len(), after.first()), (MOST_STAMPS, Some(&last.id)));
}
