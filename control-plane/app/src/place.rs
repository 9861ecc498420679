//! Pools and sites: made and deleted by administrators, asked for by nodes and runs.

use std::str::FromStr as _;

use muster_ids::{Name, PoolId, SiteId};
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
};
use muster_store::{Draft, NodeFilter, Pool, Site};
use muster_wire::admin::v1::{Page, PageQuery, place::Place};
use serde_json::json;

use crate::{App, Error, page, text::rfc3339};

macro_rules! places {
    ($($type:ident $id:ty, $word:literal, $created:ident $deleted:ident, $field:ident:
        $list:ident $create:ident $delete:ident $or_default:ident; $store_list:ident $by_name:ident $insert:ident $remove:ident;)+) => {
        impl App {$(
            #[doc = concat!("Every ", $word, ", by name.")]
            pub async fn $list(&self, caller: &Caller, query: &PageQuery) -> Result<Page<Place>, Error> {
                self.authorize_to(caller, Operation::ReadAdministration, concat!("list ", $word, "s"), "").await?;
                let nodes = self.store().node_list(&NodeFilter::default(), None, crate::node::ALL).await?;
                let places = self.store().$store_list().await?;
                let places = places.into_iter().map(|place| (place.name.key(), Place {
                    nodes: nodes.iter().filter(|node| node.$field == place.id).count() as u64,
                    created: rfc3339(place.created_at),
                    name: place.name,
                }));
                page::of_whole(query, places)
            }

            #[doc = concat!("Makes a ", $word, ".")]
            pub async fn $create(&self, caller: &Caller, name: Name) -> Result<Place, Error> {
                let authorized = self.authorize_to(caller, Operation::ManageNodes, concat!("make the ", $word), &name).await?;
                let now = self.now();
                let place = $type { id: self.random().id(now, <$id>::new), name, builtin: false, created_at: now };
                let mut tx = self.store().begin(&authorized).await?;
                tx.$insert(&place).await?;
                tx.commit(Draft::new(Event::$created, place.name.to_string(), json!({})), now).await?;
                Ok(Place { name: place.name, created: rfc3339(now), nodes: 0 })
            }

            #[doc = concat!("Deletes a ", $word, " that nothing needs.")]
            pub async fn $delete(&self, caller: &Caller, name: &Name) -> Result<(), Error> {
                let authorized = self.authorize_to(caller, Operation::ManageNodes, concat!("delete the ", $word), name).await?;
                let place = self.$or_default(Some(name)).await?;
                let mut tx = self.store().begin(&authorized).await?;
                tx.$remove(place.id).await?;
                tx.commit(Draft::new(Event::$deleted, place.name.to_string(), json!({})), self.now()).await?;
                Ok(())
            }

            #[doc = concat!("The ", $word, " of this name, or the built-in one.")]
            pub(crate) async fn $or_default(&self, name: Option<&Name>) -> Result<$type, Error> {
                let name = match name {
                    Some(name) => name.clone(),
                    None => Name::from_str("default").map_err(Error::bug)?,
                };
                self.store().$by_name(&name).await?.ok_or_else(|| {
                    Error::not_found($word, &name, concat!("muster ", $word, " list shows all of them"))
                })
            }
        )+}
    };
}

places! {
    Pool PoolId, "pool", PoolCreated PoolDeleted, pool:
        list_pools create_pool delete_pool pool_or_default; pool_list pool_by_name pool_insert pool_delete;
    Site SiteId, "site", SiteCreated SiteDeleted, site:
        list_sites create_site delete_site site_or_default; site_list site_by_name site_insert site_delete;
}
