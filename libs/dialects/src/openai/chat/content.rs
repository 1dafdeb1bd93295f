//! What a message says.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use pointsman_proto::inference::v1::{Image, Role, ToolResult, image::Source, part::Kind};

use super::body::{Content, ImageUrl, PartBody};
use super::uncarried;
use crate::json::Given;
use crate::openai::parameter;
use crate::problems::Problems;

/// Appends what a message says. An empty text is no part: SDKs send one beside tool calls.
pub(super) fn convert(
    given: Given<Content<'_>>,
    role: Role,
    index: usize,
    kinds: &mut Vec<Kind>,
    problems: &mut Problems,
) {
    match given.take(format_args!("messages[{index}].content"), problems) {
        None => {}
        Some(Content::Text(text)) => kinds.extend((!text.is_empty()).then_some(Kind::Text(text))),
        Some(Content::Parts(parts)) => {
            for (number, body) in parts.into_iter().enumerate() {
                kinds.extend(part(body, role, &format!("messages[{index}].content[{number}]"), problems));
            }
        }
    }
}

/// Returns what a tool returned. An empty result is one; several texts are joined by line ends.
pub(super) fn tool_result(
    given: Given<Content<'_>>,
    call_id: Option<String>,
    index: usize,
    problems: &mut Problems,
) -> Option<Kind> {
    let text = match given.take(format_args!("messages[{index}].content"), problems)? {
        Content::Text(text) => text,
        Content::Parts(parts) => {
            let mut texts = Vec::with_capacity(parts.len());
            for (number, body) in parts.into_iter().enumerate() {
                let part = part(body, Role::Tool, &format!("messages[{index}].content[{number}]"), problems);
                if let Some(Kind::Text(text)) = part {
                    texts.push(text);
                }
            }
            texts.join("\n")
        }
    };
    Some(Kind::ToolResult(ToolResult { tool_call_id: call_id.unwrap_or_default(), text, failed: false }))
}

fn part(given: Given<PartBody<'_>>, role: Role, at: &str, problems: &mut Problems) -> Option<Kind> {
    let p = problems;
    let body = given.element(at, p)?;
    if let Some("input_audio" | "file" | "video_url") = body.kind.text() {
        p.unsupported(format_args!("{at}.type"), "is not supported here; send text or image_url");
        return None;
    }
    body.others.check(format_args!("{at}."), uncarried::PART, parameter, p);
    let text = body.text.take(format_args!("{at}.text"), p);
    let refusal = body.refusal.take(format_args!("{at}.refusal"), p);
    let image = body.image_url.take(format_args!("{at}.image_url"), p);
    let kind = body.kind.take(format_args!("{at}.type"), p);
    let given = [("text", text.is_some()), ("refusal", refusal.is_some()), ("image_url", image.is_some())];
    let is_known = given.iter().any(|(known, _)| kind.as_deref() == Some(*known));
    for (field, _) in given.into_iter().filter(|(field, given)| is_known && *given && kind.as_deref() != Some(*field)) {
        p.invalid(format_args!("{at}.{field}"), format!("belongs in parts of the type {field}"));
    }
    let (field, words) = match kind.as_deref() {
        Some("text") => ("text", text),
        Some("refusal") if matches!(role, Role::Assistant | Role::Unspecified) => ("refusal", refusal),
        Some("image_url") if matches!(role, Role::User | Role::Unspecified) => {
            let Some(body) = image else {
                p.invalid_if_new(format_args!("{at}.image_url"), "is required");
                return None;
            };
            return picture(*body, at, p).map(Kind::Image);
        }
        Some("image_url") => {
            p.unsupported(format_args!("{at}.type"), "images are taken in user messages only");
            return None;
        }
        Some(_) | None => {
            p.invalid_if_new(format_args!("{at}.type"), "must be text, image_url or, in answers, refusal");
            return None;
        }
    };
    if words.is_none() {
        p.invalid_if_new(format_args!("{at}.{field}"), "is required");
    }
    words.filter(|words| !words.is_empty()).map(Kind::Text)
}

fn picture(body: ImageUrl<'_>, at: &str, problems: &mut Problems) -> Option<Image> {
    let p = problems;
    body.others.check(format_args!("{at}.image_url."), uncarried::NONE, parameter, p);
    let detail = body.detail.take(format_args!("{at}.image_url.detail"), p).unwrap_or_default();
    match detail.as_str() {
        "" | "auto" | "low" | "high" => {}
        "original" => p.unsupported(format_args!("{at}.image_url.detail"), "goes up to `high` here"),
        _ => p.invalid(format_args!("{at}.image_url.detail"), "must be auto, low or high"),
    }
    let url = body.url.take(format_args!("{at}.image_url.url"), p).unwrap_or_default();
    match source(&url) {
        Ok((source, media_type)) => Some(Image { source: Some(source), media_type, detail }),
        Err(rule) => {
            p.invalid_if_new(format_args!("{at}.image_url.url"), rule);
            None
        }
    }
}

/// Standard base64 (RFC 4648 §4); padding may be left out, as browsers allow.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns where a picture's bytes are, and their media type if the URI says it. Data URIs: RFC 2397.
fn source(url: &str) -> Result<(Source, String), &'static str> {
    let scheme = |name: &str| url.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    if scheme("https://") || scheme("http://") {
        return Ok((Source::Uri(url.to_owned()), String::new()));
    }
    if !scheme("data:") {
        return Err("must be an http, https or data URI");
    }
    let (head, data) = url["data:".len()..].split_once(',').ok_or("has no `,` between media type and data")?;
    let media_type = head.strip_suffix(";base64").ok_or("must hold its data as base64: data:image/png;base64,…")?;
    let media_type = media_type.split(';').next().unwrap_or_default();
    if !media_type.starts_with("image/") {
        return Err("must have the media type of an image, such as image/png");
    }
    let bytes = BASE64.decode(data).map_err(|_| "holds data that is not base64")?;
    Ok((Source::Data(bytes.into()), media_type.to_owned()))
}
