//! A [`MeshContext`] in and out of gRPC metadata. Whether it is believed is the guard's to decide
//! (`libs/server`), before any service reads it.

use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic_types::FieldViolation;

use crate::inference::v1::MeshContext;
use crate::metadata::MESH_CONTEXT;

/// Writes the context into the metadata of a call.
pub fn write(context: &MeshContext, metadata: &mut MetadataMap) {
    let mut value = MetadataValue::from_bytes(&context.encode_to_vec());
    // Keeps it out of HTTP/2's table of headers: the next call has another.
    value.set_sensitive(true);
    metadata.insert_bin(MESH_CONTEXT, value);
}

/// Reads the context of a call; `None` if it has none.
pub fn read(metadata: &MetadataMap) -> Result<Option<MeshContext>, FieldViolation> {
    let Some(value) = metadata.get_bin(MESH_CONTEXT) else { return Ok(None) };
    let context = value.to_bytes().ok().and_then(|bytes| MeshContext::decode(bytes).ok());
    match context {
        Some(context) if !context.tenant.is_empty() => Ok(Some(context)),
        _ => Err(FieldViolation::new(MESH_CONTEXT, "must be a MeshContext with a tenant")),
    }
}
