use crate::world::on_both;

on_both! {
    users_have_one_name_and_a_version
    a_deleted_user_leaves_a_row_and_a_free_name
    a_password_leaves_by_its_own_door
    a_session_counts_while_it_lasts_and_its_user_is_active
    the_directory_of_a_user_is_whole
    a_group_cannot_inherit_from_itself
    two_halves_of_a_circle_cannot_be_closed_at_once
    a_group_is_built_in_with_its_members_and_permissions
    built_in_groups_stay_and_others_go_with_their_memberships
    functions_keep_every_version_once
    what_is_decided_by_stays_until_the_decision_is_stored
}

mod cases {
    use std::{cell::Cell, collections::BTreeSet, time::Duration};

    use muster_ids::{Digest, GroupId, LibraryItemId, UserName};
    use muster_model::{
        audit::Event,
        library::{Grant, Grantee, Right},
        permission::{AUTHOR_SCRIPTS, EVERYONE},
    };
    use muster_store::{Group, NewSession, StoreError, User, UserState};
    use secrecy::{ExposeSecret as _, SecretString};

    use crate::world::{Kind, NOW, World, commit, function, random};

    pub(super) async fn what_is_decided_by_stays_until_the_decision_is_stored(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let group = world.new.groups.script_author;
        let mut tx = world.begin().await;
        tx.group_add_member(group, ann.id).await.expect("added");
        commit(tx, Event::GroupChanged).await;
        for change in 0..3 {
            let mut deciding = world.begin().await;
            deciding.hold_rights().await.expect("held");
            let changed = Cell::new(false);
            let changing = async {
                let mut tx = world.begin().await;
                let (key, value) = ("key".to_owned(), Some("value".to_owned()));
                match change {
                    0 => drop(tx.group_remove_member(group, ann.id).await.expect("removed")),
                    1 => {
                        let disabled = User {
                            state: UserState::Disabled,
                            version: 2,
                            ..ann.clone()
                        };
                        tx.user_put(&disabled).await.expect("stored");
                    }
                    _ => drop(tx.trust_change(&[(key, value)], NOW).await.expect("changed")),
                }
                commit(tx, Event::UserChanged).await;
                changed.set(true);
            };
            let deciding = async {
                // Long enough for it to have come through, if nothing held it.
                tokio::time::sleep(Duration::from_millis(200)).await;
                let user = world.store.user(ann.id).await.expect("read").expect("there");
                let is_in = world.store.directory_of(ann.id).await.expect("read").direct;
                let number = world.store.trust_head().await.expect("read").number;
                assert_eq!(
                    (user.state == UserState::Active, is_in.contains(&group), number),
                    (change < 2, change < 1, 0),
                    "{change}: read beside the transaction"
                );
                assert!(!changed.get(), "{change}: it waits for who decides");
                commit(deciding, Event::RunGranted).await;
            };
            tokio::join!(changing, deciding);
            assert!(changed.get());
        }
        let mut first = world.begin().await;
        first.hold_rights().await.expect("held");
        if world.kind == Kind::Postgres {
            let mut second = world.begin().await;
            second.hold_rights().await.expect("held together");
        }
    }

    pub(super) async fn users_have_one_name_and_a_version(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let name = |text: &str| -> UserName { text.parse().expect("name") };
        assert_eq!(
            world
                .store
                .user_by_name(&name("ANN@spotfire"))
                .await
                .expect("read"),
            Some(ann.clone())
        );
        let mut twin = ann.clone();
        twin.name = name("Ann@Spotfire");
        let error = world.begin().await.user_insert(&twin).await.expect_err("taken");
        assert!(matches!(error, StoreError::Duplicate { .. }), "{error}");

        let disabled = User {
            state: UserState::Disabled,
            version: 2,
            ..ann.clone()
        };
        let mut tx = world.begin().await;
        tx.user_put(&disabled).await.expect("stored");
        assert!(matches!(
            tx.user_put(&disabled).await,
            Err(StoreError::Conflict { .. })
        ));
        commit(tx, Event::UserChanged).await;
        assert_eq!(world.store.user(ann.id).await.expect("read"), Some(disabled));

        world.add_user("bob@SPOTFIRE").await;
        let page = world.store.user_list(Some(&ann.name), 9).await.expect("read");
        assert_eq!(
            page.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(),
            ["bob@SPOTFIRE"]
        );
        assert_eq!(world.store.user_list(None, 1).await.expect("read").len(), 1);
    }

    pub(super) async fn a_deleted_user_leaves_a_row_and_a_free_name(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let group = world.new.groups.script_author;
        let permissions = async |right: Right| {
            let grant = Grant {
                grantee: Grantee::User(ann.name.clone()),
                right,
            };
            let mut tx = world.begin().await;
            tx.library_permit(LibraryItemId::ROOT, Some(&[grant]))
                .await
                .expect("permitted");
            commit(tx, Event::LibraryPermissionsChanged).await;
        };
        permissions(Right::Read).await;
        assert_eq!(
            world.store.library_grantees().await.expect("read"),
            BTreeSet::from(["ann@SPOTFIRE".to_owned()])
        );
        let mut tx = world.begin().await;
        tx.group_add_member(group, ann.id).await.expect("added");
        tx.user_set_password(ann.id, Some(&SecretString::from("$argon2id$…")))
            .await
            .expect("set");
        tx.session_insert(&NewSession {
            token_hash: Digest::of(b"token"),
            user: ann.id,
            created_at: NOW,
            expires_at: NOW + 1,
            label: String::new(),
        })
        .await
        .expect("begun");
        commit(tx, Event::Login).await;
        let stale = User {
            version: 2,
            ..ann.clone()
        };
        let mut tx = world.begin().await;
        assert!(matches!(
            tx.user_delete(&stale).await,
            Err(StoreError::Conflict { .. })
        ));
        drop(tx);
        let mut tx = world.begin().await;
        tx.user_delete(&ann).await.expect("deleted");
        commit(tx, Event::UserDeleted).await;

        let row = world.store.user(ann.id).await.expect("read").expect("a row");
        assert_eq!((row.state, row.version), (UserState::Deleted, 2));
        assert_eq!(world.store.user_by_name(&ann.name).await.expect("read"), None);
        assert_eq!(world.store.user_list(None, 9).await.expect("read"), []);
        let listed = world.store.user_list_disabled(None, 9).await.expect("read");
        assert_eq!(listed, []);
        assert!(world.store.user_password(ann.id).await.expect("read").is_none());
        let directory = world.store.directory_of(ann.id).await.expect("read");
        assert!(directory.direct.is_empty());
        assert!(world.store.library_grantees().await.expect("read").is_empty());
        let session = world.store.session_user(&Digest::of(b"token"), NOW).await;
        assert!(session.expect("read").is_none());
        let seen = world.store.users_logged_in().await.expect("read");
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(world.store.library_authors().await.expect("read").is_empty());

        let again = world.add_user("Ann@SPOTFIRE").await;
        assert_ne!(again.id, ann.id);
        assert_eq!(
            world.store.user_by_name(&ann.name).await.expect("read"),
            Some(again)
        );
    }

    pub(super) async fn a_password_leaves_by_its_own_door(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        assert!(world.store.user_password(ann.id).await.expect("read").is_none());
        let hash = SecretString::from("$argon2id$…");
        let mut tx = world.begin().await;
        tx.user_set_password(ann.id, Some(&hash)).await.expect("set");
        commit(tx, Event::PasswordSet).await;
        let read = world
            .store
            .user_password(ann.id)
            .await
            .expect("read")
            .expect("set");
        assert_eq!(read.expose_secret(), "$argon2id$…");
        let mut tx = world.begin().await;
        tx.user_set_password(ann.id, None).await.expect("taken away");
        commit(tx, Event::PasswordSet).await;
        assert!(world.store.user_password(ann.id).await.expect("read").is_none());
    }

    pub(super) async fn a_session_counts_while_it_lasts_and_its_user_is_active(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let session = |token: &[u8]| NewSession {
            token_hash: Digest::of(token),
            user: ann.id,
            created_at: NOW,
            expires_at: NOW + 100,
            label: "muster on laptop".into(),
        };
        let (one, two) = (session(b"one"), session(b"two"));
        let mut tx = world.begin().await;
        tx.session_insert(&one).await.expect("begun");
        tx.session_insert(&two).await.expect("begun");
        commit(tx, Event::Login).await;

        let found = world
            .store
            .session_user(&one.token_hash, NOW + 99)
            .await
            .expect("read")
            .expect("counts");
        assert_eq!(
            (found.user, found.label.as_str(), found.expires_at),
            (ann.clone(), "muster on laptop", NOW + 100)
        );
        assert_eq!(
            world
                .store
                .session_user(&one.token_hash, NOW + 100)
                .await
                .expect("read"),
            None
        );
        assert_eq!(
            world
                .store
                .session_user(&Digest::of(b"three"), NOW)
                .await
                .expect("read"),
            None
        );

        let mut tx = world.begin().await;
        assert!(tx.session_delete(&one.token_hash).await.expect("ended"));
        assert!(!tx.session_delete(&one.token_hash).await.expect("asked twice"));
        let disabled = User {
            state: UserState::Disabled,
            version: 2,
            ..ann.clone()
        };
        tx.user_put(&disabled).await.expect("stored");
        commit(tx, Event::UserChanged).await;
        assert_eq!(
            world
                .store
                .session_user(&two.token_hash, NOW)
                .await
                .expect("read"),
            None
        );
        assert_eq!(
            world
                .store
                .sessions_delete_expired(NOW + 99)
                .await
                .expect("cleaned"),
            0
        );
        assert_eq!(
            world
                .store
                .sessions_delete_expired(NOW + 100)
                .await
                .expect("cleaned"),
            1
        );

        let mut tx = world.begin().await;
        tx.session_insert(&session(b"four")).await.expect("begun");
        assert_eq!(tx.sessions_delete_of(ann.id).await.expect("ended"), 1);
    }

    fn group(name: &str) -> Group {
        Group {
            id: GroupId::new(NOW, random()),
            name: name.parse().expect("name"),
            builtin: false,
        }
    }

    pub(super) async fn a_group_is_built_in_with_its_members_and_permissions(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let before = group("library administrator");
        let grants = [Grant {
            grantee: Grantee::Group(before.name.clone()),
            right: Right::Read,
        }];
        let mut tx = world.begin().await;
        tx.group_insert(&before).await.expect("added");
        tx.group_add_member(before.id, ann.id).await.expect("added");
        tx.library_permit(LibraryItemId::ROOT, Some(&grants))
            .await
            .expect("set");
        commit(tx, Event::GroupCreated).await;

        let (wanted, new) = (group("Library Administrator"), group("API User"));
        let (wanted, new) = (
            Group {
                builtin: true,
                ..wanted
            },
            Group { builtin: true, ..new },
        );
        let mut tx = world.begin().await;
        let taken = tx.group_build_in(&wanted).await.expect("taken up");
        assert_eq!(taken, Some(before.id));
        assert_eq!(tx.group_build_in(&new).await.expect("made"), Some(new.id));
        for again in [&wanted, &new] {
            assert_eq!(tx.group_build_in(again).await.expect("is so"), None);
        }
        commit(tx, Event::GroupChanged).await;

        let found = world.store.group_by_name(&wanted.name).await.expect("read");
        assert_eq!(
            found,
            Some(Group {
                id: before.id,
                ..wanted.clone()
            })
        );
        assert_eq!(
            world.store.group_members(before.id).await.expect("read"),
            [ann.id]
        );
        let chain = world
            .begin()
            .await
            .library_chain(LibraryItemId::ROOT)
            .await
            .expect("read");
        assert_eq!(chain[0].grants[0].grantee, Grantee::Group(wanted.name));
        let refused = world.begin().await.group_delete(before.id).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    }

    pub(super) async fn the_directory_of_a_user_is_whole(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let bob = world.add_user("bob@SPOTFIRE").await;
        let (staff, analysts) = (group("Staff"), group("Analysts"));
        let mut tx = world.begin().await;
        tx.group_insert(&staff).await.expect("added");
        tx.group_insert(&analysts).await.expect("added");
        assert!(tx.group_add_parent(analysts.id, staff.id).await.expect("added"));
        assert!(!tx.group_add_parent(analysts.id, staff.id).await.expect("is so"));
        assert!(tx.group_add_member(analysts.id, ann.id).await.expect("added"));
        assert!(!tx.group_add_member(analysts.id, ann.id).await.expect("is so"));
        tx.group_add_member(staff.id, bob.id).await.expect("added");
        tx.group_add_feature(staff.id, "Use External Actions")
            .await
            .expect("given");
        tx.group_add_feature(staff.id, "Use External Actions")
            .await
            .expect("is so");
        commit(tx, Event::GroupChanged).await;

        let directory = world.store.directory_of(ann.id).await.expect("read");
        assert_eq!(directory.direct, BTreeSet::from([analysts.id]));
        assert_eq!(directory.groups[&analysts.id].parents, BTreeSet::from([staff.id]));
        assert_eq!(
            directory.groups[&staff.id].features,
            BTreeSet::from(["Use External Actions".to_owned()])
        );
        assert_eq!(directory.groups[&analysts.id].primary, None);

        let mut tx = world.begin().await;
        let mut set = async |value| {
            tx.group_set_preference(staff.id, "A preference = it", value)
                .await
                .expect("stored")
        };
        assert!(set(Some("false")).await);
        assert!(!set(Some("false")).await, "is so");
        assert!(set(Some("true")).await);
        assert!(tx.group_set_primary(analysts.id, staff.id).await.expect("set"));
        assert!(
            !tx.group_set_primary(staff.id, analysts.id)
                .await
                .expect("no parent")
        );
        commit(tx, Event::PreferenceSet).await;
        let directory = world.store.directory_of(ann.id).await.expect("read");
        assert_eq!(directory.groups[&analysts.id].primary, Some(staff.id));
        assert_eq!(
            directory.groups[&staff.id].preferences,
            [("A preference = it".to_owned(), "true".to_owned())].into()
        );
        let mut tx = world.begin().await;
        for there in [true, false] {
            let cleared = tx.group_set_preference(staff.id, "A preference = it", None).await;
            assert_eq!(cleared.expect("cleared"), there);
        }
        assert!(
            !tx.group_clear_primary(analysts.id, analysts.id)
                .await
                .expect("another")
        );
        assert!(
            tx.group_remove_parent(analysts.id, staff.id)
                .await
                .expect("removed")
        );
        assert!(
            !tx.group_clear_primary(analysts.id, staff.id)
                .await
                .expect("gone with it")
        );
        assert!(tx.group_add_parent(analysts.id, staff.id).await.expect("added"));
        commit(tx, Event::PreferenceSet).await;
        let directory = world.store.directory_of(ann.id).await.expect("read");
        assert!(directory.groups[&staff.id].preferences.is_empty());
        assert_eq!(directory.groups[&analysts.id].primary, None);
        let author = &directory.groups[&world.new.groups.script_author];
        assert_eq!(author.features, BTreeSet::from([AUTHOR_SCRIPTS.to_owned()]));
        assert_eq!(
            directory.groups[&world.new.groups.everyone].name.as_str(),
            EVERYONE
        );
        assert_eq!(directory.groups.len(), 6);
        assert_eq!(world.store.group_members(staff.id).await.expect("read"), [bob.id]);

        let mut tx = world.begin().await;
        for (without, left) in [(bob, true), (ann.clone(), false)] {
            let disabled = User {
                state: UserState::Disabled,
                version: without.version + 1,
                ..without
            };
            tx.user_put(&disabled).await.expect("disabled");
            // Ann is in a group of the group.
            assert_eq!(tx.group_has_active_member("Staff").await.expect("read"), left);
        }
        drop(tx);

        let mut tx = world.begin().await;
        assert!(
            tx.group_remove_member(analysts.id, ann.id)
                .await
                .expect("removed")
        );
        assert!(
            tx.group_remove_parent(analysts.id, staff.id)
                .await
                .expect("removed")
        );
        assert!(
            tx.group_remove_feature(staff.id, "Use External Actions")
                .await
                .expect("removed")
        );
        commit(tx, Event::GroupChanged).await;
        let directory = world.store.directory_of(ann.id).await.expect("read");
        assert_eq!(directory.direct, BTreeSet::new());
        assert!(directory.groups[&analysts.id].parents.is_empty());
        assert!(directory.groups[&staff.id].features.is_empty());
    }

    pub(super) async fn a_group_cannot_inherit_from_itself(world: World) {
        let [a, b, c] = ["a", "b", "c"].map(group);
        let mut tx = world.begin().await;
        for group in [&a, &b, &c] {
            tx.group_insert(group).await.expect("added");
        }
        tx.group_add_parent(a.id, b.id).await.expect("added");
        tx.group_add_parent(b.id, c.id).await.expect("added");
        let error = tx.group_add_parent(c.id, a.id).await.expect_err("a circle");
        assert_eq!(
            error.to_string(),
            "the group \"c\" cannot inherit from \"a\", which inherits from it"
        );
        assert!(matches!(
            tx.group_add_parent(a.id, a.id).await,
            Err(StoreError::Conflict { .. })
        ));
        tx.group_add_parent(a.id, c.id)
            .await
            .expect("a shortcut is no circle");
    }

    pub(super) async fn two_halves_of_a_circle_cannot_be_closed_at_once(world: World) {
        let [a, b] = ["a", "b"].map(group);
        let mut tx = world.begin().await;
        tx.group_insert(&a).await.expect("added");
        tx.group_insert(&b).await.expect("added");
        commit(tx, Event::GroupCreated).await;
        let half = |group, parent| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let mut tx = store.begin(&crate::world::system()).await.expect("begins");
                let added = tx.group_add_parent(group, parent).await.is_ok();
                if added {
                    commit(tx, Event::GroupChanged).await;
                }
                added
            })
        };
        let (one, two) = (half(a.id, b.id), half(b.id, a.id));
        let done = [one.await.expect("ends"), two.await.expect("ends")];
        assert_eq!(done.iter().filter(|done| **done).count(), 1);
    }

    pub(super) async fn built_in_groups_stay_and_others_go_with_their_memberships(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let staff = group("Staff");
        let mut tx = world.begin().await;
        tx.group_insert(&staff).await.expect("added");
        tx.group_add_member(staff.id, ann.id).await.expect("added");
        commit(tx, Event::GroupCreated).await;
        let found = world
            .store
            .group_by_name(&"STAFF".parse().expect("name"))
            .await
            .expect("read");
        assert_eq!(found, Some(staff.clone()));

        let mut tx = world.begin().await;
        let error = tx
            .group_delete(world.new.groups.everyone)
            .await
            .expect_err("built in");
        assert_eq!(
            error.to_string(),
            "the group \"Everyone\" is built in and cannot be deleted"
        );
        tx.group_delete(staff.id).await.expect("deleted");
        commit(tx, Event::GroupDeleted).await;
        assert_eq!(
            world.store.directory_of(ann.id).await.expect("read").direct,
            BTreeSet::new()
        );
        assert_eq!(world.store.group_list().await.expect("read").len(), 4);
    }

    pub(super) async fn functions_keep_every_version_once(world: World) {
        let ann = world.add_user("ann@SPOTFIRE").await;
        let first = function("Forecast", b"1", ann.id);
        let mut tx = world.begin().await;
        tx.function_insert(&first, "{\"v\":1}", LibraryItemId::ROOT)
            .await
            .expect("added");
        commit(tx, Event::FunctionRegistered).await;
        let second = muster_store::Function {
            current: Digest::of(b"2"),
            updated_at: NOW + 1,
            version: 2,
            ..first.clone()
        };
        let back = muster_store::Function {
            updated_at: NOW + 2,
            version: 3,
            ..first.clone()
        };
        let mut tx = world.begin().await;
        tx.function_new_version(&second, "{\"v\":2}")
            .await
            .expect("changed");
        tx.function_new_version(&back, "{\"v\":1}")
            .await
            .expect("changed back");
        assert!(matches!(
            tx.function_new_version(&second, "{}").await,
            Err(StoreError::Conflict { .. })
        ));
        commit(tx, Event::FunctionRegistered).await;

        assert_eq!(
            world.store.function(first.id).await.expect("read"),
            Some(back.clone())
        );
        let by_name = world
            .store
            .function_by_name(&"FORECAST".parse().expect("name"))
            .await
            .expect("read");
        assert_eq!(by_name, Some(back));
        let version = world
            .store
            .function_version(first.id, &first.current)
            .await
            .expect("read")
            .expect("kept");
        assert_eq!(
            (version.definition.as_str(), version.created_at),
            ("{\"v\":1}", NOW)
        );
        let version = world
            .store
            .function_version(first.id, &second.current)
            .await
            .expect("read")
            .expect("kept");
        assert_eq!(
            (version.definition.as_str(), version.created_at),
            ("{\"v\":2}", NOW + 1)
        );
        assert_eq!(
            world
                .store
                .function_version(first.id, &Digest::of(b"3"))
                .await
                .expect("read"),
            None
        );

        let error = world
            .begin()
            .await
            .function_insert(&function("forecast", b"x", ann.id), "{}", LibraryItemId::ROOT)
            .await;
        assert_eq!(
            error.expect_err("taken").to_string(),
            "a function named \"forecast\" exists already"
        );
        let page = world.store.function_list(None, 9).await.expect("read");
        assert_eq!(page.len(), 1);
        assert_eq!(
            world
                .store
                .function_list(Some(&page[0].name), 9)
                .await
                .expect("read"),
            []
        );
    }
}
