//! Asks one engine everything: first for answers, against the clock, then how probable the reference's answers are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use pointsman_engine::{Engine, Event, Job};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::{
    Ability, GenerateRequest, Logprobs, ResponseFormat, TokenLogprob, delta::Content,
};
use serde::{Deserialize, Serialize};

use super::Part;
use super::prompts::Prompt;

/// What a regular expression may have at most (`ResponseFormat.regex`), escapes included.
const LONGEST_FORM: usize = 16 * 1024;

/// What one engine did.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Measured {
    pub(super) fingerprint: String,
    pub(super) load: Duration,
    pub(super) answers: Vec<Answer>,
    /// How probable each of the reference's answers is; `None` where that cannot be said.
    pub(super) scores: Vec<Option<Score>>,
    /// Memory of the process after all answers, and the most that it ever had, in bytes. `None` where the system
    /// does not say.
    pub(super) resident: Option<u64>,
    pub(super) peak: Option<u64>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Answer {
    pub(super) text: String,
    /// Whether all of the answer is in `text`: thoughts and calls are not compared.
    pub(super) is_plain: bool,
    pub(super) tokens: u32,
    pub(super) first_token: Duration,
    /// From the first piece to the end.
    pub(super) rest: Duration,
}

/// The natural logarithm of a text's probability, over its tokens.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Score {
    pub(super) logprob: f64,
    pub(super) tokens: usize,
}

/// Loads an engine and asks it.
pub(super) async fn run(part: &Part, load: impl AsyncFnOnce() -> Result<Arc<dyn Engine>>) -> Result<Measured> {
    let begin = Instant::now();
    let engine = load().await?;
    let load = begin.elapsed();
    let engine = engine.as_ref();
    let mut answers = Vec::new();
    for prompt in &part.prompts {
        answers.push(answer(engine, request(engine, prompt), part.max_tokens).await?);
    }
    // Before the scores, which need room of their own.
    let (resident, peak) = memory();
    let mut scores = Vec::new();
    for (index, prompt) in part.prompts.iter().enumerate() {
        let own = answers.get(index).filter(|answer| answer.is_plain).map(|answer| answer.text.as_str());
        let text = part.references.get(index).map(String::as_str).or(own);
        scores.push(match text.filter(|text| !text.is_empty()) {
            Some(text) => score(engine, prompt, text).await?,
            None => None,
        });
    }
    let fingerprint = engine.description().engine_fingerprint.clone();
    Ok(Measured { fingerprint, load, answers, scores, resident, peak })
}

fn request(engine: &dyn Engine, prompt: &Prompt) -> GenerateRequest {
    let model = engine.description().target.clone();
    GenerateRequest { model, messages: prompt.messages(), ..GenerateRequest::default() }
}

/// Has an answer written, greedily.
async fn answer(engine: &dyn Engine, request: GenerateRequest, max_tokens: u32) -> Result<Answer> {
    let begin = Instant::now();
    let read = read(engine, request, max_tokens).await?;
    let end = begin.elapsed();
    let first_token = read.first.map_or(end, |first| first - begin);
    Ok(Answer { text: read.text, is_plain: read.is_plain, tokens: read.tokens, first_token, rest: end - first_token })
}

/// Has the engine write this very text, and adds up how probable it found each token. The log-probabilities are
/// those without the form that forces it.
async fn score(engine: &dyn Engine, prompt: &Prompt, text: &str) -> Result<Option<Score>> {
    let abilities = &engine.description().abilities;
    let has = |ability: Ability| abilities.contains(&ability.into());
    let form = escaped(text);
    if !has(Ability::Logprobs) || !has(Ability::Regex) || form.len() > LONGEST_FORM {
        return Ok(None);
    }
    let request = GenerateRequest {
        logprobs: Some(Logprobs { top_count: 0 }),
        response_format: Some(ResponseFormat { format: Some(Format::Regex(form)) }),
        ..request(engine, prompt)
    };
    // A token has a byte at least.
    let most = u32::try_from(text.len()).unwrap_or(u32::MAX).saturating_add(1);
    let read = read(engine, request, most).await?;
    let of_text = within(&read.scores, text.len());
    let logprob = of_text.iter().map(|token| token.logprob).sum();
    Ok((read.text == text && !of_text.is_empty()).then_some(Score { logprob, tokens: of_text.len() }))
}

/// Returns the tokens that make up a text of this length: an end may follow.
fn within(tokens: &[TokenLogprob], length: usize) -> &[TokenLogprob] {
    let mut bytes = 0;
    let count = tokens.iter().take_while(|token| {
        bytes += token.token_bytes.len();
        bytes <= length && !token.token_bytes.is_empty()
    });
    &tokens[..count.count()]
}

#[derive(Default)]
struct Read {
    text: String,
    is_plain: bool,
    tokens: u32,
    first: Option<Instant>,
    scores: Vec<TokenLogprob>,
}

async fn read(engine: &dyn Engine, request: GenerateRequest, max_tokens: u32) -> Result<Read> {
    let request =
        Valid::new(request).map_err(|violations| anyhow::anyhow!("the request is not valid: {violations:?}"))?;
    let prompt_tokens = engine.count_prompt_tokens(&request).await?;
    let room = engine.description().context_tokens.saturating_sub(prompt_tokens);
    let job = Job { request, prompt_tokens, max_output_tokens: max_tokens.min(room) };
    let mut events = engine.generate(job).await?;
    let mut read = Read { is_plain: true, ..Read::default() };
    while let Some(event) = events.next().await {
        match event.context("the engine failed an answer")? {
            Event::Delta { delta, tokens } => {
                read.first.get_or_insert_with(Instant::now);
                read.tokens += tokens;
                read.scores.extend(delta.logprobs);
                match delta.content {
                    Some(Content::Text(text)) => read.text.push_str(&text),
                    Some(_) => read.is_plain = false,
                    None => {}
                }
            }
            Event::Alive | Event::ChoiceFinished { .. } => {}
            Event::Finished { .. } => return Ok(read),
        }
    }
    anyhow::bail!("the engine was lost in the middle of an answer")
}

/// A regular expression that nothing but this text matches.
fn escaped(text: &str) -> String {
    let mut form = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => form.push_str("\\n"),
            '\r' => form.push_str("\\r"),
            '\t' => form.push_str("\\t"),
            _ => {
                if letter.is_ascii_punctuation() {
                    form.push('\\');
                }
                form.push(letter);
            }
        }
    }
    form
}

/// Memory of this process, now and at most, as Linux tells it.
fn memory() -> (Option<u64>, Option<u64>) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    (field(&status, "VmRSS:"), field(&status, "VmHWM:"))
}

fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pointsman_engine::Engine;
    use pointsman_engine::simulated::{Config, SimulatedEngine};
    use pointsman_proto::inference::v1::TokenLogprob;

    use super::super::{Part, prompts};
    use super::{escaped, field, run, within};

    #[tokio::test]
    async fn an_engine_that_cannot_score_is_asked_for_answers_alone() {
        let part = Part {
            model: "m".into(),
            quantization: "none".to_owned(),
            prompts: prompts::read(None).unwrap(),
            max_tokens: 4,
            references: Vec::new(),
        };
        let load = async || Ok(Arc::new(SimulatedEngine::new(Config::default())) as Arc<dyn Engine>);
        let measured = run(&part, load).await.unwrap();
        assert_eq!((measured.answers.len(), measured.scores.len()), (6, 6));
        assert_eq!((measured.answers[0].text.as_str(), measured.answers[0].tokens), ("You said: Hello, who", 4));
        assert!(measured.scores.iter().all(Option::is_none));
    }

    #[test]
    fn a_form_is_the_text_and_nothing_else() {
        assert_eq!(escaped("1. a-b?\n(ä) c"), "1\\. a\\-b\\?\\n\\(ä\\) c");
    }

    #[test]
    fn the_tokens_of_a_text_end_with_it() {
        let token =
            |text: &str| TokenLogprob { token_bytes: text.as_bytes().to_vec().into(), ..TokenLogprob::default() };
        let tokens = [token("He"), token("llo"), token("<end>")];
        assert_eq!(within(&tokens, 5).len(), 2);
        assert_eq!(within(&tokens, 4).len(), 1);
        assert_eq!(within(&[token("He"), token("")], 5).len(), 1);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t   12 kB\nVmRSS:\t    8 kB\n";
        assert_eq!((field(status, "VmRSS:"), field(status, "VmHWM:")), (Some(8192), Some(12_288)));
        assert_eq!(field("", "VmRSS:"), None);
    }
}
