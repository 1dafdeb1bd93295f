use super::{LIMIT, load};

/// Compares line, column and the beginning of what is said of each mistake.
fn check(text: &str, expected: &[&str]) {
    let mistakes: Vec<String> =
        load(text).err().unwrap_or_default().iter().map(|mistake| mistake.to_string()).collect();
    assert_eq!(mistakes.len(), expected.len(), "{text}\n{mistakes:#?}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(expected), "{text}\n{mistake}\nis not: {expected}");
    }
}

/// A policy whose one rule has these lines more.
fn rule(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("        {line}\n")).collect();
    format!(
        "virtual_models:\n  - name: chat\n    rules:\n      - name: one\n        targets:\n          - target: a\n{lines}"
    )
}

/// Where the first line of [`rule`] stands.
const LINE: u32 = 7;

fn check_rule(lines: &str, (line, column): (u32, u32), path: &str) {
    check(&rule(lines), &[&format!("{}:{column}: virtual_models[0].rules[0].{path}", LINE + line)]);
}

#[test]
fn what_is_right_is_taken() {
    check(&rule(""), &[]);
    check(&rule("maxAttempts: 2\nallowedZones: [north]\nstickyBy: request.session"), &[]);
    check(&rule("max_attempts: 2\nallowed_zones: [north]\nsticky_by: request.session"), &[]);
    check(&rule("timeouts: {firstToken: 1.5s}\nstaticAnswer: {text: Sorry., causes: [CAUSE_SATURATED]}"), &[]);
    check(r#"{"virtualModels": [{"name": "a", "rules": [{"name": "b", "targets": [{"target": "c"}]}]}]}"#, &[]);
    check("{}", &[]);
}

#[test]
fn a_mistake_of_form_has_its_place() {
    check("", &["1:1: "]);
    check(" \n", &["1:1: "]);
    check("virtual_models: [", &["1:"]);
    check("virtual_models:\n  - name: 'chat\n", &["3:1: "]);
    check("virtual_models: []\nretry_budget: [}\n", &["2:"]);
    check("virtual_modles: []\n", &["1:1: "]);
    check("\n\n  virtual_models_only: perhaps\n", &["3:3: "]);
    check(&rule("max_attempts: many"), &["7:23: "]);
    check(&rule("hedge:\n  after: soon"), &["8:18: "]);
    check(&rule("fallbacks:\n  - target: b\n    cause: [CAUSE_SATURATED]"), &["9:13: "]);
    check(&rule("fallbacks:\n  - target: b\n    causes: [CAUSE_SATURATD]"), &["9:22: "]);
    check(&rule("max_attempts: 2\nmax_attempts: 3"), &["8:9: "]);
    check(&"#".repeat(LIMIT + 1), &["1:1: has more than"]);
}

#[test]
fn a_mistake_of_meaning_has_its_place() {
    check_rule("max_attempts: 17", (0, 23), "max_attempts: must be 1 to 16");
    check_rule("maxAttempts: 17", (0, 22), "max_attempts: must be 1 to 16");
    check_rule("hedge: {}", (0, 16), "hedge.after: must be");
    check_rule("timeouts:\n  idleGap: 0s", (1, 20), "timeouts.idle_gap: must be");
    check_rule("timeouts: {connect: 1s, idle_gap: 0s}", (0, 43), "timeouts.idle_gap: must be");
    check_rule("allowed_zones: [north, '']", (0, 32), "allowed_zones[1]: must not");
    check_rule("fallbacks:\n  - target: b\n  - target: b", (2, 21), "fallbacks[1].target: is there twice");
    check_rule("staticAnswer:\n  text: ''", (1, 17), "static_answer.text: must be");
    check("virtual_models:\n- rules: []\n", &["2:3: virtual_models[0].name", "2:10: virtual_models[0].rules"]);
    check("virtual_models:\n- name: a\n", &["2:3: virtual_models[0].rules"]);
    check(
        "retry_budget:\n  ratio: 2\nhedgeBudget: {minPerSecond: 9999}\n",
        &["2:10: retry_budget.ratio", "3:29: hedge_budget.min_per_second"],
    );
    check("virtual_models_only: true", &["1:22: virtual_models_only: leaves callers nothing"]);
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_text() {
    check(
        &rule("max_attempts: 0\nwhen: request.modle == \"a\" && labels == \"b\"\nsticky_by: nothing"),
        &["7:23: ", "8:15: ", "8:39: ", "9:20: "],
    );
}

#[test]
fn a_mistake_in_a_condition_has_its_column() {
    let path = "when: `request.modle`";
    // Plain and quoted texts: the very letter.
    check_rule(r#"when: request.tools > 0 && request.modle == "a""#, (0, 36), path);
    check_rule(r#"when: 'request.tools > 0 && request.modle == "a"'"#, (0, 37), path);
    check_rule(r#"when: "request.tools > 0 && request.modle == 'a'""#, (0, 37), path);
    // Columns are characters, and not every character is a byte, nor one character of the file.
    check_rule(r#"when: labels.team == "é" && request.modle == "a""#, (0, 37), path);
    check_rule(r#"when: "labels.team == \"é\" && request.modle == 'a'""#, (0, 40), path);
    check_rule(r#"when: "labels.team == \"\u00e9\" && request.modle == 'a'""#, (0, 45), path);
    check_rule(r#"when: 'labels.team == ''b'' && request.modle == "a"'"#, (0, 40), path);
    // Texts over several lines: the letter in their first line, and otherwise where they begin.
    check_rule("when: |\n  request.modle == 'a'\n  && true", (1, 11), path);
    check_rule("when: |- # as it stands\n  true && request.modle == 'a'", (1, 19), path);
    check_rule("when: >-\n  'a' == request.modle", (1, 18), path);
    check_rule("when: >-\n  request.tools > 0\n  && request.modle == 'a'", (1, 11), path);
    check_rule("when:\n  request.tools > 0 && request.modle == 'a'", (1, 32), path);
    for text in ["request.tools > 0\n  && request.modle == 'a'", "\"request.tools > 0\n  && request.modle == 'a'\""] {
        check_rule(&format!("when: {text}"), (0, 15), path);
    }
}

#[test]
fn a_mistake_in_what_an_alias_repeats_has_a_place() {
    let text = rule("when: &when request.modle == \"a\"");
    check(&text, &["7:21: virtual_models[0].rules[0].when"]);
}
