use crate::world::on_both;

on_both! {
    a_pool_in_use_stays
    a_site_in_use_stays
}

mod cases {
    use muster_ids::{PoolId, SiteId};
    use muster_model::{audit::Event, join::Capability};
    use muster_store::{Pool, Site, StoreError};

    use crate::world::{NOW, World, commit, random};

    pub(super) async fn a_pool_in_use_stays(world: World) {
        let pool = Pool {
            id: PoolId::new(NOW, random()),
            name: "night".parse().expect("name"),
            builtin: false,
            created_at: NOW,
        };
        let mut tx = world.begin().await;
        tx.pool_insert(&pool).await.expect("added");
        let mut node = world.node("terr01");
        node.pool = pool.id;
        tx.node_insert(&node).await.expect("added");
        let mut run = world.run(NOW, Capability::Terr);
        run.pool = pool.id;
        tx.run_insert(&run).await.expect("added");
        let key = format!("setting/pool/{}/terr.restricted.execution.mode", pool.id);
        tx.trust_change(&[(key.clone(), Some("false".into()))], NOW)
            .await
            .expect("set");
        commit(tx, Event::PoolCreated).await;
        assert_eq!(
            world
                .store
                .pool_by_name(&"NIGHT".parse().expect("name"))
                .await
                .expect("read"),
            Some(pool.clone())
        );
        assert_eq!(world.store.pool(pool.id).await.expect("read"), Some(pool.clone()));
        assert_eq!(world.store.pool_list().await.expect("read").len(), 2);

        let mut tx = world.begin().await;
        let refused = async |tx: &mut muster_store::Tx, why: &str| {
            let error = tx.pool_delete(pool.id).await.expect_err("needed").to_string();
            assert_eq!(error, format!("the pool \"night\" cannot be deleted: 1 {why}"));
        };
        refused(&mut tx, "nodes are in it; move them or delete them first").await;
        tx.node_delete(node.id).await.expect("deleted");
        refused(
            &mut tx,
            "runs wait or work in it; wait for them or cancel them first",
        )
        .await;
        run.run = run.run.cancel().expect("queued");
        tx.run_put(&run).await.expect("stored");
        refused(&mut tx, "settings are about it; remove them first").await;
        tx.trust_change(&[(key, None)], NOW).await.expect("removed");
        tx.pool_delete(pool.id).await.expect("not needed any more");
        commit(tx, Event::PoolDeleted).await;
        assert_eq!(world.store.pool_list().await.expect("read").len(), 1);
        let error = world
            .begin()
            .await
            .pool_delete(world.new.pool)
            .await
            .expect_err("built in");
        assert_eq!(
            error.to_string(),
            "the pool \"default\" is built in and cannot be deleted"
        );
    }

    pub(super) async fn a_site_in_use_stays(world: World) {
        let site = Site {
            id: SiteId::new(NOW, random()),
            name: "oslo".parse().expect("name"),
            builtin: false,
            created_at: NOW,
        };
        let mut tx = world.begin().await;
        tx.site_insert(&site).await.expect("added");
        let mut node = world.node("terr01");
        node.site = site.id;
        tx.node_insert(&node).await.expect("added");
        commit(tx, Event::SiteCreated).await;
        let error = world
            .begin()
            .await
            .site_delete(site.id)
            .await
            .expect_err("needed");
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        let mut tx = world.begin().await;
        tx.node_delete(node.id).await.expect("deleted");
        tx.site_delete(site.id).await.expect("deleted");
        commit(tx, Event::SiteDeleted).await;
        assert!(matches!(
            world.begin().await.site_delete(site.id).await,
            Err(StoreError::NotFound { .. })
        ));
    }
}
