//! Measures a decision and a pick: how long they take, and how often they allocate.
//!
//! For `cargo xtask bench policy`. A policy of one rule has no condition; of twenty, nineteen have one that
//! does not hold, and the last is taken, so every condition is looked at. Prompts have instructions of 2 KiB,
//! whose hash is part of a pick. The candidates are there already, as the gateway keeps them in its fleet.
//! Prints one line of JSON.

#![allow(clippy::print_stdout, reason = "a command-line program")]

use std::alloc::System;
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use pointsman_policy::decide::Circumstances;
use pointsman_policy::pick::{Candidate, Load, Prefix, State, Wish, instance_hash};
use pointsman_policy::{CompiledPolicy, Facts, Fleet, decide, pick, source};
use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, Role, TargetDescription, part};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Requests that are decided in turn, so that no branch is always guessed right.
const REQUESTS: usize = 64;
/// Rounds of all requests; the middle one is told.
const ROUNDS: usize = 301;
const ZONES: [&str; 3] = ["a", "b", "c"];

fn main() -> Result<(), Box<dyn Error>> {
    let requests: Vec<GenerateRequest> = (0..REQUESTS).map(request).collect();
    let mut table = Vec::new();
    for rules in [1, 20] {
        let policy = policy(rules)?;
        for instances in [1, 32, 1000] {
            table.push(measure(&policy, &requests, rules, instances)?);
        }
    }
    println!("{}", json!({ "table": table }));
    Ok(())
}

fn measure(
    policy: &CompiledPolicy,
    requests: &[GenerateRequest],
    rules: usize,
    instances: usize,
) -> Result<Value, Box<dyn Error>> {
    let (fleet, candidates) = (fleet(), candidates(instances));
    let mut seed: u64 = 0;
    let mut decide_and_pick = |request: &GenerateRequest| -> Result<usize, Box<dyn Error>> {
        seed += 1;
        let facts = Facts::new(request, "acme", "key-1");
        let given = Circumstances { caller_zones: std::sync::Arc::default(), time: SystemTime::UNIX_EPOCH, seed };
        let decision = decide(policy, &fleet, &facts, given)?;
        let prefix = Prefix::of(request, "acme");
        let wish = Wish { decision: &decision, home_zone: "a", prefix, seed };
        Ok(pick(&wish, &candidates).map_err(|none| format!("none was picked: {none:?}"))?.index)
    };
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for request in requests {
            black_box(decide_and_pick(black_box(request))?);
        }
        rounds.push(begin.elapsed() / REQUESTS as u32);
    }
    let region = Region::new(ALLOCATOR);
    for request in requests {
        black_box(decide_and_pick(black_box(request))?);
    }
    let allocated = region.change();
    rounds.sort_unstable();
    let at = |index: usize| rounds.get(index).map_or(0, Duration::as_nanos);
    let each = |count: usize| count as f64 / REQUESTS as f64;
    Ok(json!({
        "rules": rules,
        "instances": instances,
        "median_ns": at(ROUNDS / 2),
        "p99_ns": at(ROUNDS * 99 / 100),
        "allocations": each(allocated.allocations + allocated.reallocations),
        "allocated_bytes": each(allocated.bytes_allocated),
    }))
}

fn policy(rules: usize) -> Result<CompiledPolicy, Box<dyn Error>> {
    let mut text = String::from("virtual_models:\n- name: chat\n  rules:\n");
    for rule in 1..rules {
        text += &format!(
            "  - name: rule-{rule}\n    when: 'caller.tenant == \"acme\" && request.estimated_prompt_tokens > 100 \
             && labels.team == \"team-{rule}\"'\n    targets: [{{ target: pip }}]\n"
        );
    }
    text += "  - name: others\n    targets: [{ target: pip }]\n";
    source::load(&text).map_err(|mistakes| format!("{mistakes:?}").into())
}

fn fleet() -> Fleet {
    let target = TargetDescription { target: "models/pip/versions/1".to_owned(), ..TargetDescription::default() };
    let mut fleet = Fleet::new(1, false);
    ZONES.into_iter().for_each(|zone| fleet.add(&target, zone));
    fleet
}

fn candidates(count: usize) -> Vec<Candidate<'static>> {
    let candidate = |index: usize| Candidate {
        hash: instance_hash(&format!("worker-{index}")),
        zone: ZONES[index % ZONES.len()],
        state: State::Ready,
        load: Load { tokens: (index as u64 * 7919) % 20_000, slots: 32 },
    };
    (0..count).map(candidate).collect()
}

fn request(index: usize) -> GenerateRequest {
    let message = |role: Role, text: String| {
        let parts = vec![Part { kind: Some(part::Kind::Text(text)) }];
        Message { role: role.into(), parts, ..Message::default() }
    };
    GenerateRequest {
        model: "chat".to_owned(),
        messages: vec![
            message(Role::System, format!("{index:>2048}")),
            message(Role::User, format!("Question {index}")),
        ],
        labels: [("team".to_owned(), "search".to_owned())].into(),
        ..GenerateRequest::default()
    }
}
