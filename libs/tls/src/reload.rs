use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use crate::pem::{TlsError, text};
use crate::watch::FileWatch;

/// Something made of files, as it was when they were last right. Cheap to clone.
pub(crate) struct Reloaded<T>(Arc<Inner<T>>);

struct Inner<T> {
    /// Whose files they are, in logs.
    name: String,
    load: Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>,
    current: RwLock<Arc<T>>,
    watch: Mutex<FileWatch>,
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
        let watch = Mutex::new(FileWatch::from_now(files));
        let current = RwLock::new(Arc::new(load()?));
        Ok(Self(Arc::new(Inner { name: name.to_owned(), load: Box::new(load), current, watch })))
    }

    /// What was right last.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files, and returns what is right now.
    pub(crate) async fn fresh(&self) -> Arc<T> {
        if self.0.watch.lock().await.look().await {
            self.load().await;
        }
        self.get()
    }

    /// Looks at the files for ever.
    pub(crate) async fn follow(self) {
        loop {
            self.0.watch.lock().await.changed().await;
            self.load().await;
        }
    }

    async fn load(&self) {
        let this = self.clone();
        let loaded = tokio::task::spawn_blocking(move || (this.0.load)()).await;
        let of = self.0.name.as_str();
        match loaded {
            Ok(Ok(loaded)) => {
                *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                tracing::info!(of, "new certificates are in use, for new connections");
            }
            Ok(Err(error)) => {
                tracing::error!(of, error = text(&error), "changed certificates are refused; the last good ones stay");
            }
            Err(error) => {
                tracing::error!(of, %error, "changed certificates could not be read; the last good ones stay")
            }
        }
    }
}
