//! What the client commands share: a client of the mesh, and errors as a person reads them.

#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod sessions;

use anyhow::{Result, anyhow};
use pointsman_client::{Channel, ClientTls, Config, remote};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use tonic::{Code, Request, Status};

use crate::arguments::{ClientOptions, program};

/// A mesh, as a command sees it.
#[derive(Clone)]
pub(crate) struct Mesh {
    pub(crate) inference: InferenceServiceClient<Channel>,
    channel: Channel,
    address: String,
    key: Option<String>,
}

impl Mesh {
    pub(crate) fn new(options: &ClientOptions) -> Result<Self> {
        let tls = options.ca.clone().map(|ca| ClientTls { ca: Some(ca), ..ClientTls::default() });
        Ok(Self::over(remote(&options.address, tls.as_ref(), &Config::default())?, options))
    }

    /// A mesh at the other end of a channel.
    pub(crate) fn over(channel: Channel, options: &ClientOptions) -> Self {
        let inference = InferenceServiceClient::new(channel.clone());
        Self { inference, channel, address: options.address.clone(), key: options.key.clone() }
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
            let (message, reason) = (error.message(), error.reason());
            anyhow!("{message} ({reason}, see docs/errors/{reason}.md){}", hint(reason, program))
        }
        None if status.message().contains("invalid peer certificate") => {
            anyhow!("{address} is not trusted ({}); here: --ca, or POINTSMAN_CA, names its authority", status.message())
        }
        None if status.code() == Code::Unavailable => {
            anyhow!("{address} cannot be reached ({}); is the mesh up? Start it with `{program} up`", status.message())
        }
        None => anyhow!("the connection to {address} broke off ({}): did the mesh go down?", status.message()),
    }
}

/// What the error's own sentence cannot know: what this command line has for it.
fn hint(reason: Reason, program: &str) -> String {
    match reason {
        Reason::KeyInvalid => "; here: --key, or POINTSMAN_KEY".to_owned(),
        Reason::ModelNotFound => format!("; `{program} models` lists the models"),
        Reason::RequestNotFound => format!("; `{program} requests` lists those in flight"),
        _ => String::new(),
    }
}
