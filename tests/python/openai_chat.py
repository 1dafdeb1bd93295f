"""What an application does with OpenAI's own library: openai_chat.py PART ADDRESS [MODEL].

Each part fails with a traceback where the mesh does something else than OpenAI would.
"""

import sys
import threading

import openai

GREETING = "Hello! I am Pip. How can I help you?"


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def answers(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="pip", messages=[user("Hello")])
    assert whole.choices[0].message.content == GREETING, whole
    assert whole.choices[0].finish_reason == "stop", whole
    assert whole.model == "pip" and whole.id.startswith("chatcmpl-") and whole.system_fingerprint, whole
    usage = whole.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (9, 13, 22), usage

    chunks = list(
        client.chat.completions.create(
            model="pip", messages=[user("Hello")], stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == GREETING, text
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert chunks[-2].choices[0].finish_reason == "stop", chunks[-2]
    assert not chunks[-1].choices and chunks[-1].usage == usage, chunks[-1]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1

    pinned = client.chat.completions.create(model="models/pip/versions/f5e2d34cd543", messages=[user("Hello")])
    assert pinned.choices[0].message.content == GREETING, pinned
    with_headers = client.chat.completions.with_raw_response.create(
        model="pip", messages=[user("Hello")], extra_headers={"Idempotency-Key": "order-17"}
    )
    assert with_headers.headers["x-request-id"] == "order-17", with_headers.headers
    assert len(with_headers.headers["x-pointsman-trace-id"]) == 32, with_headers.headers

    options(client)
    conversation(client)
    assert [model.id for model in client.models.list()] == ["pip"]
    assert client.models.retrieve("pip").id == "pip"


def options(client: openai.OpenAI) -> None:
    def sampled(seed: int) -> str:
        whole = client.chat.completions.create(
            model="pip", messages=[user("Tell me a story.")], temperature=2, seed=seed, max_completion_tokens=48
        )
        return whole.choices[0].message.content

    # At temperature 1 the demo model is too sure of its words for seeds to matter.
    first = [sampled(seed) for seed in range(10)]
    assert len(set(first)) > 1, first
    assert [sampled(seed) for seed in range(10)] == first

    warm = client.chat.completions.create(model="pip", messages=[user("Hello")], temperature=1, seed=7)
    assert warm.choices[0].message.content == GREETING, warm

    stopped = client.chat.completions.create(model="pip", messages=[user("Count to 12.")], stop=[", 5"])
    assert stopped.choices[0].message.content == "1, 2, 3, 4", stopped
    assert stopped.choices[0].finish_reason == "stop", stopped

    cut = client.chat.completions.create(model="pip", messages=[user("Tell me a story.")], max_completion_tokens=5)
    assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 5, cut


def conversation(client: openai.OpenAI) -> None:
    messages = [user("Hi, my name is Maria.")]
    first = client.chat.completions.create(model="pip", messages=messages)
    messages += [first.choices[0].message, user("What is my name?")]
    second = client.chat.completions.create(model="pip", messages=messages)
    assert "Maria" in second.choices[0].message.content, second


def errors(client: openai.OpenAI) -> None:
    def refused(kind: type[openai.APIStatusError], **request: object) -> openai.APIStatusError:
        try:
            client.chat.completions.create(**{"model": "pip", "messages": [user("Hello")], **request})
        except kind as error:
            return error
        raise AssertionError(f"no {kind} for {request}")

    for stream in (False, True):
        unknown = refused(openai.NotFoundError, model="nobody", stream=stream)
        assert (unknown.code, unknown.param) == ("model_not_found", "model"), unknown
        assert "nobody" in unknown.message, unknown
        hot = refused(openai.BadRequestError, temperature=9, stream=stream)
        assert (hot.code, hot.param, hot.type) == ("invalid_request", "temperature", "invalid_request_error"), hot
        thinks = refused(openai.BadRequestError, reasoning_effort="high", stream=stream)
        assert (thinks.code, thinks.param) == ("unsupported_field", "reasoning_effort"), thinks
        assert "reasoning_effort" in thinks.message, thinks
        several = refused(openai.BadRequestError, temperature=9, top_p=7, messages=[], stream=stream)
        assert all(name in several.message for name in ("temperature", "top_p", "messages")), several
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    seen = refused(openai.BadRequestError, messages=[{"role": "user", "content": [picture]}])
    assert seen.code == "unsupported_field" and seen.param.startswith("messages"), seen
    assert refused(openai.BadRequestError, extra_body={"temprature": 1}).param == "temprature"
    try:
        client.models.retrieve("nobody")
        raise AssertionError("a model that is not there")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    try:
        client.moderations.create(input="Hello")
        raise AssertionError("a route that is not there")
    except openai.NotFoundError as error:
        assert error.code == "unknown_url", error


def leave(client: openai.OpenAI, model: str) -> None:
    """Leaves three streams and three whole answers before their end."""
    for _ in range(3):
        stream = client.chat.completions.create(model=model, messages=[user("Tell me a story.")], stream=True)
        next(iter(stream))
        stream.close()

    def impatient() -> None:
        try:
            hurried = client.with_options(timeout=0.5 if model == "simulated" else 0.1)
            hurried.chat.completions.create(model=model, messages=[user("Tell me a story.")])
        except openai.APITimeoutError:
            pass

    threads = [threading.Thread(target=impatient) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def broken(client: openai.OpenAI, model: str) -> None:
    """Reads a stream whose worker is killed meanwhile: it must not look like a whole answer."""
    pieces = []
    try:
        for chunk in client.chat.completions.create(model=model, messages=[user("Hello")], stream=True):
            pieces.append(chunk)
    except openai.APIError as error:
        assert error.code == "stream_truncated" and len(error.body["trace_id"]) == 32, error.body
        assert pieces and all(piece.choices[0].finish_reason is None for piece in pieces), pieces
        return
    raise AssertionError("the stream ended as if it were whole")


if __name__ == "__main__":
    part, address, *model = sys.argv[1:]
    own = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60)
    {"answers": answers, "errors": errors, "leave": leave, "broken": broken}[part](own, *model)
