use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use crate::pem::{TlsError, text};
use crate::watch::{FileWatch, LOOK_EVERY};

/// Something made of files, as it was when they were last right. Cheap to clone.
pub(crate) struct Reloaded<T>(Arc<Inner<T>>);

struct Inner<T> {
    /// Whose files they are, in logs.
    name: String,
    load: Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>,
    current: RwLock<Arc<T>>,
    /// Locked for each look, and until what it has noticed is loaded.
    watch: Arc<Mutex<FileWatch>>,
}

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Loads for the first time; it blocks.
    pub(crate) fn new(
        name: &str,
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        // Before the files are read: what changes meanwhile is noticed later.
        let watch = Arc::new(Mutex::new(FileWatch::from_now(files)));
        let current = RwLock::new(Arc::new(load()?));
        Ok(Self(Arc::new(Inner { name: name.to_owned(), load: Box::new(load), current, watch })))
    }

    /// What was right last.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files, and returns what is right now.
    pub(crate) async fn fresh(&self) -> Arc<T> {
        self.look().await;
        self.get()
    }

    /// Looks at the files for ever.
    pub(crate) async fn follow(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look().await;
        }
    }

    /// Loads the files if they have changed. One at a time, and to the end even if nobody waits for it any more: what is
    /// seen is in use before anybody looks again.
    async fn look(&self) {
        let mut watch = Arc::clone(&self.0.watch).lock_owned().await;
        if !watch.look().await {
            return;
        }
        let this = self.clone();
        let loaded = tokio::task::spawn_blocking(move || {
            this.load();
            drop(watch);
        });
        if let Err(error) = loaded.await {
            let of = self.0.name.as_str();
            tracing::error!(of, %error, "changed certificates could not be read; the last good ones stay");
        }
    }

    /// It blocks.
    fn load(&self) {
        let of = self.0.name.as_str();
        match (self.0.load)() {
            Ok(loaded) => {
                *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                tracing::info!(of, "new certificates are in use, for new connections");
            }
            Err(error) => {
                tracing::error!(of, error = text(&error), "changed certificates are refused; the last good ones stay");
            }
        }
    }
}

#[cfg(test)]
mod tests;
