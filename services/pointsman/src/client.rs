//! What the client commands share: a client of the mesh, and errors as a person reads them.

use anyhow::{Result, anyhow};
use pointsman_client::{Channel, Config, remote};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use tonic::{Code, Request, Status};

use crate::arguments::{ClientOptions, program};

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
    let program = program();
    match Error::ours(status) {
        Some(error) => {
            let mut text = format!("{} ({1}, see docs/errors/{1}.md)", error.message(), error.reason());
            if error.reason() == Reason::KeyInvalid {
                text.push_str("; here: --key, or POINTSMAN_KEY");
            }
            anyhow!(text)
        }
        None if status.code() == Code::Unavailable => {
            anyhow!("{address} cannot be reached ({}); is the mesh up? Start it with `{program} up`", status.message())
        }
        None => anyhow!("the connection to {address} broke off ({}): did the mesh go down?", status.message()),
    }
}
