//! The library: folders, items and their permissions.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use muster_app::{App, Content as Bytes, Error};
use muster_wire::{
    Problem,
    admin::v1::{
        Page, PageQuery,
        library::{
            Content, ContentQuery, CreateFolder, DeleteItem, LibraryItem, LibraryQuery, PatchItem,
            Permissions, SaveItem, SetPermissions, Version,
        },
        stamp::{ItemCode, StampChoice, Stamped, Unstamped},
    },
};

use crate::http::{
    Failure,
    extract::{Body, Params, Path, User},
    node::stream,
};

/// What is in a folder, by name.
#[utoipa::path(get, path = "/api/v1/library", tag = "library", params(LibraryQuery), responses((status = 200, body = Page<LibraryItem>), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<LibraryQuery>,
) -> Result<Json<Page<LibraryItem>>, Failure> {
    let folder = query.folder.as_deref().unwrap_or("/");
    let page = PageQuery {
        limit: query.limit,
        next: query.next.clone(),
    };
    Ok(Json(app.library_list(&caller, folder, &page).await?))
}

/// Make a folder.
#[utoipa::path(post, path = "/api/v1/library/folders", tag = "library", request_body = CreateFolder,
    responses((status = 200, body = LibraryItem), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn create_folder(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<CreateFolder>,
) -> Result<Json<LibraryItem>, Failure> {
    Ok(Json(app.library_create_folder(&caller, &new).await?))
}

/// Save an item, or a new version of the one of this name. Saving never trusts.
#[utoipa::path(post, path = "/api/v1/library/items", tag = "library", request_body = SaveItem,
    responses((status = 200, body = LibraryItem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn save(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<SaveItem>,
) -> Result<Json<LibraryItem>, Failure> {
    Ok(Json(app.library_save(&caller, &new).await?))
}

/// One item, by identifier or path.
#[utoipa::path(get, path = "/api/v1/library/{item}", tag = "library", params(("item" = String, Path)), responses((status = 200, body = LibraryItem), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    User(caller): User,
    Path(item): Path<String>,
) -> Result<Json<LibraryItem>, Failure> {
    Ok(Json(app.library_show(&caller, &item).await?))
}

/// Move an item, or give it another name or description.
#[utoipa::path(patch, path = "/api/v1/library/{item}", tag = "library", params(("item" = String, Path)), request_body = PatchItem,
    responses((status = 200, body = LibraryItem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn patch(
    State(app): State<App>,
    User(caller): User,
    Path(item): Path<String>,
    Body(patch): Body<PatchItem>,
) -> Result<Json<LibraryItem>, Failure> {
    Ok(Json(app.library_patch(&caller, &item, &patch).await?))
}

/// Delete an item, a folder with what is in it when asked to. Stamps on what is deleted end.
#[utoipa::path(delete, path = "/api/v1/library/{item}", tag = "library", params(("item" = String, Path), DeleteItem),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn delete(
    State(app): State<App>,
    User(caller): User,
    Path(item): Path<String>,
    Params(how): Params<DeleteItem>,
) -> Result<StatusCode, Failure> {
    app.library_delete(&caller, &item, how.recursive).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The permissions that hold for an item, and where they are set.
#[utoipa::path(get, path = "/api/v1/library/{item}/permissions", tag = "library", params(("item" = String, Path)), responses((status = 200, body = Permissions), (status = 404, body = Problem)))]
pub(super) async fn permissions(
    State(app): State<App>,
    User(caller): User,
    Path(item): Path<String>,
) -> Result<Json<Permissions>, Failure> {
    Ok(Json(app.library_permissions(&caller, &item).await?))
}

/// Set the permissions of an item, or have it inherit those of its folder.
#[utoipa::path(put, path = "/api/v1/library/{item}/permissions", tag = "library", params(("item" = String, Path)), request_body = SetPermissions,
    responses((status = 200, body = Permissions), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn permit(
    State(app): State<App>,
    User(caller): User,
    Path(item): Path<String>,
    Body(wanted): Body<SetPermissions>,
) -> Result<Json<Permissions>, Failure> {
    Ok(Json(app.library_permit(&caller, &item, &wanted).await?))
}

/// The versions of an item, the first first.
#[utoipa::path(get, path = "/api/v1/library/{item}/versions", tag = "library", params(("item" = String, Path), PageQuery), responses((status = 200, body = Page<Version>), (status = 404, body = Problem)))]
pub(super) async fn versions(
    State(app): State<App>,
    User(caller): User,
    Path(item): Path<String>,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<Version>>, Failure> {
    Ok(Json(app.library_versions(&caller, &item, &query).await?))
}

/// What a version of an item holds.
#[utoipa::path(get, path = "/api/v1/library/{item}/content", tag = "library", params(("item" = String, Path), ContentQuery), responses((status = 200, body = Content), (status = 404, body = Problem)))]
pub(super) async fn content(
    State(app): State<App>,
    User(caller): User,
    Path(item): Path<String>,
    Params(query): Params<ContentQuery>,
) -> Result<Json<Content>, Failure> {
    if query.path.is_some() {
        let detail = "the content is of all files; ask for one under /file";
        return Err(Failure(Error::invalid(detail)));
    }
    Ok(Json(
        app.library_content(&caller, &item, query.digest.as_deref())
            .await?,
    ))
}

/// The bytes of one file of a version.
#[utoipa::path(get, path = "/api/v1/library/{item}/file", tag = "library", params(("item" = String, Path), ContentQuery), responses((status = 200, description = "The bytes"), (status = 404, body = Problem)))]
pub(super) async fn file(
    State(app): State<App>,
    User(caller): User,
    Path(item): Path<String>,
    Params(query): Params<ContentQuery>,
) -> Result<Response, Failure> {
    let path = query.path.as_deref().unwrap_or_default();
    let reader = app
        .library_file(&caller, &item, path, query.digest.as_deref())
        .await?;
    // Never something that a browser would show as a page of this origin.
    let mut answer = stream(Bytes::Blob(reader), "application/octet-stream").into_response();
    let kept = http::HeaderValue::from_static("attachment");
    answer.headers_mut().insert(header::CONTENT_DISPOSITION, kept);
    Ok(answer)
}

/// The code in the current version of an item, which stamps on it can be for.
#[utoipa::path(get, path = "/api/v1/library/{item}/code", tag = "library", params(("item" = String, Path)), responses((status = 200, body = [ItemCode]), (status = 404, body = Problem)))]
pub(super) async fn code(
    State(app): State<App>,
    User(caller): User,
    Path(item): Path<String>,
) -> Result<Json<Vec<ItemCode>>, Failure> {
    Ok(Json(app.library_code(&caller, &item).await?))
}

/// Trust code in the current version of an item, for all who can read the item.
#[utoipa::path(post, path = "/api/v1/library/{item}/trust", tag = "library", params(("item" = String, Path)), request_body = StampChoice,
    responses((status = 200, body = Stamped), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn trust(
    State(app): State<App>,
    User(caller): User,
    Path(item): Path<String>,
    Body(wanted): Body<StampChoice>,
) -> Result<Json<Stamped>, Failure> {
    Ok(Json(app.library_trust(&caller, &item, &wanted).await?))
}

/// Remove stamps from an item.
#[utoipa::path(post, path = "/api/v1/library/{item}/untrust", tag = "library", params(("item" = String, Path)), request_body = StampChoice,
    responses((status = 200, body = Unstamped), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn untrust(
    State(app): State<App>,
    User(caller): User,
    Path(item): Path<String>,
    Body(wanted): Body<StampChoice>,
) -> Result<Json<Unstamped>, Failure> {
    Ok(Json(app.library_untrust(&caller, &item, &wanted).await?))
}

/// Remove stamps from all items. For administrators.
#[utoipa::path(post, path = "/api/v1/library/untrust", tag = "library", request_body = StampChoice,
    responses((status = 200, body = Unstamped), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn untrust_everywhere(
    State(app): State<App>,
    User(caller): User,
    Body(wanted): Body<StampChoice>,
) -> Result<Json<Unstamped>, Failure> {
    Ok(Json(app.untrust_everywhere(&caller, &wanted).await?))
}
