"""The surface held to its own description by schemathesis: openapi_fuzz.py ADDRESS KEY chats|others.

Beside schemathesis' checks (5xx, status, content type, headers, schema of answers, keys, methods, refusal of what does
not fit) there are two of ours. What fits is answered, unless it asks for what the model cannot do, or breaks a rule
between fields that JSON Schema has no words for. And the events of a stream are what the description says of them.
"""

import collections
import contextlib
import itertools
import json
import re
import sys
import tempfile

import jsonschema_rs
import schemathesis
from schemathesis.cli import schemathesis as command
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import negative_data_rejection

MODEL = "simulated"
CHATS = "/v1/chat/completions"
SEED = 17
EXAMPLES = 40

# What may be said to a body that fits: these, about a field, and nothing else.
LIMITS_OF_THE_MODEL = [
    "is not supported by this model; leave it out or choose another",
]
RULES_BETWEEN_FIELDS = [
    "differs from `max_completion_tokens`; give that one only",
    "names no tool of `tools`",
    "another tool has this name",
    "must be `n`: answers are not ranked; ask for more with `n`",
    "with `logprobs` is not supported: the prompt has none here; leave one of them out",
    "needs the Idempotency-Key of the request",
    "needs x-pointsman-session beside it",
    "needs x-pointsman-session, which keeps a run",
    "must be 1 in a session, which keeps one answer",
    "the session awaits no result: leave it out, or send the call with it",
    "the session awaits no result of this call, or has it already; `awaited_tool_call_ids` of the session says which it awaits",
]
# `maxLength` counts characters, and the limits are in bytes.
RULES_OF_BYTES = [
    r"must have at most [\d,]+ bytes",
    r"must have \d+ to [\d,]+ bytes",
    r"keys must have 1 to 63 bytes",
    r"values must have at most 256 bytes",
    r"name a model in 1 to 256 bytes",
]
# What was never kept cannot go on; a name of a model may be nobody's; a new session has no turns that were seen.
STATES = {(409, "frame_log_lost"), (404, "model_not_found"), (404, "session_not_found")}

# What is answered often enough to be shown.
ANSWERS = [
    "POST /v1/chat/completions application/json",
    "POST /v1/chat/completions text/event-stream",
    "POST /v1/completions application/json",
    "POST /v1/completions text/event-stream",
    "POST /v1/embeddings application/json",
    "POST /v1/tokenize application/json",
    "GET /v1/models/{model} application/json",
]
# Fields that need an ability which the simulated engine does not have.
LACKED = [
    "dimensions",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "n",
    "presence_penalty",
    "reasoning_effort",
    "repetition_penalty",
    "response_format",
    "tool_choice",
    "tools",
    "top_logprobs",
]

calls = itertools.count(1)
answered: collections.Counter = collections.Counter()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keeps what is tried from ending for another reason: it asks for a model that there is, under a name of its own,
    and most of what fits for nothing that the model lacks.
    """
    number = next(calls)
    tried = case.meta.phase.data if case.meta else None
    if getattr(tried, "parameter", None) == "Authorization":
        # It is left out, and would be back in headers that were changed.
        return
    body, headers = case.body, case.headers or {}
    if re.fullmatch("[!-~]{1,128}", headers.get("idempotency-key", "")):
        headers["idempotency-key"] = f"{number}.{headers['idempotency-key']}"[:128]
        if number % 8 and re.fullmatch("[0-9]+-[0-9a-f]{8}", headers.get("last-event-id", "")):
            headers["last-event-id"] = "0"
    if re.fullmatch("(sessions/)?[A-Za-z0-9._~@+:-]{1,128}", headers.get("x-pointsman-session", "")):
        # One of its own: what was said before would be refused, too.
        headers["x-pointsman-session"] = f"{number}.{headers['x-pointsman-session'].removeprefix('sessions/')}"[:128]
        if number % 8 and re.fullmatch("[0-9]+", headers.get("x-pointsman-session-revision", "")):
            headers["x-pointsman-session-revision"] = "0"
    if not isinstance(body, dict):
        return
    if isinstance(body.get("model"), str) and 1 <= len(body["model"].encode("utf-8", "surrogatepass")) <= 256:
        body["model"] = MODEL
    fits = case.meta and case.meta.generation.mode.is_positive
    # Where one field alone does not fit, nothing else is to be refused.
    if (fits and number % 4) or field_of(case) not in [None, *LACKED]:
        for lacked in LACKED:
            body.pop(lacked, None)
    if fits and number % 4 and "completions" in case.operation.path:
        body["stream"] = number % 4 == 1
        if number % 4 != 1:
            body.pop("stream_options", None)


def field_of(case) -> str | None:
    """The field of the body that alone does not fit."""
    if case.meta is None or case.meta.generation.mode.is_positive:
        return None
    tried = case.meta.phase.data
    if getattr(tried, "parameter_location", None) != ParameterLocation.BODY:
        return None
    location = re.match("/properties/([^/]*)", tried.location or "")
    return location and location[1]


def said_only(message: str, ascii_only: bool) -> bool:
    sentences = [re.escape(sentence) for sentence in LIMITS_OF_THE_MODEL + RULES_BETWEEN_FIELDS]
    sentences += [] if ascii_only else RULES_OF_BYTES
    one = rf"[\w.\[\]-]+: ({'|'.join(sentences)})"
    return re.fullmatch(rf"{one}(; {one})*", message) is not None


@schemathesis.check
def what_fits_is_taken(ctx, response, case):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code < 300:
        kind = response.headers["content-type"][0].split(";")[0]
        answered[f"{case.operation.label} {kind}"] += 1
        return
    error = json.loads(response.content)["error"]
    if (response.status_code, error["code"]) in STATES:
        return
    sent = response.request.body or b""
    assert said_only(error["message"], bytes(sent).isascii() and rb"\u" not in sent), f"refused what fits: {error}"


@schemathesis.check
def what_does_not_fit_is_refused(ctx, response, case):
    """As schemathesis has it, but for headers that nobody has described: HTTP lets them pass."""
    described = {parameter["name"] for parameter in case.operation.definition.raw.get("parameters", [])}
    described |= {"authorization", "content-type"}
    if described.issuperset(name.lower() for name in case.headers or ()):
        negative_data_rejection(ctx, response, case)
    if response.status_code == 400 and field_of(case):
        error = json.loads(response.content)["error"]
        assert field_of(case) in error["message"], f"refused for something else than {field_of(case)}: {error}"


@schemathesis.check
def events_are_described(ctx, response, case):
    if "text/event-stream" not in response.headers.get("content-type", [""])[0]:
        return
    description = case.operation.schema.raw_schema
    answer = description["paths"][case.operation.path]["post"]["responses"]["200"]
    event = answer["content"]["text/event-stream"]["schema"]["properties"]["data"]
    piece = next(kind for kind in event["anyOf"] if "contentSchema" in kind)["contentSchema"]
    fits = jsonschema_rs.validator_for({**piece, "components": description["components"]})
    pieces = re.findall(r"^data: (.*)$", response.content.decode(), re.MULTILINE)
    for data in [data for data in pieces if data != "[DONE]"]:
        wrong = [error.message for error in fits.iter_errors(json.loads(data))]
        assert not wrong, f"an event that is not described: {wrong}: {data}"
    assert pieces[-1] == "[DONE]" and pieces.count("[DONE]") == 1, pieces
    assert json.loads(pieces[-2])["choices"] == [] or json.loads(pieces[-2])["choices"][0]["finish_reason"], pieces


def main(address: str, key: str, part: str) -> None:
    which = "include" if part == "chats" else "exclude"
    arguments = [
        "run",
        f"{address}/openapi.json",
        f"--{which}-path={CHATS}",
        f"--header=Authorization: Bearer {key}",
        f"--seed={SEED}",
        f"--max-examples={EXAMPLES}",
        "--phases=coverage,fuzzing",
        "--checks=all",
        # Ours do what these would, and know more.
        "--exclude-checks=positive_data_acceptance,negative_data_rejection",
        "--continue-on-failure",
        "--generation-database=none",
        "--output-sanitize=false",
        "--suppress-health-check=all",
        "--warnings=off",
        "--no-color",
    ]
    try:
        command(arguments)
    except SystemExit as ended:
        if ended.code:
            raise
    wanted = [answer for answer in ANSWERS if (CHATS in answer) == (part == "chats")]
    missing = [answer for answer in wanted if answered[answer] < 5]
    assert not missing, f"too few answers of {missing}: {answered}"


if __name__ == "__main__":
    # It keeps what it has seen in its folder: each run begins without.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        main(*sys.argv[1:])
