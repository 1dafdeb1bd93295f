use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::EngineError;

/// What has become of an engine. Nothing but a new process makes it well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing comes any more, for anybody.
    Hangs = 1,
    /// Everything fails, as after an error of the device.
    Broken = 2,
}

/// The state, shared by all that runs in the engine; 0 while it works. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<AtomicU8>);

impl Shared {
    pub(super) fn fall(&self, state: State) {
        self.0.store(state as u8, Ordering::Relaxed);
    }

    /// Lets through what works; waits for ever in what hangs.
    pub(super) async fn check(&self) -> Result<(), EngineError> {
        match self.0.load(Ordering::Relaxed) {
            state if state == State::Hangs as u8 => pending().await,
            state if state == State::Broken as u8 => Err(broken()),
            _ => Ok(()),
        }
    }
}

pub(super) fn broken() -> EngineError {
    EngineError::Failed { detail: "the device is broken, on schedule".to_owned() }
}
