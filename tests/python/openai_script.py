"""What OpenAI's own library makes of examples/script/replies.yaml: openai_script.py ADDRESS."""

import sys

import openai


def ask(client: openai.OpenAI, text: str, **options: object):
    return client.chat.completions.create(model="simulated", messages=[{"role": "user", "content": text}], **options)


def answers(client: openai.OpenAI) -> None:
    whole = ask(client, "Hello")
    assert whole.choices[0].message.content == "Hello from the script.", whole
    assert whole.choices[0].finish_reason == "stop", whole
    cut = ask(client, "Hello", metadata={"test": "long"})
    assert cut.choices[0].finish_reason == "length", cut
    assert (cut.usage.prompt_tokens, cut.usage.completion_tokens) == (7, 4096), cut


def tries_again(client: openai.OpenAI) -> None:
    try:
        ask(client, "How is the weather?")
        raise AssertionError("the first try was answered")
    except openai.RateLimitError as error:
        assert error.code == "rate_limit_exceeded" and "scripted: nothing free" in error.message, error
        assert error.response.headers["retry-after"] == "1", error.response.headers
    pieces = [chunk.choices[0].delta.content for chunk in ask(client, "How is the weather?", stream=True)]
    assert [piece for piece in pieces if piece] == ["It", " rains."], pieces


def breaks(client: openai.OpenAI, text: str, delivered: str, code: str) -> None:
    pieces = []
    try:
        for chunk in ask(client, text, stream=True):
            assert chunk.choices[0].finish_reason is None, chunk
            pieces.append(chunk.choices[0].delta.content or "")
        raise AssertionError("the stream ended as if it were whole")
    except openai.APIError as error:
        assert error.code == code, error
    assert "".join(pieces) == delivered, pieces
    try:
        ask(client, text)
        raise AssertionError("a broken answer looks whole")
    except openai.InternalServerError as error:
        assert error.code == code, error


def hangs(client: openai.OpenAI) -> None:
    try:
        ask(client.with_options(timeout=0.3), "hang")
        raise AssertionError("it was answered")
    except openai.APITimeoutError:
        pass


if __name__ == "__main__":
    own = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0, timeout=60)
    answers(own)
    tries_again(own)
    breaks(own, "break", "Half an", "stream_truncated")
    breaks(own, "late error", "Some ", "engine_lost")
    hangs(own)
