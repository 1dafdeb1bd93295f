"""The surface held to the types of OpenAI's own library: openai_contract.py PART ADDRESS MODEL.

Requests: each field that its types have, and each word that they list, is taken, or refused by name as unsupported. What
the library has and we have never heard of fails, with its name. Answers: each fits the library's models to the letter
and has nothing beside them but what is declared here.
"""

import collections.abc
import json
import re
import sys
import types
import typing

import httpx
from openai.types import Completion, CreateEmbeddingResponse, Model, completion_create_params, embedding_create_params
from openai.types.chat import ChatCompletion, ChatCompletionChunk, completion_create_params as chat_create_params
from openai.types.shared import ErrorObject
from pydantic import BaseModel
from typing_extensions import NotRequired, Required, get_type_hints, is_typeddict

# What our answers have beside OpenAI's, by the model that they stand in.
EXTENSIONS = {
    ("Model", "pointsman"),
    ("ErrorObject", "trace_id"),
    ("ChoiceDelta", "reasoning_content"),
    ("ChatCompletionMessage", "reasoning_content"),
}

HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
REQUESTS = {
    "chat/completions": (chat_create_params.CompletionCreateParams, {"messages": HELLO, "max_completion_tokens": 1}),
    "completions": (completion_create_params.CompletionCreateParams, {"prompt": "Hello", "max_tokens": 1}),
    "embeddings": (embedding_create_params.EmbeddingCreateParams, {"input": "Hello"}),
}

# What a field needs beside it.
BESIDE = {
    "stream_options": {"stream": True},
    "top_logprobs": {"logprobs": True},
    "tool_choice": {"tools": [WEATHER]},
    "max_tokens": {"max_completion_tokens": None},
}
# Objects that say nothing with no more than what their type requires.
FILLED = {
    "ChatCompletionAssistantMessageParam": {"content": "Hello"},
    "JSONSchema": {"schema": {"type": "object"}},
}
# Texts with a form of their own, by their field.
TEXTS = {"url": "https://example.com/cat.png", "name": "weather", "arguments": "{}"}
# What says of which kind an object is. One that is refused is named by it, with all that it has.
KINDS = {"type", "role", "image_url"}
# Names of OpenAI's models are no words of the format.
NOT_TRIED = {"model"}


class Tried(typing.NamedTuple):
    """A value for a field: where it stands, and a body that has it."""

    path: str
    value: object
    body: dict


def alternatives(kind: object) -> list:
    """What a type may be, without what only says whether it must be there."""
    origin = typing.get_origin(kind)
    if origin in (typing.Required, typing.NotRequired, typing.Annotated, Required, NotRequired):
        return alternatives(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        kinds = [one for kind in typing.get_args(kind) for one in alternatives(kind)]
        return [kind for kind in kinds if kind is not type(None)]
    if isinstance(kind, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        return alternatives(kind.__value__)
    return [kind]


def is_list(kind: object) -> bool:
    origin = typing.get_origin(kind)
    return isinstance(origin, type) and (
        issubclass(origin, (list, collections.abc.Iterable)) and not issubclass(origin, collections.abc.Mapping)
        or origin.__name__ == "SequenceNotStr"
    )


def sample(kind: object, name: str = "") -> object:
    """A small value of a type."""
    kind = alternatives(kind)[0]
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)[0]
    if is_typeddict(kind):
        return filled(kind)
    if is_list(kind):
        return [sample(typing.get_args(kind)[0], name)]
    if typing.get_origin(kind) is dict:
        return {"1": sample(typing.get_args(kind)[1])}
    return {str: TEXTS.get(name, "Hello"), int: 1, float: 0.5, bool: True, object: 1}[kind]


def filled(kind: type) -> dict:
    hints = get_type_hints(kind, include_extras=True)
    # What the type says as text is not among the required keys.
    required = {name for name, hint in hints.items() if typing.get_origin(hint) in (typing.Required, Required)}
    required |= {name for name in kind.__required_keys__ if typing.get_origin(hints[name]) not in (typing.NotRequired, NotRequired)}
    return {**{name: sample(hints[name], name) for name in hints if name in required}, **FILLED.get(kind.__name__, {})}


def each(kind: object, path: str, put: collections.abc.Callable, within: tuple = ()) -> collections.abc.Iterator:
    """Every field and every listed word of a type, each in a body that is complete."""
    for kind in alternatives(kind):
        name = path.rsplit(".", 1)[-1].split("[")[0]
        if typing.get_origin(kind) is typing.Literal:
            yield from (Tried(path, word, put(word)) for word in typing.get_args(kind))
        elif is_typeddict(kind):
            if kind in within:
                continue
            yield Tried(path, "the least", put(filled(kind)))
            for field, inner in get_type_hints(kind, include_extras=True).items():
                whole = filled(kind)
                at = f"{path}.{field}"
                yield from each(inner, at, lambda value: put({**whole, field: value}), (*within, kind))
        elif is_list(kind):
            yield from each(typing.get_args(kind)[0], f"{path}[0]", lambda value: put([value]), within)
        else:
            value = sample(kind, name)
            yield Tried(path, value, put(value))


def tried(endpoint: str, model: str) -> collections.abc.Iterator:
    kind, least = REQUESTS[endpoint]
    for alternative in alternatives(kind):
        for field, inner in get_type_hints(alternative, include_extras=True).items():
            if field not in NOT_TRIED:
                whole = {"model": model, **least, **BESIDE.get(field, {})}
                yield from each(inner, field, lambda value: {**whole, field: value})


def plain(path: str) -> str:
    return re.sub(r"\[\d+\]", "", path)


def is_about(param: str, path: str) -> bool:
    """Whether one is in the other; or what is refused is the kind of an object that the field is in."""
    param, path = plain(param), plain(path)
    short, long = sorted((param, path), key=len)
    owner, _, kind = param.rpartition(".")
    return f"{long}.".startswith(f"{short}.") or (kind in KINDS and path.startswith(f"{owner}."))


def requests(client: httpx.Client, model: str, *endpoints: str) -> None:
    for endpoint in endpoints:
        unknown, taken, refused = [], 0, 0
        for path, value, body in tried(endpoint, model):
            response = client.post(endpoint, json=body)
            if response.status_code == 200:
                taken += 1
                continue
            error = response.json()["error"]
            named = re.findall(r"(?:^|; )([\w.\[\]]+): ", error["message"])
            if error["code"] == "unsupported_field" and any(is_about(param, path) for param in named):
                refused += 1
            else:
                unknown.append(f"{path} = {value!r}: {response.status_code} {error}")
        assert not unknown, f"{endpoint}: neither taken nor refused as unsupported:\n" + "\n".join(unknown)
        least = 3 if endpoint == "embeddings" else 15
        assert taken >= least and refused >= 3, f"{endpoint}: {taken} taken, {refused} refused"
        print(f"{endpoint}: {taken} taken, {refused} refused by name")


def fits(kind: type[BaseModel], data: object) -> BaseModel:
    """Reads what was answered as the library's model, without its lenience, and looks for what it does not know."""
    model = kind.model_validate_json(json.dumps(data), strict=True)
    beside = {found for found in extras(model) if found not in EXTENSIONS}
    assert not beside, f"{kind.__name__} does not know {beside}: {data}"
    return model


def extras(value: object) -> collections.abc.Iterator:
    if isinstance(value, BaseModel):
        yield from ((type(value).__name__, name) for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from extras(getattr(value, name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from extras(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from extras(item)


def events(client: httpx.Client, path: str, body: dict) -> list:
    """The pieces of a stream, which has said that it is complete."""
    text = client.post(path, json={**body, "stream": True}).text
    data = [event.removeprefix("data: ") for event in text.split("\n\n") if event.startswith("data: ")]
    assert data[-1] == "[DONE]", text
    return [json.loads(piece) for piece in data[:-1]]


def whole(client: httpx.Client, path: str, body: dict) -> dict:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"], "additionalProperties": False}
USAGE = {"stream_options": {"include_usage": True}}
CHATS = {
    "plain": {},
    "scored": {"logprobs": True, "top_logprobs": 3},
    "several": {"n": 3, "temperature": 1, "seed": 7},
    "called": {"tools": [WEATHER], "tool_choice": "required"},
    "formed": {"response_format": {"type": "json_schema", "json_schema": {"name": "age", "schema": SCHEMA, "strict": True}}},
    "cut": {"max_completion_tokens": 2},
    "named": {"user": "somebody", "metadata": {"order": "17"}},
}


def answers(client: httpx.Client, model: str) -> None:
    """Of the demo model, which can do all of this."""
    for name, options in CHATS.items():
        body = {"model": model, "messages": HELLO, "max_completion_tokens": 96, **options}
        chat = fits(ChatCompletion, whole(client, "chat/completions", body))
        assert chat.usage and len(chat.choices) == options.get("n", 1), chat
        chunks = [fits(ChatCompletionChunk, chunk) for chunk in events(client, "chat/completions", {**body, **USAGE})]
        assert chunks[-1].usage == chat.usage and not chunks[-1].choices, chunks[-1]
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices and not chunk.choices[0].index)
        assert said == (chat.choices[0].message.content or ""), (name, said, chat)
        shown = {"scored": chat.choices[0].logprobs, "called": chat.choices[0].message.tool_calls}
        assert shown.get(name, True), chat
        assert (chat.choices[0].finish_reason == "length") == (name == "cut"), chat

    for options in ({}, {"n": 2}, {"echo": True}, {"logprobs": 2}):
        body = {"model": model, "prompt": "Hello", "max_tokens": 4, **options}
        text = fits(Completion, whole(client, "completions", body))
        pieces = [fits(Completion, ended(piece)) for piece in events(client, "completions", {**body, **USAGE})]
        said = "".join(choice.text for piece in pieces for choice in piece.choices if choice.index == 0)
        assert said == text.choices[0].text and pieces[-1].usage == text.usage, (said, text)

    models = client.get("models").json()
    assert [fits(Model, entry).id for entry in models["data"]] == [model], models
    fits(Model, client.get(f"models/{model}").json())


def ended(piece: dict) -> dict:
    """OpenAI's own pieces of a text have no reason to finish before the last; its types do not say so."""
    for choice in piece["choices"]:
        assert choice["finish_reason"] in (None, "stop", "length", "content_filter"), piece
        choice["finish_reason"] = choice["finish_reason"] or "stop"
    return piece


def errors(client: httpx.Client, model: str) -> None:
    """Of the simulated engine with a script that breaks an answer."""
    embedded = whole(client, "embeddings", {"model": model, "input": ["a", "b"], "encoding_format": "float"})
    assert len(fits(CreateEmbeddingResponse, embedded).data) == 2
    for path, body, status in [
        ("chat/completions", {"model": "nobody", "messages": HELLO}, 404),
        ("chat/completions", {"model": model, "messages": HELLO, "temperature": 9}, 400),
        ("chat/completions", {"model": model, "messages": HELLO, "n": 2}, 400),
        ("chat/completions", {"model": model, "messages": [{"role": "user", "content": "break"}]}, 502),
        ("completions", {"model": model, "prompt": ""}, 400),
        ("embeddings", {"model": model, "input": [1]}, 400),
        ("moderations", {"input": "Hello"}, 404),
    ]:
        response = client.post(path, json=body)
        assert response.status_code == status and set(response.json()) == {"error"}, response.text
        fits(ErrorObject, response.json()["error"])
    response = client.get("chat/completions")
    assert response.status_code == 405 and response.headers["allow"] == "POST", response.text
    fits(ErrorObject, response.json()["error"])

    broken = {"model": model, "messages": [{"role": "user", "content": "break"}], "stream": True}
    pieces = re.findall(r"^data: (.*)$", client.post("chat/completions", json=broken).text, re.MULTILINE)
    *chunks, last = [json.loads(piece) for piece in pieces]
    assert chunks and set(last) == {"error"}, pieces
    for chunk in chunks:
        fits(ChatCompletionChunk, chunk)
    assert fits(ErrorObject, last["error"]).model_extra.keys() == {"trace_id"}, last


if __name__ == "__main__":
    part, address, *rest = sys.argv[1:]
    with httpx.Client(base_url=f"{address}/v1/", timeout=60) as own:
        {"requests": requests, "answers": answers, "errors": errors}[part](own, *rest)
