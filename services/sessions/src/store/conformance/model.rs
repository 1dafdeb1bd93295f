//! Writers that get in each other's way, against a model that does one thing after another.
//!
//! A schedule has rounds; in each, up to eight writers do a step each, at the same time. Afterwards there must be an order
//! of what they did in which the model tells each of them what the store told, and holds what the store holds.

mod order;
mod reference;
mod writer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use tokio::runtime::Runtime;

use self::order::orders;
use self::reference::{Kept, Model};
use self::writer::{World, Writer};
use super::places::{Database, Leases};
use crate::store::{LeaseStore, MemoryLeases};

const WRITERS: usize = 8;
const SESSIONS: usize = 3;
const CASES: u32 = 64;

/// What a writer does with one session.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// Takes the lease, opens, commits and gives back, whatever others do meanwhile, and whether it gets the lease or not.
    Turn {
        is_short: bool,
        request: Request,
        is_whole: bool,
    },
    /// Takes the lease; by force; for so short that it is lost at once.
    Take {
        by_force: bool,
        is_short: bool,
    },
    /// Reads the session, and makes it where there is none.
    Open,
    /// Commits where it believes the session to stand.
    Commit {
        request: Request,
    },
    /// Commits something that no model made.
    Append,
    /// Makes a commit, and keeps it.
    Delay,
    /// Sends the oldest commit that it kept.
    SendLate,
    /// Sends its last commit once more.
    SendAgain,
    Supersede,
    /// Puts another turn in the place of the last.
    Replace,
    Pin {
        revision: u64,
    },
    /// Forks what it read last.
    Fork {
        to: usize,
        at: u64,
    },
    Erase,
    /// Erases the session if its time is over.
    Expire {
        is_over: bool,
    },
    /// Gives the lease back, with what there is to be remembered.
    GiveBack {
        is_whole: bool,
    },
}

/// Whose request a commit answers.
#[derive(Clone, Copy, Debug)]
enum Request {
    /// One that nobody else answers.
    Own,
    /// One that others may answer, too.
    Shared(u8),
    /// One of its own, and with it one that others may answer, too.
    With(u8),
}

/// How many requests there are that several may answer.
const SHARED: u8 = 2;

/// A writer for each step.
type Round = BTreeMap<usize, (usize, Action)>;

fn action() -> impl Strategy<Value = Action> {
    let shared = || prop_oneof![(0..SHARED).prop_map(Request::Shared), (0..SHARED).prop_map(Request::With)];
    let request = prop_oneof![1 => Just(Request::Own), 1 => shared()];
    let turn = (any::<bool>(), request, any::<bool>());
    prop_oneof![
        12 => turn.prop_map(|(is_short, request, is_whole)| Action::Turn { is_short, request, is_whole }),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(by_force, is_short)| Action::Take { by_force, is_short }),
        3 => Just(Action::Open),
        6 => Just(Action::Commit { request: Request::Own }),
        3 => shared().prop_map(|request| Action::Commit { request }),
        1 => Just(Action::Append),
        2 => Just(Action::Delay),
        2 => Just(Action::SendLate),
        2 => Just(Action::SendAgain),
        1 => Just(Action::Supersede),
        1 => Just(Action::Replace),
        1 => (0_u64..6).prop_map(|revision| Action::Pin { revision }),
        1 => (0..SESSIONS, 0_u64..6).prop_map(|(to, at)| Action::Fork { to, at }),
        1 => Just(Action::Erase),
        1 => any::<bool>().prop_map(|is_over| Action::Expire { is_over }),
        4 => any::<bool>().prop_map(|is_whole| Action::GiveBack { is_whole }),
    ]
}

fn schedule() -> impl Strategy<Value = Vec<Round>> {
    // Most of it happens to one session.
    let session = prop_oneof![3 => Just(0), 1 => 1..SESSIONS];
    vec(btree_map(0..WRITERS, (session, action()), 1..=WRITERS), 1..=16)
}

/// Runs one schedule, for a tenant of its own.
async fn run(database: &Database, leases: &dyn LeaseStore, schedule: &[Round]) -> Result<(), TestCaseError> {
    static CASE: AtomicU32 = AtomicU32::new(0);
    let tenant = format!("case-{}", CASE.fetch_add(1, Ordering::Relaxed));
    let world = World::new(database, leases, &tenant);
    let mut writers: Vec<_> = (0..WRITERS).map(Writer::new).collect();
    let mut models = vec![Model::default()];
    for (number, round) in schedule.iter().enumerate() {
        let acting = writers.iter_mut().enumerate();
        let acting = acting.filter_map(|(number, writer)| Some((writer, *round.get(&number)?)));
        let lines = join_all(acting.map(|(writer, (session, action))| writer.act(&world, session, action))).await;
        let truth = world.truth().await.map_err(TestCaseError::fail)?;
        let found = orders(&models, &lines, &truth);
        prop_assert!(
            !found.is_empty(),
            "round {number}: no order of {lines:#?}\nleads from one of {models:#?}\nto {truth:#?}"
        );
        models = found;
        world.check_windows(&truth).map_err(TestCaseError::fail)?;
    }
    world.check_what_is_left().await.map_err(TestCaseError::fail)
}

type Truth = BTreeMap<usize, Kept>;

fn check(runtime: &Runtime, database: &Database, leases: &dyn LeaseStore) {
    let config =
        ProptestConfig { cases: CASES, failure_persistence: None, max_shrink_iters: 300, ..Default::default() };
    let run = |schedule: Vec<Round>| runtime.block_on(run(database, leases, &schedule));
    if let Err(failure) = TestRunner::new(config).run(&schedule(), run) {
        panic!("{failure}");
    }
}

#[test]
fn whatever_writers_do_sqlite_keeps_every_turn_once_and_in_order() {
    let runtime = Runtime::new().unwrap();
    let database = runtime.block_on(Database::sqlite());
    check(&runtime, &database, &MemoryLeases::default());
}

#[test]
fn whatever_writers_do_postgres_and_redis_keep_every_turn_once_and_in_order() {
    let runtime = Runtime::new().unwrap();
    let (database, leases) = runtime.block_on(async { (Database::postgres().await, Leases::redis().await) });
    check(&runtime, &database, &*leases.store);
}

#[test]
fn whatever_writers_do_postgres_alone_keeps_every_turn_once_and_in_order() {
    let runtime = Runtime::new().unwrap();
    let (database, leases) = runtime.block_on(async { (Database::postgres().await, Leases::postgres().await) });
    check(&runtime, &database, &*leases.store);
}
