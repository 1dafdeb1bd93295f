use std::time::Duration;

use futures::FutureExt;
use pointsman_server::Readiness;
use tokio::time::{Instant, advance, sleep};

use super::{SECOND_LOOK, Verdict, Watchdog};
use crate::config::WatchdogConfig;
use crate::metrics::Metrics;
use crate::probe::EngineHealth;
use crate::served::Engines;

fn watchdog() -> (Readiness, Watchdog) {
    let metrics = Metrics::register(&pointsman_server::Metrics::default());
    let readiness = Readiness::default();
    let member = Engines::new(readiness.clone(), 1).member(0);
    member.set(true);
    let health = EngineHealth::new(member, metrics.clone());
    let watchdog = Watchdog::new(WatchdogConfig::default(), health, &metrics);
    tokio::spawn(watchdog.clone().run());
    (readiness, watchdog)
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_is_told_to_all_that_wait_and_to_all_that_come() {
    let (readiness, watchdog) = watchdog();
    let begin = Instant::now();
    let (mut one, mut two) = (watchdog.begin(100, 1), watchdog.begin(0, 1));
    sleep(Duration::from_secs(20)).await;
    one.piece();
    two.piece();
    assert_eq!(one.verdict().await, Verdict::Stuck);
    assert_eq!(begin.elapsed(), Duration::from_secs(20 + 30) + SECOND_LOOK);
    assert!(!readiness.is_ready());
    assert_eq!(two.verdict().now_or_never(), Some(Verdict::Stuck));
    assert_eq!(watchdog.begin(0, 1).verdict().now_or_never(), Some(Verdict::Stuck));
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_the_second_look_comes_in_time() {
    let (readiness, watchdog) = watchdog();
    let begin = Instant::now();
    let mut watch = watchdog.begin(0, 1);
    sleep(Duration::from_secs(60) + SECOND_LOOK / 2).await;
    watch.piece();
    assert_eq!(watch.verdict().await, Verdict::Stuck);
    assert!(begin.elapsed() >= Duration::from_secs(90) && !readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_gets_nothing_beside_others_is_told_alone() {
    let (readiness, watchdog) = watchdog();
    let (mut waits, mut goes_on) = (watchdog.begin(0, 1), watchdog.begin(0, 1));
    for _ in 0..299 {
        sleep(Duration::from_secs(1)).await;
        goes_on.piece();
    }
    assert_eq!(waits.verdict().now_or_never(), None);
    assert_eq!(waits.verdict().await, Verdict::Stalled);
    assert!(readiness.is_ready());
    assert_eq!(goes_on.verdict().now_or_never(), None);
}

#[tokio::test(start_paused = true)]
async fn each_of_several_answers_may_read_the_prompt() {
    let (_readiness, watchdog) = watchdog();
    let begin = Instant::now();
    let mut watch = watchdog.begin(1000, 2);
    watch.piece();
    assert_eq!(watch.verdict().await, Verdict::Stuck);
    assert_eq!(begin.elapsed(), Duration::from_secs(60 + 2 * 50) + SECOND_LOOK);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_slept_accuses_nobody() {
    let (readiness, watchdog) = watchdog();
    let mut watch = watchdog.begin(0, 1);
    sleep(Duration::from_secs(1)).await;
    // As a suspended machine does: time is gone, and nobody could look.
    advance(Duration::from_secs(3600)).await;
    let awake = Instant::now();
    assert_eq!(watch.verdict().await, Verdict::Stuck);
    assert!(awake.elapsed() >= Duration::from_secs(60) && !readiness.is_ready());
}
