//! What the gateway speaks, for whoever wants to speak it: needs no key, as gRPC reflection needs none.

use std::io;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use pointsman_dialects::openai::describe;
use pointsman_proto::FILES;

/// Makes the routes.
pub(crate) fn router() -> io::Result<Router> {
    let archive = archive()?;
    let protos = async move || ([(CONTENT_TYPE, "application/gzip")], archive);
    let description = Bytes::from(describe());
    let openapi = async move || ([(CONTENT_TYPE, "application/json")], description);
    Ok(Router::new().route("/protos.tar.gz", get(protos)).route("/openapi.json", get(openapi)))
}

/// Packs the files of the contract. The same files make the same bytes.
fn archive() -> io::Result<Bytes> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (path, content) in FILES {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Any time but 1970, of which tar warns.
        header.set_mtime(1_767_225_600);
        archive.append_data(&mut header, path, content.as_bytes())?;
    }
    Ok(archive.into_inner()?.finish()?.into())
}
