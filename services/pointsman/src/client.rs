//! What the client commands share: a client of the mesh, and errors as a person reads them.

use anyhow::{Result, anyhow};
use pointsman_client::{Channel, Config, remote};
use pointsman_errors::Error;
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use tonic::{Request, Status};

use crate::arguments::ClientOptions;

/// A mesh, as a command sees it.
pub(crate) struct Mesh {
    pub(crate) inference: InferenceServiceClient<Channel>,
    key: Option<String>,
}

impl Mesh {
    pub(crate) fn new(options: &ClientOptions) -> Result<Self> {
        let channel = remote(&options.address, &Config::default())?;
        Ok(Self { inference: InferenceServiceClient::new(channel), key: options.key.clone() })
    }

    /// Makes a call's request, with the key.
    pub(crate) fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        if let Some(key) = &self.key {
            let value = format!("Bearer {key}").parse().map_err(|_| anyhow!("the key has letters that no key has"))?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

/// Turns a status into what to do.
pub(crate) fn explain(status: &Status, address: &str) -> anyhow::Error {
    match Error::ours(status) {
        Some(error) => anyhow!("{} ({}, see docs/errors/{}.md)", error.message(), error.reason(), error.reason()),
        None => anyhow!(
            "{address} cannot be reached ({:?}: {}); is the mesh up? Start it with `pointsman up`",
            status.code(),
            status.message()
        ),
    }
}
