//! The rules of the requests that generate nothing.

use tonic_types::FieldViolation;

use super::{Asker, check_asker, check_model, check_request_id};
use crate::inference::v1::{CountTokensRequest, EmbedRequest, GenerateRequest};
use crate::{Valid, Validate, Violations};

/// How long one text may be, in bytes.
const LONGEST_INPUT: usize = 1 << 20;

impl Validate for EmbedRequest {
    fn validate(&self, v: &mut Violations) {
        check_model(&self.model, v);
        v.require((1..=2048).contains(&self.inputs.len()), "inputs", "give 1 to 2,048 texts");
        for (index, input) in self.inputs.iter().enumerate() {
            let fits = (1..=LONGEST_INPUT).contains(&input.len());
            v.require(fits, format_args!("inputs[{index}]"), "must have 1 byte to 1 MiB");
        }
        if self.dimensions == Some(0) {
            v.add("dimensions", "must be at least 1");
        }
        let (labels, end_user, request_id) = (&self.labels, &self.end_user, &self.request_id);
        check_asker(Asker { labels, data_class: self.data_class, priority: self.priority, end_user, request_id }, v);
    }
}

impl Valid<EmbedRequest> {
    /// Gives the request another id. Checks that alone.
    pub fn named(self, request_id: String) -> Result<Self, Vec<FieldViolation>> {
        let mut violations = Violations::default();
        check_request_id(&request_id, &mut violations);
        violations.done(self.change(|request| request.request_id = request_id))
    }
}

impl Validate for CountTokensRequest {
    fn validate(&self, v: &mut Violations) {
        match &self.request {
            Some(request) => {
                request.validate(v);
                let alone = request.session.is_none();
                v.require(alone, "session", "must be left out: what is counted is a request, and no turn of a session");
            }
            None => v.add("request", "is required"),
        }
    }
}

impl Valid<CountTokensRequest> {
    /// Returns the request whose prompt is counted. It keeps its own rules: they were checked.
    pub fn into_request(self) -> Valid<GenerateRequest> {
        Valid::checked(self.into_inner().request.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use crate::Valid;
    use crate::inference::v1::{CountTokensRequest, EmbedRequest, GenerateRequest};

    fn fields<T: crate::Validate>(message: T) -> Vec<String> {
        let violations = Valid::new(message).err().unwrap_or_default();
        violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn every_violation_of_an_embedding_is_named() {
        let good = EmbedRequest { model: "e5".to_owned(), inputs: vec!["a".to_owned()], ..EmbedRequest::default() };
        assert_eq!(fields(good.clone()), Vec::<String>::new());
        assert_eq!(fields(EmbedRequest { dimensions: Some(1), ..good.clone() }), Vec::<String>::new());
        let bad = EmbedRequest {
            inputs: vec!["a".to_owned(), String::new(), "b".repeat((1 << 20) + 1)],
            dimensions: Some(0),
            priority: 9,
            data_class: 9,
            end_user: "u".repeat(257),
            request_id: "a b".to_owned(),
            labels: [(String::new(), String::new())].into(),
            ..EmbedRequest::default()
        };
        let want = [
            "model",
            "inputs[1]",
            "inputs[2]",
            "dimensions",
            "data_class",
            "priority",
            "labels",
            "end_user",
            "request_id",
        ];
        assert_eq!(fields(bad), want);
        assert_eq!(fields(EmbedRequest { inputs: Vec::new(), ..good.clone() }), ["inputs"]);
        assert_eq!(fields(EmbedRequest { inputs: vec!["a".to_owned(); 2049], ..good }), ["inputs"]);
    }

    #[test]
    fn what_is_counted_keeps_the_rules_of_a_request() {
        assert_eq!(fields(CountTokensRequest { request: None }), ["request"]);
        let bad = GenerateRequest { model: "pip".to_owned(), ..GenerateRequest::default() };
        assert_eq!(fields(CountTokensRequest { request: Some(bad) }), ["messages"]);
    }
}
