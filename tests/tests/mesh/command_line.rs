//! The command-line client, against the demo model.

use anyhow::{Context, Result};
use pointsman_testkit::{Process, eventually, tools};

use crate::caller::{chat_body, post_chat};
use crate::program::{pointsman, run};
use crate::service::{LIMIT, Service, Start, simulated_config};

const GREETING: &str = "Hello! I am Pip. How can I help you?\n";

#[tokio::test]
async fn up_without_options_tells_where_it_is() -> Result<()> {
    // Conversations stand where those of the person who runs the tests do not.
    let folder = tempfile::tempdir()?;
    let state = [("XDG_STATE_HOME", folder.path())];
    let mut mesh = Process::start(&tools::binary()?, ["up", "--listen", "127.0.0.1:0"], state)?;
    let line = mesh.line_with("Pointsman is ready on http://127.0.0.1:", LIMIT).await?;
    let address = line.split_ascii_whitespace().find(|word| word.starts_with("http://")).context("no address")?;
    let answer = pointsman(&["chat", "--address", address, "Hello"]).await?;
    assert_eq!((answer.stdout.as_str(), answer.stderr.as_str()), (GREETING, ""));
    mesh.interrupt().await?;
    assert_eq!(mesh.wait(LIMIT).await?.code(), Some(0));
    assert_eq!(mesh.unexpected_lines(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn chat_holds_a_conversation() -> Result<()> {
    let mesh = Service::demo().await?;
    let address = [("POINTSMAN_ADDRESS", mesh.address.as_ref())];
    let lines = "Hi, my name is Maria.\nWhat is my name?\n\nnot read any more\n";
    let said = run(&tools::binary()?, &["chat"], &address, lines).await?.success()?;
    let answers: Vec<&str> = said.lines().collect();
    assert!(answers.len() == 2 && answers[1].contains("Maria"), "{answers:?}");
    let cut = pointsman(&["chat", "--address", &mesh.address, "--max-tokens", "3", "Hello"]).await?.success()?;
    assert!(cut.ends_with(" […]\n") && GREETING.starts_with(cut.trim_end_matches(" […]\n")), "{cut}");
    let unknown = pointsman(&["chat", "--address", &mesh.address, "--model", "nobody", "Hello"]).await?;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("MODEL_NOT_FOUND, see docs/errors/MODEL_NOT_FOUND.md"), "{unknown:?}");
    assert!(unknown.stderr.contains("; `pointsman models` lists the models"), "{unknown:?}");
    mesh.stop().await
}

#[tokio::test]
async fn chat_says_which_of_several_models_it_talks_to() -> Result<()> {
    let policy = tools::workspace()?.join("examples/policy/policy.yaml");
    let config = format!("{}gateway: {{policy: \"{}\"}}\n", simulated_config(""), policy.display());
    let mesh = Start::new("up", &config).ready().await?;
    let listed = pointsman(&["models", "--address", &mesh.address]).await?.success()?;
    let names: Vec<&str> = listed.lines().skip(1).filter_map(|row| row.split_ascii_whitespace().next()).collect();
    assert_eq!(names, ["assistant", "simulated"]);

    let address = [("POINTSMAN_ADDRESS", mesh.address.as_ref())];
    let told = "(Talking to assistant, the first of 2 models; --model NAME chooses another, and `pointsman models` lists them)\n";
    for (arguments, lines, expected) in [
        (&["chat", "Hello"][..], "", told),
        (&["chat"], "Hello\n", told),
        (&["chat", "--model", "simulated", "Hello"], "", ""),
    ] {
        let ended = run(&tools::binary()?, arguments, &address, lines).await?;
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("You said: Hello\n", expected), "{arguments:?}");
    }
    // Of `pip`, which the policy has for `up` with its demo model.
    mesh.stop_after(&["the policy names a target that no instance serves"]).await
}

#[tokio::test]
async fn models_lists_what_can_be_used() -> Result<()> {
    let mesh = Service::demo().await?;
    let listed = pointsman(&["models", "--address", &mesh.address]).await?.success()?;
    let row = listed.lines().nth(1).context("no model")?;
    let columns: Vec<&str> = row.split_ascii_whitespace().collect();
    let known =
        ["pip", "models/pip/versions/f5e2d34cd543", "1024", "sampling", "seed", "stop", "penalties", "logit_bias"];
    let more = ["logprobs", "multiple_choices", "tools", "json_object", "json_schema", "regex", "lark_grammar"];
    assert_eq!(columns, [known.as_slice(), &more].concat());
    mesh.stop().await
}

#[tokio::test]
async fn trace_draws_a_recent_request() -> Result<()> {
    let mesh = Service::demo().await?;
    let response = post_chat(&mesh.address, &chat_body("pip", "Hello", false)).await?;
    let id = |name: &str| anyhow::Ok(response.headers().get(name).context("no id")?.to_str()?.to_owned());
    let (request, trace) = (id("x-request-id")?, id("x-pointsman-trace-id")?);
    let show = async |id: &str| pointsman(&["trace", id, "--operator-address", &mesh.operator]).await?.success();
    // The span of the operation ends a moment after its answer.
    let complete = |drawn: &String| drawn.contains("\nchat pip ") && !drawn.contains(" still runs ");
    let by_request = eventually!(LIMIT, show(&request).await.ok().filter(complete))?;
    assert_eq!(show(&trace).await?, by_request);
    assert!(by_request.starts_with(&format!("trace {trace}, as pointsman-up up-")), "{by_request}");
    let mut rest = by_request.as_str();
    for row in [
        "\nchat pip ",
        "\n  attempt models/pip/versions/f5e2d34cd543 ",
        "\n    generate ",
        "\n      queue ",
        "\n      prefill ",
        "\n      decode ",
    ] {
        let at = rest.find(row).with_context(|| format!("no `{row}` in its place in {by_request}"))?;
        rest = &rest[at + row.len()..];
    }
    assert!(by_request.contains("usage.output_tokens=13"), "{by_request}");
    mesh.stop().await
}

#[tokio::test]
async fn an_unknown_trace_is_an_error() -> Result<()> {
    let mesh = Service::demo().await?;
    let ended = pointsman(&["trace", "no-such-request", "--operator-address", &mesh.operator]).await?;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.starts_with("error: no recent trace or request `no-such-request`"), "{ended:?}");
    mesh.stop().await
}

#[tokio::test]
async fn a_mesh_that_is_not_there_is_an_error() -> Result<()> {
    let address = format!("http://{}", pointsman_testkit::ports::free_address()?);
    let ended = pointsman(&["chat", "--address", &address, "Hello"]).await?;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("cannot be reached") && ended.stderr.contains("pointsman up"), "{ended:?}");
    Ok(())
}
