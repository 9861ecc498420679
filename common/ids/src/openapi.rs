//! Every word is a string in the REST document.

use utoipa::openapi::{ObjectBuilder, RefOr, Schema, schema::Type};

use crate::{
    CollectiveId, ControlPlaneId, Digest, FunctionId, GroupId, JoinId, LibraryItemId, Name, NodeId, PoolId,
    RunId, SiteId, StampId, TokenId, UserId, UserName,
};

macro_rules! strings {
    ($($name:ident: $description:literal;)+) => {$(
        impl utoipa::PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::String).description(Some($description)).build().into()
            }
        }

        impl utoipa::ToSchema for $name {}
    )+};
}

strings! {
    NodeId: "Identifier of a node";
    UserId: "Identifier of a user";
    GroupId: "Identifier of a group";
    PoolId: "Identifier of a pool";
    SiteId: "Identifier of a site";
    FunctionId: "Identifier of a data function";
    LibraryItemId: "Identifier of a library item";
    RunId: "Identifier of a run";
    StampId: "Identifier of a stamp";
    TokenId: "Identifier of a join token";
    JoinId: "Identifier of a join request, 32 hexadecimal digits";
    CollectiveId: "Identifier of a collective";
    ControlPlaneId: "Identifier of a control plane";
    Digest: "sha256: and 64 lower-case hexadecimal digits";
    Name: "A name of at most 128 characters";
    UserName: "name@DOMAIN";
}
