"""Pictures with OpenAI's own library, of a model that sees (`eyes`) and one that does not (`pip`): openai_pictures.py ADDRESS."""

import base64
import struct
import sys
import zlib

import httpx
import openai


def png(width: int, height: int, colour: tuple) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(colour) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def shown(data: bytes, **options: str) -> dict:
    uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": uri, **options}}


def said(text: str) -> dict:
    return {"type": "text", "text": text}


RED, BLUE = shown(png(96, 64, (200, 0, 0))), shown(png(96, 64, (0, 0, 200)))


def ask(client: openai.OpenAI, *parts: dict, model: str = "eyes", **options: object):
    messages = [{"role": "user", "content": list(parts)}]
    return client.chat.completions.create(model=model, messages=messages, max_completion_tokens=12, **options)


def scores(answer) -> list:
    return [token.logprob for token in answer.choices[0].logprobs.content]


def answers(client: openai.OpenAI) -> None:
    plain = ask(client, said("Hello"))
    assert plain.choices[0].message.content.startswith("Hello! I am Pip"), plain
    red = ask(client, RED, said("Hello"), logprobs=True)
    assert red.usage.prompt_tokens > plain.usage.prompt_tokens
    assert scores(red) == scores(ask(client, RED, said("Hello"), logprobs=True))
    assert scores(red) != scores(ask(client, BLUE, said("Hello"), logprobs=True))
    both = ask(client, RED, said("and"), BLUE)
    assert both.usage.prompt_tokens > red.usage.prompt_tokens
    # What is counted is what is read.
    for parts, answer in (([RED, said("Hello")], red), ([RED, said("and"), BLUE], both)):
        body = {"model": "eyes", "messages": [{"role": "user", "content": parts}]}
        counted = httpx.post(f"{client.base_url}tokenize", json=body).raise_for_status().json()
        assert counted["count"] == answer.usage.prompt_tokens, (counted, answer.usage)
    pieces = list(ask(client, RED, said("Hello"), stream=True, stream_options={"include_usage": True}))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == red.choices[0].message.content, text
    assert pieces[-1].usage.prompt_tokens == red.usage.prompt_tokens


def refusals(client: openai.OpenAI) -> None:
    whole = png(96, 64, (200, 0, 0))
    vast = png(1, 1, (0, 0, 0)).replace(struct.pack(">II", 1, 1), struct.pack(">II", 60_000, 60_000))
    vast = vast[:29] + struct.pack(">I", zlib.crc32(vast[12:29])) + vast[33:]
    for part, says in (
        (shown(b"no picture"), "must be a PNG"),
        (shown(whole[:60]), "cannot be read"),
        (shown(vast), "more than 32 Mi pixels"),
        (shown(png(8, 8, (0, 0, 0))), "at least 32"),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "data URI"),
    ):
        for options in ({}, {"stream": True}):
            try:
                ask(client, said("Hello"), RED, part, **options)
                raise AssertionError(f"not refused: {says}")
            except openai.BadRequestError as error:
                assert says in error.message and "picture 2" in error.message, error
                assert error.param == "messages[0].content.image_url", error.body
    try:
        ask(client, said("Hello"), RED, model="pip")
        raise AssertionError("a model without eyes saw")
    except openai.BadRequestError as error:
        assert (error.code, error.param) == ("unsupported_field", "messages.content.image_url"), error.body


client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0)
answers(client)
refusals(client)
answers(client)
