use crate::world::on_both;

on_both! {
    an_item_is_found_by_name_in_its_folder_only
    permissions_are_those_of_the_item_or_of_its_folder
    a_function_is_an_item_under_its_own_identifier
    what_is_deleted_goes_with_its_versions_and_permissions
    versions_stay_under_their_digests
    a_group_that_is_gone_leaves_no_permission
    functions_of_an_older_program_stand_in_the_root
    contents_are_listed_by_what_they_are_known_by
    a_group_with_another_name_keeps_what_it_has
}

mod cases {
    use muster_ids::{Digest, GroupId, LibraryItemId, Name, UserId};
    use muster_model::{
        audit::Event,
        library::{Grant, Grantee, Kind, Right, path},
        permission::REGISTER_DATA_FUNCTIONS,
    };
    use muster_store::{Group, ItemSignature, LibraryItem, LibraryVersion, Saved, StoreError};

    use crate::world::{NOW, World, commit, function, random};

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn folder(parent: LibraryItemId, text: &str, by: UserId) -> LibraryItem {
        LibraryItem {
            id: LibraryItemId::new(NOW, random()),
            kind: Kind::Folder,
            parent: Some(parent),
            name: name(text),
            description: "for tests".to_owned(),
            current: None,
            inherits: true,
            created_at: NOW,
            created_by: Some(by),
            updated_at: NOW,
            updated_by: Some(by),
            version: 1,
        }
    }

    async fn insert(world: &World, items: &[&LibraryItem]) {
        let mut tx = world.begin().await;
        for item in items {
            tx.library_insert(item).await.expect("added");
        }
        commit(tx, Event::LibraryFolderCreated).await;
    }

    fn group(text: &str, right: Right) -> Grant {
        Grant {
            grantee: Grantee::Group(name(text)),
            right,
        }
    }

    pub(super) async fn an_item_is_found_by_name_in_its_folder_only(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let team = folder(LibraryItemId::ROOT, "Team", ann.id);
        let inner = folder(team.id, "Plans", ann.id);
        insert(&world, &[&team, &inner]).await;
        let store = &world.store;
        assert_eq!(
            store.library_item(inner.id).await.expect("read"),
            Some(inner.clone())
        );
        let found = store
            .library_item_in(team.id, &name("PLANS"))
            .await
            .expect("read");
        assert_eq!(found, Some(inner.clone()));
        let elsewhere = store.library_item_in(LibraryItemId::ROOT, &name("Plans")).await;
        assert_eq!(elsewhere.expect("read"), None);
        let listed = store
            .library_list(LibraryItemId::ROOT, None, 9)
            .await
            .expect("read");
        assert_eq!(listed, std::slice::from_ref(&team));
        let after = store
            .library_list(LibraryItemId::ROOT, Some(&name("team")), 9)
            .await;
        assert_eq!(after.expect("read"), []);

        let mut tx = world.begin().await;
        let twin = tx
            .library_insert(&folder(LibraryItemId::ROOT, "TEAM", ann.id))
            .await;
        assert!(matches!(twin, Err(StoreError::Duplicate { .. })), "{twin:?}");
        drop(tx);
        let moved = LibraryItem {
            parent: Some(LibraryItemId::ROOT),
            version: 2,
            ..inner.clone()
        };
        let mut tx = world.begin().await;
        tx.library_put(&moved).await.expect("moved");
        let late = tx.library_put(&moved).await;
        assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
        drop(tx);
        assert_eq!(store.library_item(inner.id).await.expect("read"), Some(inner));
    }

    pub(super) async fn permissions_are_those_of_the_item_or_of_its_folder(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let team = folder(LibraryItemId::ROOT, "Team", ann.id);
        let inner = folder(team.id, "Plans", ann.id);
        insert(&world, &[&team, &inner]).await;
        let chain = world.store.library_chain(inner.id).await.expect("read");
        assert_eq!(path(&chain), "/Team/Plans");
        let root = chain.last().expect("the root");
        assert!(!root.inherits);
        assert_eq!(
            root.grants,
            [
                group("Everyone", Right::Read),
                Grant {
                    grantee: Grantee::License(REGISTER_DATA_FUNCTIONS.to_owned()),
                    right: Right::Write
                }
            ]
        );
        let own = [
            group("Script Author", Right::Write),
            Grant {
                grantee: Grantee::User(ann.name.clone()),
                right: Right::Read,
            },
        ];
        let mut tx = world.begin().await;
        tx.library_permit(team.id, Some(&own)).await.expect("set");
        let below = tx.library_grants_below(team.id).await.expect("read");
        assert_eq!(below.keys().collect::<Vec<_>>(), [&team.id]);
        let seen = tx.library_chain(inner.id).await.expect("read");
        assert_eq!((seen[0].inherits, seen[1].inherits), (true, false));
        assert_eq!(seen[1].grants, own);
        commit(tx, Event::LibraryPermissionsChanged).await;
        let inside = world
            .store
            .library_grants_in(LibraryItemId::ROOT)
            .await
            .expect("read");
        assert_eq!(inside.get(&team.id).map(Vec::len), Some(2));

        let mut tx = world.begin().await;
        tx.library_permit(team.id, None).await.expect("inherits");
        commit(tx, Event::LibraryPermissionsChanged).await;
        let chain = world.store.library_chain(inner.id).await.expect("read");
        assert!(chain[1].inherits && chain[1].grants.is_empty());
        let nothing = LibraryItemId::new(NOW, random());
        assert_eq!(world.store.library_chain(nothing).await.expect("read"), []);
        let gone = world.begin().await.library_permit(nothing, None).await;
        assert!(matches!(gone, Err(StoreError::NotFound { .. })));
    }

    pub(super) async fn a_function_is_an_item_under_its_own_identifier(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let team = folder(LibraryItemId::ROOT, "Team", ann.id);
        insert(&world, &[&team]).await;
        let first = function("Forecast", b"1", ann.id);
        let mut tx = world.begin().await;
        tx.function_insert(&first, "{}", team.id).await.expect("added");
        commit(tx, Event::FunctionRegistered).await;
        let second = muster_store::Function {
            current: Digest::of(b"2"),
            updated_at: NOW + 1,
            version: 2,
            ..first.clone()
        };
        let mut tx = world.begin().await;
        tx.function_new_version(&second, "{}").await.expect("changed");
        commit(tx, Event::FunctionRegistered).await;
        let item = world
            .store
            .library_item(first.id.into())
            .await
            .expect("read")
            .expect("there");
        assert_eq!(
            (item.kind, item.parent, item.name, item.current, item.updated_at),
            (
                Kind::DataFunction,
                Some(team.id),
                first.name,
                Some(second.current.to_string()),
                NOW + 1
            )
        );
    }

    pub(super) async fn what_is_deleted_goes_with_its_versions_and_permissions(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let team = folder(LibraryItemId::ROOT, "Team", ann.id);
        insert(&world, &[&team]).await;
        let forecast = function("Forecast", b"1", ann.id);
        let mut tx = world.begin().await;
        tx.function_insert(&forecast, "{}", team.id).await.expect("added");
        tx.library_permit(forecast.id.into(), Some(&[]))
            .await
            .expect("set");
        commit(tx, Event::FunctionRegistered).await;
        let mut tx = world.begin().await;
        let below = tx.library_below(team.id).await.expect("read");
        let kinds: Vec<Kind> = below.iter().map(|item| item.kind).collect();
        assert_eq!(kinds, [Kind::Folder, Kind::DataFunction]);
        for item in below.iter().rev() {
            tx.library_delete(item).await.expect("deleted");
        }
        let again = tx.library_delete(&team).await;
        assert!(matches!(again, Err(StoreError::NotFound { .. })), "{again:?}");
        drop(tx);
        assert!(world.store.function(forecast.id).await.expect("read").is_some());
        let mut tx = world.begin().await;
        for item in below.iter().rev() {
            tx.library_delete(item).await.expect("deleted");
        }
        commit(tx, Event::LibraryItemDeleted).await;
        let store = &world.store;
        assert_eq!(store.function(forecast.id).await.expect("read"), None);
        assert_eq!(store.library_item(forecast.id.into()).await.expect("read"), None);
        let version = store.function_version(forecast.id, &forecast.current).await;
        assert_eq!(version.expect("read"), None);
    }

    pub(super) async fn versions_stay_under_their_digests(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let plan = LibraryItem {
            kind: Kind::Analysis,
            current: Some("a".to_owned()),
            ..folder(LibraryItemId::ROOT, "Plan", ann.id)
        };
        let version = |digest: &str, at: i64| LibraryVersion {
            item: plan.id,
            digest: digest.to_owned(),
            manifest: format!("manifest of {digest}"),
            files: "{}".to_owned(),
            created_at: at,
            created_by: ann.id,
        };
        let mut tx = world.begin().await;
        tx.library_insert(&plan).await.expect("added");
        for (digest, at) in [("b", NOW), ("a", NOW), ("c", NOW + 1), ("a", NOW + 2)] {
            tx.library_add_version(&version(digest, at))
                .await
                .expect("stored");
        }
        commit(tx, Event::LibraryItemSaved).await;
        let found = world.store.library_version(plan.id, "a").await.expect("read");
        assert_eq!(found, Some(version("a", NOW)), "the first to store it");
        let holds = async |kind, digest| {
            let found = world.store.library_holds(kind, digest).await;
            found.expect("read")
        };
        assert!(holds(plan.kind, "a").await && holds(plan.kind, "c").await);
        assert!(!holds(plan.kind, "d").await && !holds(Kind::Folder, "a").await);
        let page = world
            .store
            .library_versions(plan.id, None, 2)
            .await
            .expect("read");
        let listed = |versions: Vec<Saved>| -> Vec<(String, i64)> {
            versions
                .into_iter()
                .map(|saved| (saved.digest, saved.created_at))
                .collect()
        };
        assert_eq!(listed(page), [("a".to_owned(), NOW), ("b".to_owned(), NOW)]);
        let after = (NOW, "b".to_owned());
        let rest = world.store.library_versions(plan.id, Some(&after), 9).await;
        assert_eq!(listed(rest.expect("read")), [("c".to_owned(), NOW + 1)]);
        let mut tx = world.begin().await;
        tx.library_delete(&plan).await.expect("deleted");
        commit(tx, Event::LibraryItemDeleted).await;
        assert!(!holds(plan.kind, "a").await);
        assert_eq!(
            world.store.library_version(plan.id, "a").await.expect("read"),
            None
        );
    }

    pub(super) async fn contents_are_listed_by_what_they_are_known_by(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let forecast = function("Forecast", b"1", ann.id);
        let mut tx = world.begin().await;
        tx.function_insert(&forecast, "{}", LibraryItemId::ROOT)
            .await
            .expect("added");
        for (kind, digests) in [
            (Kind::ActionMod, ["sha512=b", "sha512=a"]),
            (Kind::Analysis, ["sha512=y", "sha512=z"]),
        ] {
            let item = LibraryItem {
                kind,
                current: Some(digests[1].to_owned()),
                ..folder(LibraryItemId::ROOT, kind.as_str(), ann.id)
            };
            tx.library_insert(&item).await.expect("added");
            for digest in digests {
                let version = LibraryVersion {
                    item: item.id,
                    digest: digest.to_owned(),
                    manifest: "{}".to_owned(),
                    files: "{}".to_owned(),
                    created_at: NOW,
                    created_by: ann.id,
                };
                tx.library_add_version(&version).await.expect("stored");
            }
        }
        for (id, by) in [
            ("1", "ann@SPOTFIRE"),
            ("2", "ann@SPOTFIRE"),
            ("3", "CN=Elsewhere"),
        ] {
            let signature = ItemSignature {
                id: Digest::of(id.as_bytes()),
                item_type: "action_mod".to_owned(),
                hash: "sha512=a".to_owned(),
                certificate: Digest::of(by.as_bytes()),
                signed_by: by.to_owned(),
                signed_at: NOW,
                bundle: "{}".to_owned(),
            };
            tx.item_signature_insert(&signature).await.expect("kept");
        }
        commit(tx, Event::LibraryItemSaved).await;
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        // Two at a time: pages follow each other without gap or overlap.
        loop {
            let page = world
                .store
                .code_entities(after.as_deref(), 2)
                .await
                .expect("read");
            let Some(last) = page.last() else { break };
            after = Some(last.place.clone());
            found.extend(
                page.into_iter()
                    .map(|row| (row.hash, row.kind, row.known, row.name)),
            );
        }
        found.sort();
        let digest = forecast.current.to_string();
        let expected = [
            (digest.as_str(), "data_function", "library", "Forecast"),
            ("sha512=a", "action_mod", "library", "action_mod"),
            ("sha512=a", "action_mod", "signed", "CN=Elsewhere"),
            ("sha512=a", "action_mod", "signed", "ann@SPOTFIRE"),
            ("sha512=b", "action_mod", "library", "action_mod"),
        ]
        .map(|(hash, kind, known, name)| {
            (
                hash.to_owned(),
                kind.to_owned(),
                known.to_owned(),
                name.to_owned(),
            )
        });
        assert_eq!(found, expected);
    }

    pub(super) async fn a_group_with_another_name_keeps_what_it_has(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let staff = Group {
            id: GroupId::new(NOW, random()),
            name: name("Staff"),
            builtin: false,
        };
        let mut tx = world.begin().await;
        tx.group_insert(&staff).await.expect("added");
        assert!(tx.group_add_member(staff.id, ann.id).await.expect("added"));
        tx.library_permit(LibraryItemId::ROOT, Some(&[group("Staff", Right::Write)]))
            .await
            .expect("set");
        commit(tx, Event::GroupCreated).await;
        let mut tx = world.begin().await;
        assert!(tx.group_rename(&staff, &name("Crew")).await.expect("renamed"));
        assert!(
            !tx.group_rename(&staff, &name("Other")).await.expect("is gone"),
            "once"
        );
        commit(tx, Event::GroupChanged).await;
        let found = world.store.group_by_name(&name("crew")).await.expect("read");
        assert_eq!(found.map(|group| group.id), Some(staff.id));
        let chain = world
            .store
            .library_chain(LibraryItemId::ROOT)
            .await
            .expect("read");
        assert_eq!(chain[0].grants, [group("Crew", Right::Write)]);

        let disabled = muster_store::User {
            state: muster_store::UserState::Disabled,
            version: ann.version + 1,
            ..ann.clone()
        };
        assert!(world.store.groups_of_disabled().await.expect("read").is_empty());
        let mut tx = world.begin().await;
        tx.user_put(&disabled).await.expect("disabled");
        commit(tx, Event::UserChanged).await;
        let groups = world.store.groups_of_disabled().await.expect("read");
        assert_eq!(groups.get(&ann.id), Some(&vec![name("Crew")]));
        let builtin = world
            .store
            .group_by_name(&name("Administrator"))
            .await
            .expect("read")
            .expect("there");
        let refused = world.begin().await.group_rename(&builtin, &name("Mine")).await;
        assert!(!refused.expect("nothing is done"));
    }

    pub(super) async fn a_group_that_is_gone_leaves_no_permission(world: World) {
        let staff = Group {
            id: GroupId::new(NOW, random()),
            name: name("Staff"),
            builtin: false,
        };
        let mut tx = world.begin().await;
        tx.group_insert(&staff).await.expect("added");
        let grants = [group("Staff", Right::Write), group("Everyone", Right::Read)];
        tx.library_permit(LibraryItemId::ROOT, Some(&grants))
            .await
            .expect("set");
        commit(tx, Event::GroupCreated).await;
        let mut tx = world.begin().await;
        tx.group_delete(staff.id).await.expect("deleted");
        commit(tx, Event::GroupDeleted).await;
        let chain = world
            .store
            .library_chain(LibraryItemId::ROOT)
            .await
            .expect("read");
        assert_eq!(chain[0].grants, [group("Everyone", Right::Read)]);
    }

    /// What the migration does to functions that are there already, done by hand: the tests begin after it.
    pub(super) async fn functions_of_an_older_program_stand_in_the_root(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let old = function("Old", b"1", ann.id);
        let mut tx = world.begin().await;
        tx.function_insert(&old, "{}", LibraryItemId::ROOT)
            .await
            .expect("added");
        commit(tx, Event::FunctionRegistered).await;
        let written = world.store.library_item(old.id.into()).await.expect("read");
        world
            .meddle("DELETE FROM library_items WHERE kind = 'data_function'")
            .await;
        for database in ["sqlite", "postgres"] {
            let file = format!(
                "{}/../migrations/{database}/0011_library.sql",
                env!("CARGO_MANIFEST_DIR")
            );
            let text = std::fs::read_to_string(file).expect("the migration");
            let filling = text
                .split(';')
                .find(|statement| statement.contains("FROM functions"))
                .expect("it takes functions over");
            let fits = match world.kind {
                crate::world::Kind::Sqlite => database == "sqlite",
                crate::world::Kind::Postgres => database == "postgres",
            };
            if fits {
                world.meddle(filling.trim().to_owned().leak()).await;
            }
        }
        assert_eq!(
            world.store.library_item(old.id.into()).await.expect("read"),
            written
        );
    }
}
