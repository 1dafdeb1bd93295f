//! Whoever looks, and however they meet.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::Reloaded;

/// Catches what hangs; nothing comes near it.
const LIMIT: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);

/// A file whose text is loaded, and a hand on each load.
struct Held {
    folder: TempDir,
    reloaded: Reloaded<String>,
    began: UnboundedReceiver<()>,
    go_on: Sender<()>,
}

impl Held {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "old").unwrap();
        let (begin, began) = unbounded_channel();
        let (go_on, held): (_, Receiver<()>) = channel();
        let (held, own) = (Arc::new(Mutex::new(held)), path.clone());
        go_on.send(()).unwrap();
        let load = move || {
            let text = std::fs::read_to_string(&own).unwrap();
            begin.send(()).unwrap();
            held.lock().unwrap().recv().unwrap();
            Ok(text)
        };
        let reloaded = Reloaded::new("test", vec![path], load).unwrap();
        let mut held = Self { folder, reloaded, began, go_on };
        held.began.try_recv().unwrap();
        held
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    /// Changes the file, and has somebody look who comes to the load and not beyond.
    async fn looked_at(&mut self, text: &str) -> tokio::task::JoinHandle<Arc<String>> {
        std::fs::write(self.path(), text).unwrap();
        let reloaded = self.reloaded.clone();
        let looking = tokio::spawn(async move { reloaded.fresh().await });
        timeout(LIMIT, self.began.recv()).await.unwrap().unwrap();
        looking
    }
}

#[tokio::test]
async fn who_looks_while_another_loads_gets_what_is_loaded() {
    let mut held = Held::new();
    let first = held.looked_at("newer").await;
    let mut second = Box::pin(held.reloaded.fresh());
    assert!(timeout(SHORT, second.as_mut()).await.is_err(), "it got the old one");
    held.go_on.send(()).unwrap();
    assert_eq!(*timeout(LIMIT, second).await.unwrap(), "newer");
    assert_eq!(*timeout(LIMIT, first).await.unwrap().unwrap(), "newer");
}

#[tokio::test]
async fn what_was_seen_is_loaded_whoever_leaves() {
    let mut held = Held::new();
    let first = held.looked_at("newer").await;
    first.abort();
    assert!(first.await.is_err());
    held.go_on.send(()).unwrap();
    assert_eq!(*timeout(LIMIT, held.reloaded.fresh()).await.unwrap(), "newer");
}

#[tokio::test]
async fn who_follows_the_files_is_in_nobodys_way() {
    let held = Held::new();
    let follower = held.reloaded.clone().follow();
    let look = async {
        // After the follower's first poll.
        tokio::task::yield_now().await;
        held.reloaded.fresh().await
    };
    tokio::select! {
        () = follower => unreachable!("it follows for ever"),
        found = timeout(LIMIT, look) => assert_eq!(*found.unwrap(), "old"),
    }
}
