//! The store as a process of its own, on real PostgreSQL and Redis, and what becomes of turns when one of them is away.

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::{GenerateRequest, Limits};
use pointsman_proto::sessions::v1::{
    AcknowledgeTurnsRequest, CreateSessionRequest, SecondTurn, Session, WatchTurnsRequest,
};
use pointsman_testkit::servers::{Postgres, Redis};
use pointsman_testkit::{eventually, ports};

use super::{get, sessions, turn, turns};
use crate::caller::{connect, reason, say};
use crate::fleet;
use crate::named::{ask, refusal, text};
use crate::peers::IDS;
use crate::program::pointsman;
use crate::service::{LIMIT, Service, Start, simulated_config};

/// A gateway, a worker and a session store on servers of their own.
pub struct Kept {
    pub postgres: Postgres,
    pub redis: Option<Redis>,
    pub store: Service,
    pub worker: Service,
    pub gateway: Service,
    engine: String,
    config: String,
}

/// One of the processes that a turn passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Redis,
    Postgres,
    Store,
    Gateway,
    Worker,
}

impl Victim {
    pub const ALL: [Self; 5] = [Self::Redis, Self::Postgres, Self::Store, Self::Gateway, Self::Worker];
}

/// What the gateway says of a store that is away.
pub const AWAY: &str = "the session store could not be reached";
/// What the store says of a server that is away.
pub const SILENT: &str = "does not answer";
/// What its database library says of connections that were lost with it.
pub const LOST: &str = "error occurred while testing the connection";

impl Kept {
    pub async fn start(engine: &str, with_redis: bool) -> Result<Self> {
        let postgres = Postgres::start().await?;
        let redis = if with_redis { Some(Redis::start().await?) } else { None };
        let remembers =
            redis.as_ref().map_or_else(String::new, |redis| format!(", redis: {{urls: [\"{}\"]}}", redis.url()));
        let database = postgres.database().await?;
        let config =
            format!("sessions: {{lease: 2s, database: {{url: \"{database}\", deadline: 500ms}}{remembers}}}\n");
        migrate(&config).await?;
        let store = serve(&config, "127.0.0.1:0").await?;
        let worker = Start::new("worker", &simulated_config(engine)).ready().await?;
        let gateway = gateway(&worker, &store, "127.0.0.1:0").await?;
        let engine = simulated_config(engine);
        Ok(Self { postgres, redis, store, worker, gateway, engine, config })
    }

    pub async fn kill(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Redis => self.redis()?.kill9().await,
            Victim::Postgres => self.postgres.kill9().await,
            Victim::Store => self.store.process.kill9().await,
            Victim::Gateway => self.gateway.process.kill9().await,
            Victim::Worker => self.worker.process.kill9().await,
        }
    }

    /// Starts it again, where it was.
    pub async fn revive(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Redis => self.redis()?.restart().await?,
            Victim::Postgres => self.postgres.restart().await?,
            Victim::Store => self.restart_store().await?,
            Victim::Gateway => {
                let listen = self.gateway.address.trim_start_matches("http://").to_owned();
                self.gateway = gateway(&self.worker, &self.store, &listen).await?;
            }
            Victim::Worker => {
                let listen = self.worker.address.trim_start_matches("http://").to_owned();
                self.worker = Start { listen: &listen, ..Start::new("worker", &self.engine) }.ready().await?;
            }
        }
        Ok(())
    }

    /// Stops it without its knowledge.
    pub async fn freeze(&self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Redis => self.redis()?.freeze().await,
            Victim::Postgres => self.postgres.freeze().await,
            Victim::Store => fleet::freeze(&self.store).await,
            Victim::Gateway => fleet::freeze(&self.gateway).await,
            Victim::Worker => fleet::freeze(&self.worker).await,
        }
    }

    pub async fn thaw(&self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Redis => self.redis()?.thaw(),
            Victim::Postgres => self.postgres.thaw(),
            Victim::Store => fleet::thaw(&self.store).await,
            Victim::Gateway => fleet::thaw(&self.gateway).await,
            Victim::Worker => fleet::thaw(&self.worker).await,
        }
    }

    fn redis(&self) -> Result<&Redis> {
        self.redis.as_ref().context("no Redis")
    }

    /// Starts the store again where it was, after it was killed.
    pub async fn restart_store(&mut self) -> Result<()> {
        let listen = self.store.address.trim_start_matches("http://").to_owned();
        self.store = serve(&self.config, &listen).await?;
        Ok(())
    }

    /// Stops what is left, the gateway first.
    pub async fn stop_after(self, expected: &[&str]) -> Result<()> {
        self.gateway.stop_after(expected).await?;
        self.store.stop_after(expected).await?;
        self.worker.stop_after(expected).await
    }
}

/// A gateway before a worker and a store.
async fn gateway(worker: &Service, store: &Service, listen: &str) -> Result<Service> {
    let config = format!(
        "gateway: {{instances: [{{name: w, endpoint: \"{}\"}}], sessions: {{name: s, endpoint: \"{}\"}}}}\n",
        worker.address, store.address
    );
    Start { listen, ..Start::new("gateway", &config) }.listening().await
}

pub async fn serve(config: &str, listen: &str) -> Result<Service> {
    Start { listen, ..Start::new("sessions serve", config) }.ready().await
}

async fn migrate(config: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sessions.yaml");
    std::fs::write(&file, config)?;
    let file = file.to_str().context("no text")?;
    let told = pointsman(&["sessions", "migrate", "--config", file]).await?.success()?;
    assert_eq!(told, "the schema is up to date\n");
    Ok(())
}

#[tokio::test]
async fn a_store_of_its_own_keeps_turns_on_postgresql_and_redis() -> Result<()> {
    let mut kept = Kept::start("", true).await?;
    let mut client = connect(&kept.gateway.address).await?;
    for words in ["one", "two", "three"] {
        ask(&mut client, turn("s", words)).await?;
    }
    kept.store.process.kill9().await?;
    // Nothing is generated that could not be kept, and who has no session does not notice.
    assert_eq!(refusal(client.generate(turn("s", "four")).await)?, Reason::SessionsUnavailable);
    client.generate(say("simulated", "hello")).await?;
    kept.restart_store().await?;
    ask(&mut client, turn("s", "four")).await?;
    let mut store = sessions(&kept.gateway.address).await?;
    let kept_turns = turns(&mut store, "s").await?;
    assert_eq!(
        kept_turns.iter().map(|turn| super::said(&turn.input)).collect::<Vec<_>>(),
        ["one", "two", "three", "four"]
    );
    kept.stop_after(&[AWAY]).await
}

#[tokio::test]
async fn without_redis_it_is_slower_and_as_correct() -> Result<()> {
    let kept = Kept::start("", true).await?;
    let mut client = connect(&kept.gateway.address).await?;
    ask(&mut client, turn("s", "one")).await?;
    let redis = kept.redis.as_ref().context("no Redis")?;
    redis.kill9().await?;
    let asks = (0..4).map(|number| {
        let mut client = client.clone();
        let request_id = format!("away-{number}");
        let request = GenerateRequest { request_id, ..turn("s", &format!("while it is away {number}")) };
        tokio::spawn(async move { ask(&mut client, request).await })
    });
    for asked in asks.collect::<Vec<_>>() {
        asked.await??;
    }
    let passed_over = "pointsman_sessions_redis_passed_over_total";
    assert!(kept.store.metric(passed_over).await? > 0);
    // The trace of each says so, too.
    let shown = pointsman(&["trace", "--operator-address", &kept.store.operator, "away-0"]).await?.success()?;
    assert!(shown.contains("store.away=Redis"), "{shown}");
    redis.restart().await?;
    // It is used again by itself: nothing more is passed over.
    eventually!(LIMIT, {
        let before = kept.store.metric(passed_over).await?;
        ask(&mut client, turn("s", "back")).await?;
        anyhow::Ok((kept.store.metric(passed_over).await? == before).then_some(()))?.context("not yet")
    })?;
    let mut store = sessions(&kept.gateway.address).await?;
    let session = get(&mut store, "s").await?;
    let revisions: Vec<u64> = turns(&mut store, "s").await?.iter().map(|turn| turn.revision).collect();
    assert_eq!(revisions, (1..=session.revision).collect::<Vec<_>>());
    kept.stop_after(&[SILENT]).await
}

#[tokio::test]
async fn without_postgresql_turns_are_refused_at_their_begin() -> Result<()> {
    let kept = Kept::start("", true).await?;
    let mut client = connect(&kept.gateway.address).await?;
    ask(&mut client, turn("s", "one")).await?;
    kept.postgres.kill9().await?;
    let generated = kept.worker.metric(crate::named::FINISHED).await?;
    for _ in 0..8 {
        let status = client.generate(turn("s", "two")).await.err().context("it was answered")?;
        assert_eq!(reason(&status)?, Reason::SessionsUnavailable);
        assert!(crate::caller::retry_delay(&status).is_some());
    }
    assert_eq!(kept.worker.metric(crate::named::FINISHED).await?, generated);
    client.generate(say("simulated", "hello")).await?;
    kept.postgres.restart().await?;
    eventually!(LIMIT, ask(&mut client, turn("s", "two")).await)?;
    let mut store = sessions(&kept.gateway.address).await?;
    assert_eq!(turns(&mut store, "s").await?.len(), 2);
    kept.stop_after(&[SILENT, AWAY, LOST]).await
}

#[tokio::test]
async fn a_commit_waits_for_a_store_that_comes_back() -> Result<()> {
    let mut kept = Kept::start("answer_tokens: 60, timing: {step: 20ms}", true).await?;
    let mut client = connect(&kept.gateway.address).await?;
    let mut frames = client.generate_stream(turn("s", "one")).await?.into_inner();
    let first = frames.message().await?.context("no frame")?;
    // The answer is on its way: its store dies, and is there again before or after its end.
    kept.store.process.kill9().await?;
    kept.restart_store().await?;
    let mut all = vec![first];
    while let Some(frame) = frames.message().await? {
        all.push(frame);
    }
    crate::named::check_whole(&all)?;
    let stored = turns(&mut sessions(&kept.gateway.address).await?, "s").await?;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].output.as_ref().map(|message| super::said(std::slice::from_ref(message))), Some(text(&all)));
    kept.stop_after(&[AWAY]).await
}

#[tokio::test]
async fn who_watches_is_told_that_the_store_is_away_and_goes_on_when_it_is_back() -> Result<()> {
    let mut kept = Kept::start("", true).await?;
    let mut store = sessions(&kept.gateway.address).await?;
    let watch =
        || WatchTurnsRequest { group: "crm".to_owned(), from_the_beginning: true, ..WatchTurnsRequest::default() };
    let mut stream = store.watch_turns(watch()).await?.into_inner();
    ask(&mut connect(&kept.gateway.address).await?, turn("s", "one")).await?;
    let told = stream.message().await?.context("nothing is told")?;
    store.acknowledge_turns(AcknowledgeTurnsRequest { tokens: vec![told.token] }).await?;
    kept.store.process.kill9().await?;
    let ended = stream.message().await.err().context("it ended well")?;
    assert_eq!(reason(&ended)?, Reason::SessionsUnavailable, "{ended:?}");
    kept.restart_store().await?;
    let mut stream = eventually!(LIMIT, store.watch_turns(watch()).await)?.into_inner();
    ask(&mut connect(&kept.gateway.address).await?, turn("s", "two")).await?;
    let told = stream.message().await?.context("nothing is told")?;
    assert_eq!(told.turns.iter().map(|turn| turn.revision).collect::<Vec<_>>(), [2]);
    drop(stream);
    kept.stop_after(&[AWAY]).await
}

#[tokio::test]
async fn a_store_refuses_a_schema_that_it_does_not_know() -> Result<()> {
    let postgres = Postgres::start().await?;
    let config = format!("sessions: {{database: {{url: \"{}\"}}}}\n", postgres.database().await?);
    let error = Start::new("sessions serve", &config).ready().await.err().context("it is ready")?;
    assert!(format!("{error:#}").contains("run `pointsman sessions migrate --config FILE`"), "{error:#}");
    // Where there is no database, it is said why, and where it was looked for.
    let port = ports::free_address()?.port();
    let nowhere = format!("sessions: {{database: {{url: \"postgres://me:secret@127.0.0.1:{port}/x\"}}}}\n");
    let told = format!("{:#}", migrate(&nowhere).await.err().context("it is migrated")?);
    assert!(told.contains(&format!("postgres://me:***@127.0.0.1:{port}/x")) && told.contains("refused"), "{told}");
    migrate(&config).await?;
    // Twice is as well as once.
    migrate(&config).await?;
    Start::new("sessions serve", &config).ready().await?.stop().await
}

#[tokio::test]
async fn a_turn_is_answered_though_the_gateway_that_owns_its_name_is_gone() -> Result<()> {
    let kept = Kept::start("", false).await?;
    let (own, nobody) = (ports::free_address()?, ports::free_address()?);
    let config = format!(
        "server: {{instance: a, mesh_listen: \"{own}\"}}\ngateway: {{peers: [{{name: b, endpoint: \"http://{nobody}\"}}], \
         instances: [{{name: w, endpoint: \"{}\"}}], sessions: {{name: s, endpoint: \"{}\"}}}}\n",
        kept.worker.address, kept.store.address
    );
    let gateway = Start::new("gateway", &config).ready().await?;
    let mut client = connect(&gateway.address).await?;
    for number in 1..=IDS {
        let named = GenerateRequest { request_id: format!("order-{number}"), ..turn("s", "hello") };
        ask(&mut client, named.clone()).await?;
        // And is the same turn when it is repeated, by whoever keeps it.
        ask(&mut client, named).await?;
        assert_eq!(get(&mut sessions(&gateway.address).await?, "s").await?.revision, number as u64);
    }
    gateway.stop_after(&["a gateway could not be reached"]).await?;
    kept.stop_after(&[]).await
}

#[tokio::test]
async fn a_store_waits_at_its_start_for_a_database_that_starts() -> Result<()> {
    let kept = Kept::start("", false).await?;
    kept.postgres.kill9().await?;
    let starting = serve(&kept.config, "127.0.0.1:0");
    let (started, restarted) = tokio::join!(starting, async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        kept.postgres.restart().await
    });
    restarted?;
    started?.stop().await?;
    kept.stop_after(&[SILENT, LOST]).await
}

#[tokio::test]
async fn who_takes_the_place_of_a_turn_whose_process_is_gone_is_answered() -> Result<()> {
    let mut kept = Kept::start("answer_tokens: 8000, timing: {step: 5ms}", false).await?;
    let mut store = sessions(&kept.gateway.address).await?;
    let session = Some(Session { second_turn: SecondTurn::Supersede.into(), ..Session::default() });
    store.create_session(CreateSessionRequest { session, session_id: "s".to_owned() }).await?;
    let mut client = connect(&kept.gateway.address).await?;
    let mut running = client.generate_stream(turn("s", "first")).await?.into_inner();
    assert!(running.message().await?.is_some());
    // Its lease outlives it, and nobody in the new process runs it.
    kept.store.process.kill9().await?;
    kept.restart_store().await?;
    let limits = Some(Limits { max_output_tokens: Some(2) });
    let frames = ask(&mut client, GenerateRequest { limits, ..turn("s", "second") }).await?;
    assert_eq!(super::revision(&frames)?, 1);
    drop(running);
    kept.stop_after(&[AWAY]).await
}

#[tokio::test]
async fn spans_of_a_store_of_its_own_are_whole() -> Result<()> {
    let kept = Kept::start("", true).await?;
    let mut client = connect(&kept.gateway.address).await?;
    for number in 0..4 {
        let id = format!("turn-{number}");
        ask(&mut client, GenerateRequest { request_id: id.clone(), ..turn("s", "hello") }).await?;
        let operator = &kept.store.operator;
        let shown = eventually!(LIMIT, {
            let ended = pointsman(&["trace", "--operator-address", operator, &id]).await?;
            ended.success().ok().filter(|shown| shown.contains("turn commit")).context("not yet")
        })?;
        assert!(shown.contains("turn begin") && shown.contains("lease.wait="), "{shown}");
        // One for the lease, one for the turns; and of the first, one that makes the session. Then one for the commit, one
        // that gives the lease back.
        assert_eq!(shown.matches("store.round_trips=2").count(), if number == 0 { 1 } else { 2 }, "{shown}");
    }
    kept.stop_after(&[]).await
}
