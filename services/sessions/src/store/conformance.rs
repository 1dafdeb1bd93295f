//! What every store does, whatever is behind it: one suite, run against all of them.

/// Runs each of these functions against SQLite and against PostgreSQL, as a test of its own.
macro_rules! on_databases {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(&$crate::store::conformance::places::Database::sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(&$crate::store::conformance::places::Database::postgres().await).await;
            })+
        }
    };
}

/// Runs each of these functions against these places of leases, as a test of its own.
macro_rules! on_leases {
    ($($place:ident),+ => $tests:tt) => {
        $(mod $place { on_leases!(@ $place $tests); })+
    };
    (@ $place:ident [$($test:ident),+ $(,)?]) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            super::$test(&$crate::store::conformance::places::Leases::$place().await).await;
        })+
    };
}

mod bindings;
mod content;
mod erasures;
mod feeds;
mod forks;
mod leases;
mod listing;
mod merging;
mod model;
mod open;
mod outages;
pub(crate) mod places;
mod processes;
mod runs;
pub(crate) mod samples;
mod sessions;
mod signals;
mod turns;
mod windows;
