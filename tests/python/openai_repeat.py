"""A named stream through OpenAI's own library, from the beginning and from its middle: openai_repeat.py ADDRESS."""

import sys

import openai

KEY = {"Idempotency-Key": "order-1"}


def stream(client: openai.OpenAI, **headers: str) -> openai.Stream:
    return client.chat.completions.create(
        model="simulated",
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
        extra_headers=KEY | {name.replace("_", "-"): value for name, value in headers.items()},
    )


def text(chunks: list) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def repeats(client: openai.OpenAI) -> None:
    first = list(stream(client))
    assert text(first).startswith("You said: Hello"), first
    assert first[-1].choices[0].finish_reason == "stop" or first[-1].choices[0].finish_reason == "length", first
    again = stream(client)
    assert again.response.headers["x-pointsman-repeated"] == "true", again.response.headers
    assert list(again) == first

    # The numbers stand beside the chunks that the library makes of the events.
    raw = client.chat.completions.with_streaming_response.create(
        model="simulated", messages=[{"role": "user", "content": "Hello"}], stream=True, extra_headers=KEY
    )
    with raw as response:
        numbers = [line.removeprefix("id: ") for line in response.iter_lines() if line.startswith("id: ")]
    rest = list(stream(client, Last_Event_ID=numbers[2]))
    assert 0 < len(rest) < len(first) and first[-len(rest) :] == rest, rest
    assert list(stream(client, Last_Event_ID=numbers[-1])) == []


def is_refused_for_another_request(client: openai.OpenAI) -> None:
    try:
        client.chat.completions.create(
            model="simulated", messages=[{"role": "user", "content": "Goodbye"}], extra_headers=KEY
        )
        raise AssertionError("it was answered")
    except openai.ConflictError as error:
        assert error.code == "request_id_reused", error


if __name__ == "__main__":
    own = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0, timeout=60)
    repeats(own)
    is_refused_for_another_request(own)
