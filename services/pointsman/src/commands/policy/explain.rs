//! `pointsman policy explain`: what a policy would do with a request, and why.

use std::fmt::Write;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow};
use pointsman_policy::decide::Circumstances;
use pointsman_policy::{Cause, CompiledPolicy, Decision, Facts, Fleet, decide, nearest};
use pointsman_proto::inference::v1::{Ability, GenerateRequest, TargetDescription};
use pointsman_proto::json;
use pointsman_types::counted;

use crate::arguments::ExplainOptions;

pub(super) fn run(options: &ExplainOptions) -> Result<()> {
    let policy = super::read(&options.file)?;
    let file = options.request.display();
    let text = std::fs::read_to_string(&options.request).with_context(|| format!("{file} cannot be read"))?;
    let name = "pointsman.inference.v1.GenerateRequest";
    let request: GenerateRequest = json::read(name, &mut serde_json::Deserializer::from_str(&text))
        .map_err(|error| anyhow!("{file}: is no GenerateRequest in protobuf's JSON: {error}"))?;
    let fleet = assumed(&policy);
    let facts = Facts::new(&request, &options.tenant, &options.key);
    let given = Circumstances {
        caller_zones: Default::default(),
        time: SystemTime::now(),
        seed: options.seed.unwrap_or_else(rand::random),
    };
    let decision = decide(&policy, &fleet, &facts, given);
    print!("{}", render(&policy, &facts, &decision));
    decision.map(|_| ()).map_err(|_| anyhow!("no decision can be made for this request"))
}

/// A fleet that serves whatever the policy names, wherever it may run: a file says nothing of what is up.
fn assumed(policy: &CompiledPolicy) -> Fleet {
    let mut fleet = Fleet::new(0, false);
    let mut add = |name: &str, zone: &str| {
        let target = if name.contains('/') { name.to_owned() } else { format!("models/{name}/versions/assumed") };
        let abilities = (1..64).filter(|number| Ability::try_from(*number).is_ok()).collect();
        fleet.add(&TargetDescription { target, abilities, ..TargetDescription::default() }, zone);
    };
    for rule in policy.virtual_models().filter_map(|name| policy.rules(name)).flatten() {
        for name in rule.target_names() {
            add(name, "");
            rule.allowed_zones.iter().for_each(|zone| add(name, zone));
        }
    }
    fleet
}

fn render<E: std::fmt::Display>(policy: &CompiledPolicy, facts: &Facts<'_>, decision: &Result<Decision, E>) -> String {
    let mut out = format!("policy {}\n", policy.revision);
    let model = facts.model();
    match policy.rules(model) {
        Some(rules) => {
            let _ = writeln!(out, "`{model}` is a virtual model; its rules, in order:");
            for rule in rules {
                let holds = rule.when.holds(facts);
                let _ = writeln!(out, "  {:<20} {}", rule.name, if holds { "applies" } else { "does not apply" });
                if holds {
                    break;
                }
            }
        }
        None => {
            let _ = writeln!(out, "`{model}` is no virtual model{}", unknown(policy, model, decision.is_err()));
        }
    }
    let read = facts.read();
    if !read.is_empty() {
        let _ = writeln!(out, "facts that were read:");
        for (fact, value) in read {
            let _ = writeln!(out, "  {} = {value:?}", fact.name());
        }
    }
    match decision {
        Ok(decision) => render_decision(&mut out, decision),
        // Of a name that the policy does not know, all that can be told is told.
        Err(_) if policy.rules(model).is_none() => {}
        Err(error) => {
            let _ = writeln!(out, "refused: {error}");
        }
    }
    out
}

/// What becomes of a name that is no virtual model.
fn unknown(policy: &CompiledPolicy, model: &str, refused: bool) -> String {
    let near = nearest(model, policy.virtual_models());
    let meant = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    if policy.virtual_models_only {
        format!(", and callers may use nothing else (virtual_models_only){meant}")
    } else if refused {
        format!(
            ", and no target that the policy names: a gateway looks for it in its fleet, of which a policy says nothing{meant}"
        )
    } else {
        ": it is looked for in the fleet, as a target that the policy names".to_owned()
    }
}

fn render_decision(out: &mut String, decision: &Decision) {
    let rule = &decision.rule;
    let _ = writeln!(out, "decision {} (repeat it with --seed {})", decision.id, decision.seed);
    for (number, step) in decision.steps.iter().enumerate() {
        let causes = match number {
            0 => "first".to_owned(),
            _ => format!("after {}", causes(|cause| step.causes.contains(cause))),
        };
        let _ = writeln!(out, "  {}. {}  {causes}", number + 1, step.target.name);
    }
    if let Some(answer) = &rule.static_answer {
        let _ = writeln!(out, "  then a static answer  after {}", causes(|cause| answer.causes.contains(cause)));
    }
    if let Some(after) = rule.hedge_after {
        let _ = writeln!(out, "  hedged after {after:?}");
    }
    let timeouts = rule.timeouts;
    let _ = writeln!(
        out,
        "  at most {}; connect {:?}, first token {:?}, idle gap {:?}, total {:?}",
        counted(rule.max_attempts, "attempt"),
        timeouts.connect,
        timeouts.first_token,
        timeouts.idle_gap,
        timeouts.total
    );
    for rejected in &decision.rejected {
        let _ = writeln!(out, "  not {}: {}", rejected.target, rejected.why.name());
    }
    if !rule.allowed_zones.is_empty() {
        let _ = writeln!(out, "  only in {}", rule.allowed_zones.join(", "));
    }
    out.push_str("(assumed: every target has an instance that is ready and can do everything)\n");
}

fn causes(has: impl Fn(Cause) -> bool) -> String {
    let all = [
        (Cause::Unavailable, "unavailable"),
        (Cause::Saturated, "saturated"),
        (Cause::RateLimited, "rate limited"),
        (Cause::ContextTooLong, "context too long"),
        (Cause::ContentRefused, "content refused"),
    ];
    all.iter().filter(|(cause, _)| has(*cause)).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}
