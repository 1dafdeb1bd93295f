"""Texts with OpenAI's own library: completions, embeddings, counts. openai_texts.py PART ADDRESS.

Each part fails with a traceback where the mesh does something else than OpenAI would.
"""

import base64
import math
import struct
import sys

import httpx
import openai

GREETING = "Hello! I am Pip. How can I help you?"


def refused(call: object, kind: type[openai.APIStatusError], param: str, **request: object) -> openai.APIStatusError:
    try:
        call(**request)
    except kind as error:
        assert error.param == param, (param, error)
        return error
    raise AssertionError(f"no {kind} for {request}")


def completions(client: openai.OpenAI) -> None:
    """With the demo model."""
    whole = client.completions.create(model="pip", prompt="Hello", max_tokens=64)
    assert (whole.object, whole.choices[0].text, whole.choices[0].finish_reason) == (
        "text_completion",
        GREETING,
        "stop",
    ), whole
    assert whole.id.startswith("cmpl-") and whole.model == "pip" and whole.usage.total_tokens == 22, whole
    assert client.completions.create(model="pip", prompt=["Tell me a story."]).choices[0].finish_reason == "length"

    request = {"model": "pip", "prompt": "Hello", "max_tokens": 64, "stream_options": {"include_usage": True}}
    for echo in (False, True):
        chunks = list(client.completions.create(**request, stream=True, echo=echo))
        text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
        assert text == ("Hello" if echo else "") + GREETING, text
        assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-1].usage == whole.usage, chunks[-2:]
        assert len({chunk.id for chunk in chunks}) == 1
    echoed = client.completions.create(model="pip", prompt="Hello", max_tokens=64, echo=True, n=2)
    assert [choice.text for choice in echoed.choices] == ["Hello" + GREETING] * 2, echoed

    scored = client.completions.create(model="pip", prompt="Hello", max_tokens=4, logprobs=2).choices[0]
    assert "".join(scored.logprobs.tokens) == scored.text, scored
    assert len(scored.logprobs.token_logprobs) == len(scored.logprobs.top_logprobs) == 4, scored
    assert all(token in top for token, top in zip(scored.logprobs.tokens, scored.logprobs.top_logprobs)), scored
    assert scored.logprobs.text_offset[0] == 0 and scored.text[scored.logprobs.text_offset[2] :].startswith(
        scored.logprobs.tokens[2]
    ), scored

    def complete(**fields: object) -> object:
        return client.completions.create(**{"model": "pip", "prompt": "Hello", **fields})

    bad = openai.BadRequestError
    for param, fields in {
        "suffix": {"suffix": "!"},
        "best_of": {"best_of": 2},
        "prompt": {"prompt": ["a", "b"]},
        "max_tokens": {"max_tokens": 0},
        "echo": {"echo": True, "logprobs": 1},
        "logprobs": {"logprobs": 99},
    }.items():
        refused(complete, bad, param, **fields)
    long = refused(complete, bad, "prompt", prompt="word " * 2000, stream=True)
    assert long.code == "context_length_exceeded", long
    refused(complete, openai.NotFoundError, "model", model="nobody")
    refused(client.embeddings.create, bad, "model", model="pip", input="Hello")


def embeddings(client: openai.OpenAI) -> None:
    """With a simulated engine that makes 64 numbers."""
    texts = ["a cat", "a dog", "a cat"]
    # As the library asks by itself: base64, which it decodes.
    usual = client.embeddings.create(model="simulated", input=texts)
    assert [entry.index for entry in usual.data] == [0, 1, 2] and usual.model == "simulated", usual
    assert (usual.usage.prompt_tokens, usual.usage.total_tokens) == (6, 6), usual
    vectors = [entry.embedding for entry in usual.data]
    assert vectors[0] == vectors[2] != vectors[1] and {len(vector) for vector in vectors} == {64}, vectors
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-5) for vector in vectors)

    floats = client.embeddings.create(model="simulated", input=texts, encoding_format="float")
    for vector, same in zip(vectors, floats.data):
        assert [struct.pack("<f", number) for number in vector] == [struct.pack("<f", number) for number in same.embedding]
    raw = client.embeddings.with_raw_response.create(model="simulated", input="a cat", encoding_format="base64")
    packed = base64.b64decode(raw.http_response.json()["data"][0]["embedding"])
    assert list(struct.unpack("<64f", packed)) == list(vectors[0])
    assert len(raw.headers["x-pointsman-decision-id"]) == 16, raw.headers
    assert raw.headers["x-pointsman-attempts"].startswith("models/simulated/versions/1@"), raw.headers

    def embed(**fields: object) -> object:
        return client.embeddings.create(**{"model": "simulated", "input": "Hello", **fields})

    bad = openai.BadRequestError
    assert refused(embed, bad, "dimensions", dimensions=8).code == "unsupported_field"
    assert refused(embed, bad, "input", input=[1, 2, 3]).code == "unsupported_field"
    for header in ("x-pointsman-session", "x-pointsman-session-revision"):
        assert refused(embed, bad, header, extra_headers={header: "1"}).code == "unsupported_field"
    assert refused(embed, bad, "input[1]", input=["a", ""]).code == "invalid_request"
    assert refused(embed, bad, "input", input="word " * 9000).code == "context_length_exceeded"
    refused(embed, openai.NotFoundError, "model", model="nobody")


def only(client: openai.OpenAI) -> None:
    """With one that only embeds, and shortens."""
    short = client.embeddings.create(model="simulated", input="a cat", dimensions=3).data[0].embedding
    assert len(short) == 3 and math.isclose(math.hypot(*short), 1, abs_tol=1e-5), short
    bad = openai.BadRequestError
    refused(client.embeddings.create, bad, "dimensions", model="simulated", input="a", dimensions=65)
    for stream in (False, True):
        chat = {"model": "simulated", "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
        assert "only embeds" in refused(client.chat.completions.create, bad, "model", **chat).message
        text = {"model": "simulated", "prompt": "Hello", "stream": stream}
        refused(client.completions.create, bad, "model", **text)
    model = client.models.retrieve("simulated").model_extra["pointsman"]
    assert model == {
        "abilities": ["embeddings", "embedding_dimensions"],
        "context_tokens": 8192,
        "embedding_dimensions": 64,
        "embeds_only": True,
    }, model


def tokenize(client: openai.OpenAI) -> None:
    """With the demo model. The library has no such call; vLLM's users post it by hand."""

    def count(status: int = 200, headers: dict[str, str] | None = None, **body: object) -> dict:
        response = httpx.post(f"{client.base_url}tokenize", json={"model": "pip", **body}, headers=headers)
        assert response.status_code == status, response.text
        return response.json()

    hello = [{"role": "user", "content": "Hello"}]
    assert count(messages=hello) == {"count": 9, "max_model_len": 1024}
    assert count(prompt="Hello") == count(messages=hello)
    function = {"name": "weather", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}
    tool = {"type": "function", "function": function}
    counted = count(messages=hello, tools=[tool])["count"]
    said = client.chat.completions.create(model="pip", messages=hello, tools=[tool], max_completion_tokens=1)
    assert said.usage.prompt_tokens == counted > 9, (said, counted)
    # What is longer than the context is counted all the same.
    assert count(prompt="word " * 2000)["count"] > 1024
    assert count(400)["error"]["param"] == "messages"
    assert count(400, prompt="")["error"]["param"] == "prompt"
    assert count(400, prompt="a", return_token_strs=True)["error"]["code"] == "unsupported_field"
    in_session = count(400, {"x-pointsman-session": "tea"}, prompt="a")["error"]
    assert (in_session["code"], in_session["param"]) == ("unsupported_field", "x-pointsman-session"), in_session
    assert count(404, prompt="a", model="nobody")["error"]["code"] == "model_not_found"
    models = {model.id: model.model_extra["pointsman"] for model in client.models.list()}
    assert models["pip"]["context_tokens"] == 1024 and "sampling" in models["pip"]["abilities"], models
    assert not models["pip"]["embeds_only"] and "embeddings" not in models["pip"]["abilities"], models


if __name__ == "__main__":
    part, address = sys.argv[1:3]
    globals()[part](openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0))
