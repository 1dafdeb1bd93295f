use pointsman_proto::sessions::v1::Session;

use crate::arguments::sessions::SessionName;
use crate::client::fake::{FakeMesh, PAGE};

fn demo() -> SessionName {
    "demo".parse().unwrap()
}

/// Reads all turns after a revision: their revisions, and how many pages they took.
async fn read(fake: &FakeMesh, after: u64) -> anyhow::Result<(Vec<u64>, usize)> {
    let mut sessions = fake.sessions();
    let mut turns = sessions.turns_after(&demo(), after);
    let (mut read, mut pages) = (Vec::new(), 0);
    while let Some(page) = turns.next().await? {
        read.extend(page.iter().map(|turn| turn.revision));
        pages += 1;
    }
    Ok((read, pages))
}

#[tokio::test]
async fn turns_are_read_to_the_last() {
    let fake = FakeMesh::with_turns(5);
    assert_eq!(read(&fake, 0).await.unwrap(), (vec![1, 2, 3, 4, 5], 5_usize.div_ceil(PAGE)));
    assert_eq!(read(&fake, 3).await.unwrap().0, [4, 5]);
    assert_eq!(read(&fake, 5).await.unwrap().0, [0; 0]);
    assert_eq!(read(&FakeMesh::with_turns(0), 0).await.unwrap(), (vec![], 1));
}

#[tokio::test]
async fn a_turn_that_is_missing_is_an_error() {
    let fake = FakeMesh::with_turns(5);
    fake.state().sessions.get_mut("sessions/demo").unwrap().1.remove(3);
    let told = read(&fake, 0).await.unwrap_err().to_string();
    assert_eq!(told, "sessions/demo has turn 5 where turn 4 should be: the store is not whole");
}

#[tokio::test]
async fn a_session_that_is_not_there_is_none_and_a_broken_mesh_is_an_error() {
    let fake = FakeMesh::with_turns(1);
    assert_eq!(fake.sessions().find(&demo()).await.unwrap().unwrap().revision, 1);
    let other: SessionName = "other".parse().unwrap();
    assert_eq!(fake.sessions().find(&other).await.unwrap(), None::<Session>);
    assert!(fake.sessions().get(&other).await.is_err());
    let options = crate::arguments::ClientOptions { address: "http://mesh".into(), ca: None, key: None };
    let nothing = pointsman_client::in_process(tonic::service::Routes::default(), &pointsman_client::Config::default());
    let mesh = crate::client::Mesh::over(nothing, &options);
    assert!(super::Sessions::of(&mesh).find(&demo()).await.is_err(), "a mesh without sessions");
}
