//! What the settings of a session do to its turns.

use anyhow::Result;
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::sessions::v1::{CreateSessionRequest, Session, SessionLimits, UpdateSessionRequest};

use super::stores::serve;
use super::{get, revision, sessions, turn};
use crate::caller::connect;
use crate::named::{ask, refusal};
use crate::service::{Service, Start, simulated_config};

fn create(id: &str, session: Session) -> CreateSessionRequest {
    CreateSessionRequest { session: Some(session), session_id: id.to_owned() }
}

#[tokio::test]
async fn a_session_that_has_reached_its_limit_begins_no_turn() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let mut client = connect(&mesh.address).await?;
    let mut store = sessions(&mesh.address).await?;
    let limited = |max_turns| Session {
        limits: Some(SessionLimits { max_turns: Some(max_turns), max_bytes: None }),
        ..Session::default()
    };
    store.create_session(create("few", limited(1))).await?;
    ask(&mut client, turn("few", "one")).await?;
    let refused = client.generate(turn("few", "two")).await;
    assert_eq!(refusal(refused)?, Reason::SessionLimitReached);
    assert_eq!(get(&mut store, "few").await?.revision, 1);
    // What changes nothing is no change.
    let same = UpdateSessionRequest {
        session: Some(Session { name: "sessions/few".into(), ..limited(1) }),
        update_mask: None,
    };
    let etag = get(&mut store, "few").await?.etag;
    assert_eq!(store.update_session(same).await?.into_inner().etag, etag);
    let more = UpdateSessionRequest {
        session: Some(Session { name: "sessions/few".into(), ..limited(2) }),
        update_mask: None,
    };
    store.update_session(more).await?;
    assert_eq!(revision(&ask(&mut client, turn("few", "two")).await?)?, 2);
    // A new session is named beside its settings.
    let named = create("other", Session { name: "sessions/another".into(), ..Session::default() });
    assert_eq!(refusal(store.create_session(named).await)?, Reason::InvalidRequest);
    mesh.stop().await
}

#[tokio::test]
async fn turns_of_a_session_go_to_its_home_zone_first() -> Result<()> {
    let worker = async |zone: &str| {
        let config = format!("{}worker: {{zone: {zone}}}\n", simulated_config("answer_tokens: 4"));
        Start::new("worker", &config).ready().await
    };
    let (north, south) = (worker("north").await?, worker("south").await?);
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("sessions.db").display());
    let store = serve(&format!("sessions: {{database: {{url: \"{url}\"}}}}\n"), "127.0.0.1:0").await?;
    let config = format!(
        "gateway:\n  zone: north\n  instances: [{{name: a, endpoint: \"{}\"}}, {{name: b, endpoint: \"{}\"}}]\n  sessions: {{name: sessions, endpoint: \"{}\"}}\n",
        north.address, south.address, store.address
    );
    let gateway = Start::new("gateway", &config).ready().await?;
    let southern = Session { home_zone: "south".into(), ..Session::default() };
    sessions(&gateway.address).await?.create_session(create("away", southern)).await?;
    let mut client = connect(&gateway.address).await?;
    for (session, instance) in [("here", "a"), ("away", "b"), ("here", "a"), ("away", "b")] {
        let frames = ask(&mut client, turn(session, "hello")).await?;
        let Some(Body::Started(started)) = &frames[0].body else { anyhow::bail!("no start") };
        assert_eq!(started.attempts.last().map(|attempt| &*attempt.instance), Some(instance), "{session}");
    }
    gateway.stop().await?;
    store.stop().await?;
    north.stop().await?;
    south.stop().await
}
