//! Log-probabilities.

use futures::StreamExt;
use mistralrs::{
    Constraint, MessageContent, ModelDType, NormalRequest, Request, RequestMessage, Response, SamplingParams,
    TextMessageRole, TextMessages, TextModelBuilder, TokenSource,
};
use pointsman_engine::Event;
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::{GenerateRequest, Logprobs, TokenLogprob};

use crate::{answer, ask, model, run, sampled, start};

fn scored(request: GenerateRequest, top_count: u32) -> GenerateRequest {
    GenerateRequest { logprobs: Some(Logprobs { top_count }), ..request }
}

/// The text of an answer, and the scores of its tokens.
async fn read(request: GenerateRequest, most: u32) -> (String, Vec<TokenLogprob>) {
    let (mut text, mut scores) = (String::new(), Vec::new());
    let mut events = start(request, most).await;
    while let Some(event) = events.next().await {
        if let Event::Delta { delta, .. } = event.unwrap() {
            let Some(Content::Text(more)) = delta.content else { panic!("no text") };
            text.push_str(&more);
            scores.extend(delta.logprobs);
        }
    }
    (text, scores)
}

/// The greedy answer's tokens, and the logits of each, as mistral.rs itself gives them: without any processor.
async fn raw(prompt: &str, most: usize) -> (Vec<u32>, Vec<Vec<f32>>) {
    let folder = model().canonicalize().unwrap().into_os_string().into_string().unwrap();
    let builder = TextModelBuilder::new(folder)
        .with_token_source(TokenSource::None)
        .with_force_cpu()
        .with_dtype(ModelDType::F32)
        .with_prefix_cache_n(None);
    let model = builder.build().await.unwrap();
    let (mut tokens, mut logits): (Vec<u32>, Vec<Vec<f32>>) = (Vec::new(), Vec::new());
    let messages = TextMessages::new().add_message(TextMessageRole::User, prompt);
    // An `Either`, as in the request itself.
    let text = MessageContent::Left(String::new()).map_left(|_| messages).map_right(|_| String::new());
    let prompt = model.tokenize(text, None, true, true, None).await.unwrap();
    for _ in 0..most {
        // One token at a time, each from a prompt of its own: nothing is shared with what is tested but the model.
        let (sender, mut responses) = tokio::sync::mpsc::channel(4);
        let request = NormalRequest {
            messages: RequestMessage::CompletionTokens([prompt.as_slice(), &tokens].concat()),
            sampling_params: SamplingParams { max_len: Some(1), ..SamplingParams::deterministic() },
            response: sender,
            return_logprobs: false,
            is_streaming: false,
            id: 0,
            constraint: Constraint::None,
            suffix: None,
            tools: None,
            tool_choice: None,
            logits_processors: None,
            return_raw_logits: true,
            web_search_options: None,
            model_id: None,
            truncate_sequence: false,
        };
        model.inner().get_sender(None).unwrap().send(Request::Normal(Box::new(request))).await.unwrap();
        let Some(Response::Raw { logits_chunks, .. }) = responses.recv().await else { panic!("no logits") };
        let all = logits_chunks.last().unwrap();
        let all = all.flatten_to(all.rank() - 2).unwrap();
        let last = all.get(all.dims()[0] - 1).unwrap().to_vec1::<f32>().unwrap();
        let best = last.iter().enumerate().max_by(|left, right| left.1.total_cmp(right.1)).unwrap().0;
        tokens.push(u32::try_from(best).unwrap());
        logits.push(last);
    }
    (tokens, logits)
}

#[test]
fn scores_are_the_logarithms_of_the_models_own_probabilities() {
    run(async {
        const COUNT: usize = 8;
        let (tokens, logits) = raw("Count to 12.", COUNT).await;
        let (text, scores) = read(scored(ask("Count to 12."), 3), u32::try_from(COUNT).unwrap()).await;
        assert_eq!(scores.len(), COUNT, "{text}");
        for (place, score) in scores.iter().enumerate() {
            let logits: Vec<f64> = logits[place].iter().map(|logit| f64::from(*logit)).collect();
            let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
            let want = (logits[usize::try_from(tokens[place]).unwrap()].exp() / total).ln();
            assert!((score.logprob - want).abs() < 1e-4, "{place}: {} instead of {want}", score.logprob);
            let mut best: Vec<f64> = logits.iter().map(|logit| (logit.exp() / total).ln()).collect();
            best.sort_by(|left, right| right.total_cmp(left));
            assert_eq!(score.alternatives.len(), 3);
            for (alternative, want) in score.alternatives.iter().zip(best) {
                assert!((alternative.logprob - want).abs() < 1e-4 && alternative.alternatives.is_empty());
            }
            assert_eq!(score.token_bytes, score.alternatives[0].token_bytes, "greedy");
        }
        let bytes: Vec<u8> = scores.iter().flat_map(|score| score.token_bytes.to_vec()).collect();
        assert_eq!(bytes, text.as_bytes());
    });
}

#[test]
fn scores_change_no_answer_and_go_with_its_text() {
    run(async {
        for request in [ask("Hello"), ask("Tell me a story."), sampled(ask("Who are you?"), Some(4))] {
            let whole = answer(request.clone(), 60).await;
            let (text, scores) = read(scored(request, 0), 60).await;
            assert_eq!(text, whole.text);
            let bytes: Vec<u8> = scores.iter().flat_map(|score| score.token_bytes.to_vec()).collect();
            assert_eq!(String::from_utf8_lossy(&bytes), text);
            assert!(scores.iter().all(|score| score.logprob <= 0.0 && score.alternatives.is_empty()));
        }
    });
}

#[test]
fn what_a_stop_text_cuts_has_no_scores() {
    run(async {
        let request = GenerateRequest { stop: vec![", 5".to_owned()], ..scored(ask("Count to 12."), 1) };
        let (text, scores) = read(request, 100).await;
        assert!(text.ends_with('4'), "{text}");
        let bytes: Vec<u8> = scores.iter().flat_map(|score| score.token_bytes.to_vec()).collect();
        assert_eq!(bytes, text.as_bytes());
    });
}
