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
    check("virtual_models: [", &["1:17: cannot be read as YAML: unclosed bracket"]);
    // What is no YAML comes before what it would be if it were.
    check("virtual_modles: a: b\n", &["1:18: cannot be read as YAML: mapping values are not allowed"]);
    check("virtual_models:\n  - name: 'chat\n", &["3:1: "]);
    check("virtual_models: []\nretry_budget: [}\n", &["2:"]);
    check("virtual_modles: []\n", &["1:1: "]);
    check("\n\n  virtual_models_only: perhaps\n", &["3:24: "]);
    check(&rule("max_attempts: many"), &["7:23: "]);
    check(&rule("hedge:\n  after: soon"), &["8:18: "]);
    check(&rule("fallbacks:\n  - target: b\n    cause: [CAUSE_SATURATED]"), &["9:13: "]);
    check(&rule("fallbacks:\n  - target: b\n    causes: [CAUSE_SATURATD]"), &["9:22: "]);
    check(&rule("max_attempts: 2\nmax_attempts: 3"), &["8:9: `max_attempts` is there twice"]);
    check(&"#".repeat(LIMIT + 1), &["1:1: has more than"]);
}

#[test]
fn a_mistake_of_meaning_has_its_place() {
    check_rule("max_attempts: 17", (0, 23), "max_attempts: must be a whole number, 1 to 16");
    check_rule("maxAttempts: 17", (0, 22), "max_attempts: must be a whole number, 1 to 16");
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

/// Compares what is said of these lines of a rule, in full.
fn check_words(lines: &str, place: (u32, u32), message: &str) {
    let text = rule(lines);
    let mistakes = load(&text).unwrap_err();
    let (line, column) = (u64::from(LINE + place.0), u64::from(place.1));
    let message = format!("virtual_models[0].rules[0].{message}");
    assert_eq!(mistakes, [super::Mistake { line, column, message }], "{text}");
}

#[test]
fn a_wrong_value_says_what_to_write_instead() {
    let time = "must be a time in seconds with its unit, such as `30s` or `0.5s`";
    for (written, instead) in [("30", "30s"), ("0.5", "0.5s"), ("500ms", "0.5s"), ("5m", "300s"), ("1 h", "3600s")] {
        let lines = format!("timeouts: {{first_token: {written}}}");
        check_words(&lines, (0, 33), &format!("timeouts.first_token: {time}: write `{instead}`"));
    }
    check_words("hedge:\n  after: soon", (1, 18), &format!("hedge.after: {time}"));
    check_words("hedge: 0.8s", (0, 16), "hedge: must be a map, as in `{after: 0.8s}`");
    check_words("hedge: [1]", (0, 16), "hedge: must be a map, with `after`");

    let causes = "must be one of `CAUSE_UNAVAILABLE`, `CAUSE_SATURATED`, `CAUSE_RATE_LIMITED`, \
        `CAUSE_CONTEXT_TOO_LONG`, `CAUSE_CONTENT_REFUSED`";
    for (written, near) in [
        ("unavailable", Some("CAUSE_UNAVAILABLE")),
        ("UNAVAILABLE", Some("CAUSE_UNAVAILABLE")),
        ("CAUSE_SATURATD", Some("CAUSE_SATURATED")),
        ("rate-limited", Some("CAUSE_RATE_LIMITED")),
        ("always", None),
        ("~", None),
    ] {
        let meant = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let lines = format!("static_answer: {{text: Sorry., causes: [{written}]}}");
        check_words(&lines, (0, 48), &format!("static_answer.causes[0]: {causes}{meant}"));
    }
    let lines = "static_answer: {text: Sorry., causes: saturated}";
    check_words(lines, (0, 47), "static_answer.causes: must be a list, as in `[CAUSE_SATURATED]`");

    for written in ["-1", "1.5", "many", "99999999999", "true"] {
        check_words(&format!("max_attempts: {written}"), (0, 23), "max_attempts: must be a whole number, 1 to 16");
    }
    check_words("allowed_zones: home", (0, 24), "allowed_zones: must be a list, as in `[home]`");
    check_words("allowed_zones: [[home]]", (0, 25), "allowed_zones[0]: must be a text");
    check_words("sticky_by: [request.session]", (0, 20), "sticky_by: must be a text");
    check_words("fallbacks: [b]", (0, 21), "fallbacks[0]: must be a map, as in `{target: b}`");
    check_words("fallbacks: b", (0, 20), "fallbacks: must be a list of maps, as in `[{target: b}]`");
    let begun = "fallbacks: must be a list: begin each of its entries with `- `";
    check_words("fallbacks:\n  target: b", (1, 11), begun);
    check("virtual_models_only: 1", &["1:22: virtual_models_only: must be `true` or `false`"]);
    check("retry_budget: {ratio: often}", &["1:23: retry_budget.ratio: must be a number, 0 to 1"]);
    check(
        "retry_budget: {min_per_second: -1}",
        &["1:32: retry_budget.min_per_second: must be a whole number, 0 to 1000"],
    );
    check("[]", &["1:1: must be a map, with `virtual_models`, "]);
}

#[test]
fn an_unknown_key_names_a_near_one() {
    let words = "there is no such key";
    for (key, near) in [
        ("max_atempts", "max_attempts"),
        ("maxAtempts", "max_attempts"),
        ("max-attempts", "max_attempts"),
        ("fallback", "fallbacks"),
    ] {
        check_words(&format!("{key}: 2"), (0, 9), &format!("{key}: {words}; did you mean `{near}`?"));
    }
    let here = "first_token: there is no such key here; it belongs into `timeouts`";
    check_words("first_token: 2s", (0, 9), here);
    check_words("hedge: {after: 1s, jitter: 2}", (0, 28), &format!("hedge.jitter: {words}; there are `after`"));
    // What is missing under its own name is not told too.
    check(
        "virtual_models:\n- nmae: chat\n  ruels: []\n",
        &["2:3: virtual_models[0].nmae", "3:3: virtual_models[0].ruels"],
    );
}

/// One mistake, and none that the words beside it would make if they were read as true and false.
#[test]
fn words_that_yaml_takes_for_truths_are_names_where_a_name_is_wanted() {
    let of = |name: &str| format!("{{name: {name}, rules: [{{name: on, targets: [{{target: a}}]}}]}}");
    for (only, flaw) in [("no", false), ("off", false), ("false", false), ("maybe", true)] {
        let text =
            format!("virtual_models_only: {only}\nvirtual_models: [{}, {}]\nretry_budget: 2\n", of("y"), of("yes"));
        let expected = ["1:22: virtual_models_only: must be `true` or `false`", "3:15: retry_budget: must be a map"];
        check(&text, if flaw { &expected } else { &expected[1..] });
    }
}

#[test]
fn mistakes_of_form_and_of_meaning_are_told_together() {
    check(
        "virtual_models:\n\
         - name: chat\n\
        \x20 rules:\n\
        \x20 - name: one\n\
        \x20   when: request.modle == \"a\"\n\
        \x20   targets: [{target: a, weight: -1}, b, {target: c d}]\n\
        \x20   timeouts: {first_token: 30, idle_gap: 0s}\n\
        \x20   max_atempts: 2\n\
        \x20   sticky_by: nothing\n\
        \x20   sticky_by: nothing\n\
         - name: a b\n\
        \x20 rules: [{name: two, targets: [{target: a}], fallbacks: [{target: b, causes: [saturated]}, {target: b}]}]\n\
         retry_budget: 2\n",
        &[
            "5:11: virtual_models[0].rules[0].when: `request.modle`: there is no such fact",
            "6:35: virtual_models[0].rules[0].targets[0].weight: must be",
            "6:40: virtual_models[0].rules[0].targets[1]: must be",
            "6:52: virtual_models[0].rules[0].targets[2].target: must be",
            "7:29: virtual_models[0].rules[0].timeouts.first_token: must be",
            "7:43: virtual_models[0].rules[0].timeouts.idle_gap: must be",
            "8:5: virtual_models[0].rules[0].max_atempts: there is no such key; did you mean",
            "9:16: virtual_models[0].rules[0].sticky_by: ",
            "10:5: ",
            "11:9: virtual_models[1].name: must be",
            "12:80: virtual_models[1].rules[0].fallbacks[0].causes[0]: must be",
            "12:102: virtual_models[1].rules[0].fallbacks[1].target: is there twice",
            "13:15: retry_budget: must be a map, as in `{ratio: 2}`",
        ],
    );
}

#[test]
fn a_wrong_value_makes_no_mistakes_elsewhere() {
    // Each default in its place would contradict what stands beside it.
    check_rule("hedge: {after: 90s}\ntimeouts: {first_token: 100}", (1, 33), "timeouts.first_token: must be a time");
    check_rule("timeouts: {first_token: 700s, total: 800}", (0, 46), "timeouts.total: must be a time");
    check("virtual_models_only: true\nvirtual_models: chat\n", &["2:17: virtual_models: must be a list of maps"]);
    let two = "\n      - {name: two, targets: [{target: a}]}\n";
    check(
        &format!("{}{two}", rule("when: [request.tools > 0]").trim_end()),
        &["7:15: virtual_models[0].rules[0].when: must"],
    );
}

#[test]
fn every_number_of_the_contract_has_its_bounds() {
    use prost_reflect::Kind;
    let policy = pointsman_proto::json::descriptor(super::NAME).unwrap();
    for message in policy.parent_file().messages() {
        for field in message.fields() {
            match field.kind() {
                Kind::Uint32 | Kind::Double => {
                    assert_ne!(crate::compile::limits::must_be(field.name()), "must be a number", "{field:?}");
                }
                Kind::String | Kind::Bool | Kind::Enum(_) | Kind::Message(_) => {}
                other => panic!("{field:?}: {other:?} has no words in source/form/words.rs"),
            }
        }
    }
}
