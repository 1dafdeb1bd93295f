//! The places of a body, and what is tried there.

use serde_json::{Map, Value, json};

use super::validity::Schemas;

/// A place in a body.
pub(super) struct Place<'a> {
    /// In the words of errors; empty: the body itself.
    pub(super) path: String,
    pub(super) schema: &'a Value,
    /// Makes a body that has a value there, and fits otherwise.
    pub(super) put: Box<dyn Fn(Value) -> Value + 'a>,
    /// What is there in the body that everything is put into.
    whole: Value,
}

impl<'a> Place<'a> {
    pub(super) fn of(schema: &'a Value, whole: Value) -> Self {
        Self { path: String::new(), schema, put: Box::new(|body| body), whole }
    }
}

/// Visits a place and those in it.
pub(super) fn each<'a>(schemas: Schemas<'a>, place: Place<'a>, visit: &mut dyn FnMut(&Place<'a>)) {
    if !place.path.is_empty() {
        visit(&place);
    }
    inside(schemas, place, visit);
}

fn inside<'a>(schemas: Schemas<'a>, place: Place<'a>, visit: &mut dyn FnMut(&Place<'a>)) {
    let schema = schemas.of(place.schema);
    let put: std::rc::Rc<dyn Fn(Value) -> Value + 'a> = place.put.into();
    let at = |path: String, schema: &'a Value, put: Box<dyn Fn(Value) -> Value + 'a>| Place {
        path,
        schema,
        put,
        whole: sample(schemas, schema),
    };
    for kind in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten().filter(|kind| is_described(kind)) {
        let (put, whole) = (std::rc::Rc::clone(&put), place.whole.clone());
        // The alternative that the body is of; or any, inside of it.
        let is_body = place.path.is_empty();
        if is_body && !schemas.fits(kind, &whole) {
            continue;
        }
        let whole = if is_body { whole } else { sample(schemas, kind) };
        inside(schemas, Place { path: place.path.clone(), schema: kind, put: Box::new(move |v| put(v)), whole }, visit);
    }
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let (put, name, whole) = (std::rc::Rc::clone(&put), name.clone(), place.whole.clone());
        let path = format!("{}{}{name}", place.path, if place.path.is_empty() { "" } else { "." });
        let with = move |value| {
            let mut object = whole.clone();
            object[&name] = value;
            put(object)
        };
        each(schemas, at(path, field, Box::new(with)), visit);
    }
    if let Some(items) = schema.get("items") {
        let put = std::rc::Rc::clone(&put);
        each(schemas, at(format!("{}[0]", place.path), items, Box::new(move |value| put(json!([value])))), visit);
    }
    if let (Some(names), Some(entry)) = (schema.get("propertyNames"), schema.get("additionalProperties")) {
        let name = sample(schemas, names).as_str().unwrap_or("a").to_owned();
        let path = format!("{}.{name}", place.path);
        each(schemas, at(path, entry, Box::new(move |value| put(json!({&name: value})))), visit);
    }
}

/// Whether an alternative is a schema of its own, and no condition on its neighbours.
fn is_described(kind: &Value) -> bool {
    kind.get("$ref").is_some() || kind.get("type").is_some_and(|kind| kind != "null")
}

/// A small value that fits.
pub(super) fn sample<'a>(schemas: Schemas<'a>, schema: &'a Value) -> Value {
    let schema = schemas.of(schema);
    let first = |keyword: &str| schema.get(keyword).and_then(|values| values.get(0)).cloned();
    if let Some(value) = first("examples").or_else(|| schema.get("const").cloned()).or_else(|| first("enum")) {
        return value;
    }
    let number = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
    let kind = schema.get("type").map(|kind| kind.get(0).unwrap_or(kind));
    match kind.and_then(Value::as_str) {
        Some("boolean") => true.into(),
        Some("integer" | "number") => 1.into(),
        Some("string") => "a".repeat(number("minLength").unwrap_or(1).max(1) as usize).into(),
        Some("array") => {
            vec![sample(schemas, &schema["items"]); number("minItems").unwrap_or(1).max(1) as usize].into()
        }
        Some("object") => {
            let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let named =
                |name: &Value| (name.as_str().unwrap().to_owned(), &schema["properties"][name.as_str().unwrap()]);
            Value::Object(names.map(named).map(|(name, schema)| (name, sample(schemas, schema))).collect())
        }
        _ => schema.get("anyOf").map_or(Value::Null, |kinds| sample(schemas, &kinds[0])),
    }
}

/// What is tried: a value of each kind, and those around each limit of the schema, at the border and beyond it.
pub(super) fn candidates<'a>(schemas: Schemas<'a>, schema: &'a Value) -> Vec<Value> {
    let mut values = vec![
        Value::Null,
        true.into(),
        false.into(),
        json!(0.5),
        "".into(),
        " ".into(),
        json!([]),
        json!([null]),
        json!({}),
    ];
    around(schemas, schema, &mut values);
    values
}

fn around<'a>(schemas: Schemas<'a>, schema: &'a Value, values: &mut Vec<Value>) {
    let schema = schemas.of(schema);
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "anyOf" => rule
                .as_array()
                .unwrap()
                .iter()
                .filter(|kind| is_described(kind))
                .for_each(|kind| around(schemas, kind, values)),
            "enum" | "examples" => values.extend(rule.as_array().unwrap().iter().cloned()),
            "const" => values.push(rule.clone()),
            "minimum" | "maximum" | "exclusiveMinimum" => values.extend(numbers(rule)),
            "minLength" | "maxLength" => values.extend(sizes(rule).map(|size| "a".repeat(size).into())),
            "minItems" | "maxItems" => {
                values.extend(sizes(rule).map(|size| items(&sample(schemas, &schema["items"]), size)))
            }
            "maxProperties" => {
                let entry = sample(schemas, &schema["additionalProperties"]);
                values.extend(sizes(rule).map(|size| entries(&entry, size)));
            }
            "propertyNames" => {
                let entry = sample(schemas, &schema["additionalProperties"]);
                let mut names =
                    vec!["".into(), " ".into(), "00".into(), "01".into(), "+1".into(), "1".into(), "1000000000".into()];
                around(schemas, rule, &mut names);
                values.extend(names.iter().map(|name| json!({name.as_str().unwrap(): entry})));
            }
            "required" => values.extend(objects(schemas, schema, rule)),
            _ => {}
        }
    }
}

/// The border, what is beside it, and what is far beyond: whole numbers where the border's neighbours are.
fn numbers(border: &Value) -> Vec<Value> {
    let near =
        border.as_i64().into_iter().flat_map(|border| [border.checked_sub(1), Some(border), border.checked_add(1)]);
    let near = near.flatten().filter(|number| *number != -1 || border != 0).map(Value::from);
    let number = border.as_f64().unwrap();
    let beside = if number.abs() < 1e6 { vec![json!(number + 0.25), json!(number - 0.25)] } else { vec![] };
    near.chain(beside).chain([json!(1e30), json!(-1e30)]).collect()
}

/// The border and its neighbours. Long ones take their time: those only at the border and beyond it.
fn sizes(border: &Value) -> impl Iterator<Item = usize> {
    let border = border.as_u64().unwrap() as usize;
    border.saturating_sub((border < 1 << 16).into())..=border + 1
}

/// A list of these. Tools have names of their own.
fn items(item: &Value, count: usize) -> Value {
    let numbered = |number: usize| {
        let mut item = item.clone();
        if item["type"] == "function" && item.get("id").is_none() {
            item["function"]["name"] =
                format!("weather{}", if number == 0 { String::new() } else { number.to_string() }).into();
        }
        item
    };
    (0..count).map(numbered).collect()
}

fn entries(entry: &Value, count: usize) -> Value {
    Value::Object((0..count).map(|number| (number.to_string(), entry.clone())).collect::<Map<_, _>>())
}

/// An object that fits, with something that it does not know, and without each field that it must have.
fn objects<'a>(schemas: Schemas<'a>, schema: &'a Value, required: &Value) -> Vec<Value> {
    let whole = sample(schemas, schema);
    let mut unknown = whole.clone();
    unknown["temprature"] = 1.into();
    let mut null = whole.clone();
    null["temprature"] = Value::Null;
    let without = required.as_array().unwrap().iter().map(|name| {
        let mut object = whole.clone();
        object.as_object_mut().unwrap().remove(name.as_str().unwrap());
        object
    });
    without.chain([whole.clone(), unknown, null]).collect()
}
