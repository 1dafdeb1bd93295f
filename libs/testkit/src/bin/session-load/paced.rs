//! Turns at a fixed rate, whatever becomes of those before.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::figures::Figures;
use crate::work::Work;

/// More turns than these run at a time only where the store has been lost: one more is not begun, and counted so.
const MOST_RUNNING: usize = 4_096;
/// How long the last ones may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(work: &Arc<Work>, rate: u32) -> Result<Figures> {
    if rate == 0 {
        bail!("--rate must be at least 1");
    }
    // Each conversation has a turn every half second.
    let places = u64::from(rate.div_ceil(2));
    let mut starts = starts(rate, work.end);
    let (mut running, mut all, mut number) = (JoinSet::new(), Figures::default(), 0_u64);
    while let Some(intended) = starts.recv().await {
        while let Some(figures) = running.try_join_next() {
            all.merge(figures?);
        }
        let (place, step) = (number % places, number / places);
        number += 1;
        if running.len() >= MOST_RUNNING {
            all.not_begun(work, intended);
            continue;
        }
        let work = Arc::clone(work);
        running.spawn(async move {
            let mut figures = Figures::default();
            figures.started(&work, intended);
            figures.add(&work, intended, work.run((place, places), step, intended).await);
            figures
        });
    }
    let rest = async {
        while let Some(figures) = running.join_next().await {
            all.merge(figures?);
        }
        anyhow::Ok(())
    };
    match timeout(PATIENCE, rest).await {
        Ok(rest) => rest?,
        Err(_) => all.lost(running.len() as u64, format!("not ended after {PATIENCE:?}")),
    }
    Ok(all)
}

/// The times at which turns are to start, each when it has come. A thread sleeps more exactly than a timer of the runtime,
/// which counts milliseconds.
fn starts(rate: u32, end: Instant) -> mpsc::UnboundedReceiver<Instant> {
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let (begin, pause) = (Instant::now(), Duration::from_secs(1) / rate);
        for number in 0.. {
            let intended = begin + pause * number;
            if intended >= end {
                break;
            }
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            if sender.send(intended).is_err() {
                break;
            }
        }
    });
    receiver
}
