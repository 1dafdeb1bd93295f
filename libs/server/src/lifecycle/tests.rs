use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use pointsman_telemetry::Identity;
use pointsman_types::Origin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::{Context, Parts, Process, RunError, Task, run};
use crate::ProcessConfig;

/// Catches what hangs; nothing comes near it.
const LIMIT: Duration = Duration::from_secs(30);

/// The only test that may run a process here: telemetry is set up once.
#[tokio::test]
async fn a_process_whose_task_panics_finishes_its_streams_and_fails() {
    let (address, asked) = oneshot::channel();
    let arrived = Arc::new(Notify::new());
    let port = "127.0.0.1:0".parse().unwrap();
    let process = Process {
        identity: Identity { service: "s".to_owned(), instance: "i".to_owned(), version: "0" },
        config: ProcessConfig::default(),
        listen: port,
        operator_listen: port,
        origin: Origin::Public,
        keyless: false,
        mesh_listen: None,
    };
    let build = {
        let arrived = Arc::clone(&arrived);
        async move |context: Context| {
            let _ = address.send(context.address);
            let (arrives, drain) = (Arc::clone(&arrived), context.drain.clone());
            let answer = async move || {
                arrives.notify_one();
                drain.begun().await;
                "whole"
            };
            let fragile = async move {
                arrived.notified().await;
                panic!("as the test wants it");
            };
            Ok(Parts { router: Router::new().route("/", get(answer)), tasks: vec![Task::new("fragile", fragile)] })
        }
    };
    let call = async {
        let mut stream = TcpStream::connect(asked.await.unwrap()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let (ended, answer) = timeout(LIMIT, async { tokio::join!(run(process, build), call) }).await.unwrap();
    assert!(answer.ends_with("whole"), "{answer}");
    assert!(matches!(ended, Err(RunError::Task("fragile"))), "{ended:?}");
}
