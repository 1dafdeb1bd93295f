//! Small types that every other crate may use. Floor 0: depends on nothing of ours.
//!
//! A type is here when two crates need it and a `String` or `u64` would let them be confused.

mod byte_size;
mod counted;
mod origin;
mod target;
mod tenant;

pub use byte_size::{ByteSize, ParseByteSizeError};
pub use counted::counted;
pub use origin::Origin;
pub use target::{ParseTargetError, TargetName, is_segment};
pub use tenant::{LOCAL_TENANT, is_tenant_name};

/// Makes a new request id: a UUID of version 7, which sorts by time.
pub fn new_request_id() -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    // From the thread's own generator: the crate's asks the kernel each time, a microsecond of every request.
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid().to_string()
}
