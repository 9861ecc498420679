//! The control planes of the collective: where nodes may dial.

use muster_ids::{ControlPlaneId, Name};

use crate::{
    error::StoreError,
    store::Store,
    value::{Row, args, json},
};

/// One control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlane {
    /// Identity, in its certificate.
    pub id: ControlPlaneId,
    /// Name.
    pub name: Name,
    /// When it was last started.
    pub started_at: i64,
    /// Its back-end addresses.
    pub addresses: Vec<String>,
}

impl Store {
    /// Notes that a control plane has started. Not audited: the collective is the same.
    pub async fn control_plane_upsert(&self, control_plane: &ControlPlane) -> Result<(), StoreError> {
        self.write(
            "INSERT INTO control_planes (id, name, started_at, addresses) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, started_at = excluded.started_at, \
             addresses = excluded.addresses",
            args![
                control_plane.id,
                control_plane.name.as_str(),
                control_plane.started_at,
                json(&control_plane.addresses)?
            ],
        )
        .await
        .map(drop)
    }

    /// Every control plane, by identity.
    pub async fn control_plane_list(&self) -> Result<Vec<ControlPlane>, StoreError> {
        let rows = self
            .all(
                "SELECT id, name, started_at, addresses FROM control_planes ORDER BY id",
                args![],
            )
            .await?;
        let control_plane = |row: &Row| {
            Ok(ControlPlane {
                id: row.parsed("id")?,
                name: row.parsed("name")?,
                started_at: row.int("started_at")?,
                addresses: row.json("addresses")?,
            })
        };
        rows.iter().map(control_plane).collect()
    }
}
