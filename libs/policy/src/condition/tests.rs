use pointsman_proto::inference::v1::{DataClass, GenerateRequest, Priority, Tool};

use super::{Condition, Mistake, compile_fact};
use crate::facts::{Fact, Facts};

fn compile(source: &str) -> Condition {
    Condition::compile(source).unwrap_or_else(|mistakes| panic!("{source}: {mistakes:?}"))
}

fn request() -> GenerateRequest {
    GenerateRequest {
        model: "pip".into(),
        tools: vec![Tool::default(), Tool::default()],
        labels: [("team".into(), "search".into()), ("empty".into(), String::new())].into(),
        data_class: DataClass::Internal.into(),
        priority: Priority::Bulk.into(),
        end_user: "Zoë".into(),
        ..GenerateRequest::default()
    }
}

fn check_holds(source: &str, expected: bool) {
    let request = request();
    assert_eq!(compile(source).holds(&Facts::new(&request, "acme", "k1")), expected, "{source}");
}

#[test]
fn conditions_hold() {
    for source in [
        "",
        " \n",
        "true",
        "// everyone\ntrue",
        "caller.tenant == \"acme\"",
        "\"acme\" == caller.tenant",
        "caller.key != 'k2'",
        "request.tools == 2 && request.tools == 2u && request.tools == 0x2",
        "request.tools > 1 && request.tools >= 2 && request.tools < 3 && request.tools <= 2",
        "1 < request.tools && 2 <= request.tools && 3 > request.tools && 2 >= request.tools",
        "request.tools <= 18446744073709551615u",
        "request.tools in [1, 2, 3u]",
        "request.model in [\"a\", \"pip\",]",
        "request.data_class == \"internal\" && request.priority in [\"bulk\"]",
        "request.session == \"\" && request.choices == 1 && request.max_output_tokens == 0",
        "\"team\" in labels && has(labels.team) && has(labels.empty)",
        "labels[\"team\"] == \"search\" && labels.team == \"search\"",
        "labels.absent == \"\" && !has(labels.absent)",
        "request.model.startsWith(\"p\") && request.model.endsWith(\"ip\") && request.model.contains(\"i\")",
        "request.model.matches(\"i\") && request.model.matches(r\"^p\\w+$\") && request.model.matches(\"^p\\\\w\")",
        "request.end_user == \"Zo\\u00eb\" && request.end_user == \"Zoë\"",
        "labels.team == \"\"\"search\"\"\"",
        "request.tools == 2 ? request.model == \"pip\" : false",
        "request.tools == 3 ? false : request.model == \"pip\"",
        "false || !(request.model == \"other\") && !false",
        "!!(request.model == \"pip\")",
    ] {
        check_holds(source, true);
    }
}

#[test]
fn conditions_do_not_hold() {
    for source in [
        "false",
        "request.model in []",
        "request.model == \"PIP\"",
        "request.tools > 2",
        "request.tools > 18446744073709551615u",
        "\"absent\" in labels",
        "has(labels.absent) && labels.absent == \"\"",
        "request.model.matches(\"^i\")",
        "request.end_user == \"Zoe\"",
        "request.tools == 2 ? false : true",
    ] {
        check_holds(source, false);
    }
}

#[test]
fn a_condition_names_what_it_reads() {
    let condition = compile("labels.b == \"x\" || \"a\" in labels || request.tools > 1 && request.tools < 9");
    let names: Vec<_> = condition.facts().map(Fact::name).collect();
    assert_eq!(names, ["request.tools", "labels[\"a\"]", "labels[\"b\"]"]);
    assert_eq!(Condition::always().facts().count(), 0);
    for (source, expected) in
        [("", true), ("true || has(labels.a)", true), ("request.tools >= 0", true), ("false", false)]
    {
        assert_eq!(compile(source).is_always(), expected, "{source}");
    }
}

/// The expected mistakes are an offset and a piece of the message each.
fn check_mistakes(source: &str, expected: &[(usize, &str)]) {
    if let Some(wrong) = wrong_mistakes(source, expected) {
        panic!("{wrong}");
    }
}

fn wrong_mistakes(source: &str, expected: &[(usize, &str)]) -> Option<String> {
    let mistakes = Condition::compile(source).err().unwrap_or_default();
    let fits = |(mistake, (offset, piece)): (&Mistake, &(usize, &str))| {
        mistake.offset == *offset && mistake.message.contains(piece)
    };
    let all = mistakes.len() == expected.len() && mistakes.iter().zip(expected).all(fits);
    (!all).then(|| format!("{source}\n{expected:?}\n{mistakes:#?}"))
}

#[test]
fn mistakes_say_where_and_what_instead() {
    let table = [
        ("request.modle == \"a\"", 0, "`request.modle`: there is no such fact; did you mean `request.model`?"),
        ("!(tenant == \"a\")", 2, "did you mean `caller.tenant`?"),
        ("user.name == \"a\"", 0, "there are `caller.tenant`, `caller.key`,"),
        ("request.tools == \"2\"", 17, "`request.tools` is a number; compare it with a number"),
        ("request.tools.contains(\"2\")", 0, "`request.tools` is a number; compare it with a number"),
        ("request.model == 2", 17, "`request.model` is a text; compare it with a text"),
        ("request.model < \"b\"", 14, "`<` is for numbers"),
        ("true && request.data_class == \"secrt\"", 30, "never `secrt`; it is one of `unspecified`, `public`, "),
        ("request.tools > -1", 16, "no fact is negative"),
        ("request.tools > 1.5", 16, "every number is whole"),
        ("request.model == null", 17, "there is no null"),
        ("(request.tools > 1) == \"a\"", 1, "this is a condition already"),
        ("has(labels.a) == \"a\"", 4, "this is a condition already"),
        ("request.model == caller.key", 17, "two facts cannot be compared"),
        ("1 == 2", 0, "this compares two values"),
        ("request.tools + 1 > 2", 14, "there is no arithmetic"),
        ("request.model", 0, "`request.model` is no condition; compare it, as in `request.model == \"…\"`"),
        ("request.tools || true", 0, "as in `request.tools > 0`"),
        ("\"a\"", 0, "a value is no condition"),
        ("size(labels) > 1", 0, "there is no function `size`"),
        ("true || request.model.lower() == \"a\"", 22, "there is no function `lower`"),
        ("request.model.startsWith(caller.key)", 25, "`startsWith` wants a text"),
        ("request.model.startsWith()", 14, "`startsWith` is a function of a fact with one text"),
        ("\"ab\".startsWith(\"a\")", 0, "`startsWith` is a function of a fact"),
        ("request.model.matches(\"(\")", 22, "this is no regular expression: unclosed group"),
        ("request.model.matches(\"(a{999}){999}\")", 22, "size limit"),
        ("labels == \"a\"", 0, "`labels` is all labels; name one"),
        ("labels[request.model] == \"a\"", 0, "the name of a label is written out"),
        ("labels[\"\"] == \"a\"", 0, "the name of a label has 1 to 63 bytes"),
        ("request[\"model\"] == \"a\"", 0, "`[…]` is for labels only"),
        ("[\"a\"][0] == \"a\"", 5, "`[…]` is for labels"),
        ("labels.a.b == \"a\"", 0, "`labels.a.b`: there is no such fact"),
        ("request.model in \"ab\"", 17, "right of `in` stands a list"),
        ("\"a\" in [\"a\"]", 0, "left of a list stands a fact"),
        ("request.model in labels", 0, "the name of a label is written out"),
        ("has(request.session)", 4, "`has` is for labels"),
        ("has(labels)", 4, "`has` wants one label"),
        ("labels.exists(l, l == \"a\") == \"a\"", 0, "there are no lists to go through"),
        ("request.model = \"a\"", 14, "write `==`"),
        ("true & false", 5, "write `&&`"),
        ("true and false", 5, "write `&&`"),
        ("(true", 5, "ends too early"),
        ("true\n  && ) ", 10, "`)` cannot stand here"),
        ("request.end_user == \"ë\" = 1", 25, "write `==`"),
        ("request.model == \"a", 17, "has no \" at its end"),
        ("request.model.matches(\"\\d\")", 23, "this is no escape"),
        ("labels.`a-b` == \"a\"", 7, "no names in backticks"),
        ("request.model == x\"a\"", 18, "a text cannot stand here"),
        (
            "request.tools == 99999999999999999999",
            17,
            "`99999999999999999999` is too large a number: the largest is 1844",
        ),
        ("request.tools == 99999999999999999999u", 17, "`99999999999999999999u` is too large a number"),
        ("request.tools == 9223372036854775808", 17, "from 9223372036854775808 on a `u` stands behind it"),
    ];
    let wrong: Vec<_> =
        table.into_iter().filter_map(|(source, offset, piece)| wrong_mistakes(source, &[(offset, piece)])).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    check_mistakes(
        "request.model == 1 && request.tols > 2 || !request.data_class.matches(\"[\") || request.priority in [\"hi\", 1]",
        &[
            (17, "is a text"),
            (22, "did you mean `request.tools`"),
            (70, "unclosed"),
            (99, "never `hi`"),
            (105, "is a text"),
        ],
    );
}

#[test]
fn what_is_too_large_is_refused_before_it_is_parsed() {
    let nested = |levels: usize| format!("{}true{}", "(".repeat(levels), ")".repeat(levels));
    compile(&nested(64));
    check_mistakes(&nested(65), &[(64, "nested deeper than 64 levels")]);
    check_mistakes(&nested(2000), &[(64, "nested deeper")]);
    check_mistakes(&format!("request{} == \"\"", ".a".repeat(100)), &[(135, "nested deeper")]);
    check_mistakes(&format!("true{}", " ? true : true".repeat(100)), &[(901, "nested deeper")]);
    let listed = |count: usize| format!("request.model in [{}]", "\"a\", ".repeat(count));
    compile(&listed(700));
    check_mistakes(&listed(1000), &[(4096, "has 5019 bytes; it may have 4096")]);
    compile(&vec!["has(labels.a)"; 200].join(" || "));
}

#[test]
fn a_fact_to_stick_by_is_a_text() {
    for (source, expected) in [
        ("request.session", Ok(Fact::Session)),
        (" labels[\"team\"] ", Ok(Fact::Label("team".into()))),
        ("labels.team", Ok(Fact::Label("team".into()))),
        ("request.sesion", Err((0, "did you mean `request.session`?"))),
        ("request.tools", Err((0, "is a number"))),
        ("request.session == \"a\"", Err((0, "name one fact"))),
        ("\"a\"", Err((0, "name one fact"))),
        ("request.", Err((8, "ends too early"))),
    ] {
        match (compile_fact(source), expected) {
            (Ok(fact), Ok(expected)) => assert_eq!(fact, expected, "{source}"),
            (Err(mistake), Err((offset, piece))) => {
                assert!(mistake.offset == offset && mistake.message.contains(piece), "{source}: {mistake:?}");
            }
            (found, _) => panic!("{source}: {found:?}"),
        }
    }
}

fn check_can_hold(source: &str, before: &[&str], expected: bool) {
    let before: Vec<_> = before.iter().map(|source| compile(source)).collect();
    let before: Vec<_> = before.iter().collect();
    assert_eq!(compile(source).can_hold(None, &before), expected, "{source}");
}

#[test]
fn what_contradicts_itself_cannot_hold() {
    for source in [
        "false",
        "request.model == \"a\" && request.model == \"b\"",
        "request.model in [\"a\", \"b\"] && request.model != \"a\" && !(request.model in [\"b\", \"c\"])",
        "request.model == \"a\" && !request.model.startsWith(\"a\")",
        "request.model in [\"ab\", \"ac\"] && request.model.matches(\"^b\")",
        "request.model.startsWith(\"a\") && request.model.startsWith(\"b\")",
        "request.model.endsWith(\"ab\") && request.model.endsWith(\"bb\")",
        "request.model.startsWith(\"abc\") && !request.model.startsWith(\"ab\")",
        "request.model.endsWith(\"abc\") && !request.model.endsWith(\"bc\")",
        "request.model.contains(\"abc\") && !request.model.contains(\"b\")",
        "request.model.endsWith(\"abc\") && !request.model.contains(\"b\")",
        "request.model.matches(\"a|b\") && !request.model.matches(\"a|b\")",
        "request.data_class.startsWith(\"x\")",
        "request.priority != \"bulk\" && !(request.priority in [\"default\", \"interactive\", \"system\"])",
        "request.tools > 3 && request.tools < 3",
        "request.tools > 3 && request.tools < 4",
        "request.tools == 3 && request.tools != 3",
        "request.tools < 3 && !(request.tools in [0, 1, 2])",
        "request.tools < 0",
        "request.choices == 0",
        "request.choices < 1 || request.choices > 128",
        "request.messages > 4096",
        "request.max_output_tokens in [4294967296]",
        "request.tools > 18446744073709551614u && request.tools != 18446744073709551615u",
        "!(\"a\" in labels) && labels.a == \"x\"",
        "!has(labels.a) && labels.a.contains(\"x\")",
        "has(labels.a) && !(\"a\" in labels)",
        "request.tools == 1 ? request.tools == 2 : request.tools == 1",
        "(request.tools == 1 || request.tools == 2) && request.tools > 2",
    ] {
        check_can_hold(source, &[], false);
    }
}

#[test]
fn what_does_not_contradict_itself_can_hold() {
    for source in [
        "",
        "request.model != \"a\" && request.model != \"b\"",
        "request.model.startsWith(\"a\") && request.model.startsWith(\"ab\") && !request.model.startsWith(\"abc\")",
        "request.model.endsWith(\"c\") && request.model.endsWith(\"bc\") && !request.model.endsWith(\"abc\")",
        "request.model.contains(\"b\") && !request.model.contains(\"abc\")",
        "request.model.startsWith(\"a\") && caller.tenant.startsWith(\"b\")",
        "labels.a == \"x\" && labels.b == \"y\" && !has(labels.c) && labels.c == \"\"",
        "has(labels.a) && labels.a == \"\"",
        "request.tools > 3 && request.tools < 5 && request.images == 3",
        "request.tools < 3 && !(request.tools in [0, 2])",
        "request.data_class.startsWith(\"c\")",
        "request.choices in [0, 1]",
        // A request to embed.
        "request.messages == 0",
        "request.messages > 4095",
    ] {
        check_can_hold(source, &[], true);
    }
}

#[test]
fn a_request_names_the_model_that_it_asks_for() {
    for (source, expected) in [
        ("request.model == \"other\"", false),
        ("request.model != \"chat\"", false),
        ("request.model.startsWith(\"b\") || request.model.matches(\"^d\")", false),
        ("request.model == \"chat\"", true),
        ("request.model != \"other\" && request.model.endsWith(\"at\")", true),
        ("request.model == \"other\" || request.tools > 0", true),
    ] {
        assert_eq!(compile(source).can_hold(Some("chat"), &[]), expected, "{source}");
    }
    assert!(!compile("").can_hold(Some("chat"), &[&compile("request.model == \"chat\"")]));
}

#[test]
fn a_rule_may_be_shadowed_by_those_before_it() {
    for (source, before, expected) in [
        ("request.tools > 3", vec![""], false),
        ("request.tools > 3", vec!["request.tools > 2"], false),
        ("request.tools > 2", vec!["request.tools > 3"], true),
        ("", vec!["has(labels.a)", "!has(labels.a)"], false),
        ("", vec!["labels.a == \"x\"", "labels.a != \"x\""], false),
        ("", vec!["request.priority in [\"bulk\", \"system\"]", "request.priority.contains(\"a\")"], false),
        ("", vec!["request.priority in [\"bulk\", \"system\"]", "request.priority == \"default\""], true),
        ("labels.a == \"x\" && request.tools == 1", vec!["labels.a in [\"x\", \"y\"]"], false),
        ("labels.a == \"x\"", vec!["labels.a == \"x\" && request.tools == 0", "request.tools > 0"], false),
        ("labels.a == \"x\"", vec!["labels.a == \"x\" && request.tools == 0", "request.tools > 1"], true),
    ] {
        check_can_hold(source, &before, expected);
    }
    // As many rules as a virtual model may have.
    let tenants: Vec<_> = (0..63).map(|n| format!("caller.tenant == \"t{n}\" && request.tools > {n}")).collect();
    let tenants: Vec<_> = tenants.iter().map(String::as_str).collect();
    check_can_hold("", &tenants, true);
    check_can_hold("caller.tenant == \"t9\" && request.tools in [10, 20]", &tenants, false);
}

#[test]
fn a_proof_that_takes_too_long_is_given_up() {
    // Nine pigeons in eight holes: no proof by cases is short (Haken 1985).
    let holes = 8;
    let seat = |pigeon: usize, hole: usize| format!("has(labels.p{pigeon}h{hole})");
    let every: Vec<_> = (0..=holes)
        .map(|pigeon| format!("({})", (0..holes).map(|hole| seat(pigeon, hole)).collect::<Vec<_>>().join("||")))
        .collect();
    let shared = |pigeon: usize| {
        let others = (0..pigeon).flat_map(move |other| (0..holes).map(move |hole| (other, hole)));
        others
            .map(|(other, hole)| format!("{}&&{}", seat(pigeon, hole), seat(other, hole)))
            .collect::<Vec<_>>()
            .join("||")
    };
    let before: Vec<_> = (1..=holes).map(shared).collect();
    let before: Vec<_> = before.iter().map(String::as_str).collect();
    check_can_hold(&every.join("&&"), &before, true);
}
