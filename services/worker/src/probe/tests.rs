use futures::FutureExt;
use pointsman_server::Readiness;

use super::{EngineHealth, News};
use crate::metrics::Metrics;
use crate::served::Engines;

fn health() -> (Readiness, EngineHealth) {
    let readiness = Readiness::default();
    let metrics = Metrics::register(&pointsman_server::Metrics::default());
    (readiness.clone(), EngineHealth::new(Engines::new(readiness, 1).member(0), metrics))
}

#[tokio::test]
async fn a_loss_and_a_success_are_told_in_their_order() {
    let (readiness, health) = health();
    assert!(health.proven(health.begin()) && readiness.is_ready());
    assert_eq!(health.news().now_or_never(), None);

    let before = health.round();
    health.lost(before);
    assert!(!readiness.is_ready());
    assert_eq!(health.news().now_or_never(), Some(News::Lost));

    // Whoever was asked before the probe died of the loss that it is about, however late it says so.
    let probe = health.begin();
    health.lost(before);
    assert!(health.proven(probe) && readiness.is_ready());
    health.lost(before);
    assert!(readiness.is_ready(), "a late report unsettles nobody");
    assert_eq!(health.news().now_or_never(), None);

    // Whoever was asked after it began may have died after its success.
    let probe = health.begin();
    let during = health.round();
    health.lost(during);
    assert!(!health.proven(probe) && !readiness.is_ready(), "a loss is not overwritten");
    assert_eq!(health.news().now_or_never(), Some(News::Lost));
    let probe = health.begin();
    assert!(health.proven(probe) && readiness.is_ready());
    health.lost(health.round());
    assert!(!readiness.is_ready());
}

#[tokio::test]
async fn three_failures_in_a_row_are_a_reason_to_look() {
    let (readiness, health) = health();
    health.proven(health.begin());
    for failures in [2, 2, 3] {
        health.finished();
        assert_eq!(health.news().now_or_never(), None);
        (0..failures).for_each(|_| health.failed());
    }
    assert_eq!(health.news().now_or_never(), Some(News::Suspected));
    assert!(readiness.is_ready(), "so far it is a doubt");
    health.begin();
    assert_eq!(health.news().now_or_never(), None, "a probe is under way");
}

#[tokio::test]
async fn what_hangs_is_never_ready_again() {
    let (readiness, health) = health();
    let probe = health.begin();
    health.stuck();
    assert!(!health.proven(probe) && !readiness.is_ready());
    assert!(health.until_stuck().now_or_never().is_some());
}
