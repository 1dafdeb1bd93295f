//! A stream whose first token takes long: the connection is kept alive meanwhile.

use anyhow::Result;

use crate::caller::{chat_body, post_chat};
use crate::service::Service;

#[tokio::test]
async fn comments_come_until_the_first_token_does() -> Result<()> {
    // The probe's prompt has 5 tokens, ours 60: it is read for 12 s, and the first comment is due after 10.
    let mesh = Service::simulated("timing: {prefill_per_token: 200ms}").await?;
    let words = "word ".repeat(55);
    let response = post_chat(&mesh.address, &chat_body("simulated", &words, true)).await?;
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"text/event-stream".parse()?));
    let events = response.text().await?;
    assert!(events.starts_with(": keepalive\n\ndata: {"), "{events}");
    assert!(events.contains(" word") && events.ends_with("data: [DONE]\n\n"), "{events}");
    mesh.stop().await
}
