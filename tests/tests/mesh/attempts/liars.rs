//! Instances that do not keep to the contract: another one answers in their place.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{ANSWERS, HANGS, ask};
use crate::caller::{connect, say, told};
use crate::dishonest_instance::{Lie, listen};
use crate::fleet::{Fleet, LOST, Member, RUNNING, chat};

/// What speaks no HTTP/2: a frame of a type and length that cannot be.
const GARBAGE: &[u8] = b"\xff\xff\xff\x00\xff\xff\xff\xff\xffno frame of anything\r\n\r\n";

/// Passes on what goes to a worker and comes from it, until it is told to write garbage in its place.
struct Garbler {
    address: String,
    garbles: Arc<watch::Sender<bool>>,
}

impl Garbler {
    async fn before(worker: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let garbles = Arc::new(watch::Sender::new(false));
        let (worker, told) = (worker.trim_start_matches("http://").to_owned(), Arc::clone(&garbles));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(garble(connection, worker.clone(), told.subscribe()));
            }
        });
        Ok(Self { address, garbles })
    }
}

async fn garble(mut connection: TcpStream, worker: String, mut told: watch::Receiver<bool>) -> Result<()> {
    let mut upstream = TcpStream::connect(worker).await?;
    tokio::select! {
        ended = copy_bidirectional(&mut connection, &mut upstream) => return Ok(ended.map(drop)?),
        told = told.wait_for(|garbles| *garbles) => drop(told?),
    }
    Ok(connection.write_all(GARBAGE).await?)
}

#[tokio::test]
async fn a_worker_whose_bytes_are_garbage_is_left_for_another() -> Result<()> {
    let members = [Member::replies(HANGS), Member::replies(ANSWERS)];
    let mut garbler = None;
    let fleet = Fleet::behind(&members, &chat(""), async |workers| {
        let before = garbler.insert(Garbler::before(&workers[0].address).await?);
        Ok(vec![before.address.clone(), workers[1].address.clone()])
    })
    .await?;
    let call = ask(&connect(&fleet.gateway.address).await?);
    fleet.workers[0].metric_is(RUNNING, 1).await?;
    garbler.context("no garbler")?.garbles.send_replace(true);
    let read = call.await??;
    let attempts = told(&read.started[0].attempts);
    assert_eq!((attempts.len(), attempts[0].1, attempts[1].1), (2, "w1", "w2"), "{attempts:?}");
    assert_eq!(read.whole()?, "from the other");
    // It never speaks again, and nobody waits for it.
    assert_eq!(ask(&connect(&fleet.gateway.address).await?).await??.whole()?, "from the other");
    fleet.stop_after(&[LOST]).await
}

#[tokio::test]
async fn a_stream_that_ends_before_it_began_is_another_workers_to_answer() -> Result<()> {
    let honest = Member::engine("target: models/liar/versions/1");
    for lie in [Lie::Nothing, Lie::Away] {
        // The liar stands in the place of the first worker, and serves the same as the second.
        let fleet = Fleet::behind(&[honest, honest], "", async |workers| {
            Ok(vec![listen(lie).await?, workers[1].address.clone()])
        })
        .await?;
        let mut client = connect(&fleet.gateway.address).await?;
        // Which of the two is asked first depends on the text.
        for number in 0.. {
            ensure!(number < 64, "{lie:?} was never asked");
            let answer = client.generate(say("liar", &format!("{number} times"))).await?.into_inner();
            let started = answer.started.unwrap_or_default();
            let attempts = told(&started.attempts);
            assert_eq!(attempts.last().map(|attempt| attempt.1), Some("w2"), "{attempts:?}");
            if attempts.len() == 2 {
                break;
            }
        }
        fleet.stop_after(&[LOST]).await?;
    }
    Ok(())
}
