//! With the shell as the process.

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Process {
    Process::start(Path::new("/bin/sh"), ["-c", script], [("GREETING", "hello")]).unwrap()
}

#[tokio::test]
async fn lines_of_both_outputs_are_waited_for() {
    let mut process = shell("echo $GREETING; echo more >&2; exit 3");
    assert_eq!(process.line_with("hell", LIMIT).await.unwrap(), "hello");
    assert_eq!(process.line_with("more", LIMIT).await.unwrap(), "more");
    assert_eq!(process.wait(LIMIT).await.unwrap().code(), Some(3));
    assert_eq!(process.lines().len(), 2);
}

#[tokio::test]
async fn an_end_without_the_line_is_told_at_once_with_the_output() {
    let process = shell("echo something else");
    let error = process.line_with("hello", Duration::from_secs(3600)).await.unwrap_err().to_string();
    assert!(error.contains("ended before") && error.contains("something else"), "{error}");
}

#[tokio::test]
async fn a_line_that_does_not_come_is_told_with_the_output() {
    let process = shell("echo something else; exec sleep 60");
    process.line_with("something", LIMIT).await.unwrap();
    let error = process.line_with("hello", Duration::from_millis(50)).await.unwrap_err().to_string();
    assert!(error.contains("within 50ms") && error.contains("something else"), "{error}");
}

#[tokio::test]
async fn signals_reach_the_process() {
    let script = "trap 'echo asked; exit 5' TERM; trap 'echo broken' INT; echo ready; while :; do sleep 0.01; done";
    let mut process = shell(script);
    process.line_with("ready", LIMIT).await.unwrap();
    process.interrupt().await.unwrap();
    process.line_with("broken", LIMIT).await.unwrap();
    process.terminate().await.unwrap();
    assert_eq!(process.wait(LIMIT).await.unwrap().code(), Some(5));
    process.line_with("asked", LIMIT).await.unwrap();
    process.terminate().await.unwrap_err();
}

#[tokio::test]
async fn a_killed_process_is_gone() {
    use std::os::unix::process::ExitStatusExt;
    let mut process = shell("trap '' TERM; echo ready; exec sleep 60");
    process.line_with("ready", LIMIT).await.unwrap();
    process.kill9().await.unwrap();
    assert_eq!(process.id(), None);
    assert_eq!(process.wait(LIMIT).await.unwrap().signal(), Some(9));
}

#[tokio::test]
async fn a_dropped_process_is_gone() {
    let process = shell("echo ready; exec sleep 60");
    process.line_with("ready", LIMIT).await.unwrap();
    let folder = format!("/proc/{}", process.id().unwrap());
    drop(process);
    crate::eventually!(LIMIT, !Path::new(&folder).exists()).unwrap();
}

#[tokio::test]
async fn the_environment_of_the_test_does_not_configure_the_process() {
    for variable in ["POINTSMAN_BIN", "OTEL_EXPORTER_OTLP_ENDPOINT", "RUST_LOG"] {
        assert!(configures_a_service(variable), "{variable}");
    }
    assert!(!configures_a_service("PATH"));
}

#[tokio::test]
async fn warnings_are_kept() {
    let mut process = shell("echo '2026-11-21T01:02:03.456789Z  WARN a: b' >&2; echo fine >&2");
    process.wait(LIMIT).await.unwrap();
    assert_eq!(process.unexpected_lines(), ["2026-11-21T01:02:03.456789Z  WARN a: b"]);
}
