"""Forms, tools, log-probabilities and the like with OpenAI's own library: openai_structured.py PART ADDRESS."""

import concurrent.futures
import json
import math
import random
import re
import sys
from typing import Annotated, Literal

import jsonschema
import openai
import pydantic

STRING = {"type": "string", "maxLength": 12}
NUMBER = {"type": "number", "minimum": -1000, "maximum": 1000}
TREE = {
    "$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer", "minimum": 0, "maximum": 99},
        "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/leaf"}]}}, "required": ["v", "next"], "additionalProperties": False},
        "leaf": {"type": "object", "properties": {"leaf": {"type": "boolean"}}, "required": ["leaf"], "additionalProperties": False}},
    "$ref": "#/$defs/node",
}


def closed(properties: dict, required: list | None = None) -> dict:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


SCHEMAS = [
    {"type": "boolean"},
    {"type": "null"},
    {"type": "integer", "minimum": 1, "maximum": 12},
    {"type": "integer", "exclusiveMinimum": -5, "maximum": 5},
    {"type": "number", "minimum": 0.5, "maximum": 1.5},
    {"type": "string", "maxLength": 8},
    {"type": "string", "minLength": 3, "maxLength": 5},
    {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "enum": ["Grüße", "日本", "🚂", 'quo"te', "back\\slash", "line\nbreak"]},
    {"const": {"fixed": [1, "two", None]}},
    {"enum": [1, "one", True, None, [1], {"a": 1}]},
    {"type": ["string", "null"], "maxLength": 6},
    {"type": "array", "items": {"type": "boolean"}, "maxItems": 5},
    {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 3},
    {"type": "array", "prefixItems": [{"type": "integer", "minimum": 0, "maximum": 9}, STRING], "items": False, "minItems": 2},
    {"type": "array", "items": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 2}, "maxItems": 3},
    closed({}),
    closed({"name": STRING}),
    closed({"order": {"type": "integer", "minimum": 0, "maximum": 9999}, "status": {"enum": ["sent", "packed", "lost"]}}),
    closed({"a": STRING, "b": NUMBER}, required=["a"]),
    closed({"ä": STRING, "naïve 名": {"type": "boolean"}, "with \"quotes\"": {"type": "null"}}),
    closed({"outer": closed({"inner": closed({"deep": closed({"deeper": {"type": "boolean"}})})})}),
    closed({"items": {"type": "array", "items": closed({"id": {"type": "integer", "minimum": 0, "maximum": 99}, "tag": {"enum": ["x", "y"]}}), "minItems": 1, "maxItems": 3}}),
    {"anyOf": [{"type": "boolean"}, {"type": "string", "maxLength": 4}]},
    {"anyOf": [closed({"kind": {"const": "circle"}, "r": NUMBER}), closed({"kind": {"const": "square"}, "side": NUMBER})]},
    {"oneOf": [closed({"kind": {"const": "cat"}, "meows": {"type": "boolean"}}), closed({"kind": {"const": "dog"}, "barks": {"type": "boolean"}})]},
    {"allOf": [{"type": "object", "properties": {"a": STRING}, "required": ["a"]}, {"properties": {"b": {"type": "null"}}, "required": ["b"]}, {"additionalProperties": True, "maxProperties": 2}]},
    closed({"value": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}, closed({"x": {"type": "boolean"}})]}}),
    TREE,
    closed({"when": {"type": "string", "format": "date"}, "who": {"type": "string", "format": "uuid"}}),
    closed({"host": {"type": "string", "format": "ipv4"}, "port": {"type": "integer", "minimum": 1, "maximum": 65535}}),
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Order", "description": "An order", **closed({"id": {"type": "string", "pattern": "^[0-9]{4}$", "description": "Its number"}})},
]


class Order(pydantic.BaseModel):
    order: Annotated[int, pydantic.Field(ge=0, le=9999)]
    status: Literal["sent", "packed", "lost"]
    note: str | None


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def ask(client: openai.OpenAI, text: str = "Hello", **options: object):
    return client.chat.completions.create(model="pip", messages=[user(text)], **options)


def forms(client: openai.OpenAI) -> None:
    assert len(SCHEMAS) >= 30
    for number, schema in enumerate(SCHEMAS):
        for options in ({}, {"temperature": 1.5, "seed": number}):
            wanted = {"type": "json_schema", "json_schema": {"name": "form", "schema": schema, "strict": True}}
            answer = ask(client, "Give me order 4417 as JSON.", response_format=wanted, **options).choices[0]
            assert answer.finish_reason == "stop", (schema, answer)
            jsonschema.validate(json.loads(answer.message.content), schema, format_checker=jsonschema.FormatChecker())

    # A class is what most programs write; the library makes the schema, and an object of the answer.
    wanted = {"messages": [user("Give me order 4417 as JSON.")], "response_format": Order}
    parsed = client.chat.completions.parse(model="pip", **wanted).choices[0].message.parsed
    assert isinstance(parsed, Order) and 0 <= parsed.order <= 9999, parsed
    with client.chat.completions.stream(model="pip", **wanted) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == parsed

    # What OpenAI has not.
    for form, wanted in (
        ({"type": "regex", "regex": "(yes|no), [0-9]{3}"}, "(yes|no), [0-9]{3}"),
        ({"type": "lark_grammar", "lark_grammar": 'start: "<" ("a" | "b") ">"'}, "<[ab]>"),
    ):
        for stream in (False, True):
            answer = ask(client, response_format=form, temperature=1, seed=3, stream=stream)
            parts = [chunk.choices[0].delta for chunk in answer] if stream else [answer.choices[0].message]
            content = "".join(part.content or "" for part in parts)
            assert re.fullmatch(wanted, content), (form, content)

    whole = ask(client, "Give me order 4417 as JSON.", response_format={"type": "json_object"})
    assert isinstance(json.loads(whole.choices[0].message.content), dict), whole

    for schema, what in ({"type": "bird"}, "json_schema"), ({"not": {"type": "string"}}, "json_schema"):
        wanted = {"type": "json_schema", "json_schema": {"name": "form", "schema": schema, "strict": True}}
        for stream in (False, True):
            try:
                ask(client, response_format=wanted, stream=stream)
            except openai.BadRequestError as error:
                assert error.code == "invalid_request" and what in error.message, error
            else:
                raise AssertionError(f"{schema} was taken")


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": closed({"city": {"type": "string"}}),
    },
}
TRIP = {
    "type": "function",
    "function": {
        "name": "plan_trip",
        "strict": True,
        "parameters": closed({"to": {"enum": ["Oslo", "Bergen"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}}),
    },
}
QUESTION = "Could you check how the weather is in Bergen?"


def tools(client: openai.OpenAI) -> None:
    whole = ask(client, QUESTION, tools=[WEATHER]).choices[0]
    assert whole.finish_reason == "tool_calls" and whole.message.content is None, whole
    [call] = whole.message.tool_calls
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Bergen"}, call

    name, arguments, ids = "", [], set()
    for chunk in ask(client, QUESTION, tools=[WEATHER], stream=True):
        for piece in chunk.choices[0].delta.tool_calls or []:
            assert piece.index == 0, piece
            name += piece.function.name or ""
            ids |= {piece.id} - {None}
            arguments.append(piece.function.arguments)
        reason = chunk.choices[0].finish_reason
    assert reason == "tool_calls" and name == "get_weather" and len(ids) == 1, (reason, name, ids)
    assert len(arguments) > 2 and "".join(arguments) == call.function.arguments, arguments

    result = {"role": "tool", "tool_call_id": call.id, "content": '{"temp_c": 9, "sky": "rainy"}'}
    messages = [user(QUESTION), whole.message, result]
    told = client.chat.completions.create(model="pip", messages=messages, tools=[WEATHER]).choices[0]
    assert told.message.content == "It is 9 degrees and rainy in Bergen.", told
    assert told.finish_reason == "stop" and not told.message.tool_calls, told

    none = ask(client, QUESTION, tools=[WEATHER], tool_choice="none")
    assert not none.choices[0].message.tool_calls, none
    assert none.usage.prompt_tokens < ask(client, QUESTION, tools=[WEATHER]).usage.prompt_tokens

    named = {"type": "function", "function": {"name": "plan_trip"}}
    for seed in range(4):
        for choice in (named, "required"):
            trip = ask(client, tools=[WEATHER, TRIP], tool_choice=choice, temperature=1, seed=seed, parallel_tool_calls=False)
            [call] = trip.choices[0].message.tool_calls
            schema = {tool["function"]["name"]: tool["function"]["parameters"] for tool in (WEATHER, TRIP)}
            jsonschema.validate(json.loads(call.function.arguments), schema[call.function.name])
            assert choice == "required" or call.function.name == "plan_trip", call


def numbers(client: openai.OpenAI) -> None:
    scored = ask(client, "Count to 12.", logprobs=True, top_logprobs=2).choices[0]
    assert "".join(token.token for token in scored.logprobs.content) == scored.message.content, scored
    for token in scored.logprobs.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 2, token
        assert math.isclose(token.logprob, token.top_logprobs[0].logprob), token
        assert sum(math.exp(other.logprob) for other in token.top_logprobs) <= 1.0001, token

    several = ask(client, "Tell me a story.", n=4, temperature=2, seed=7, max_completion_tokens=24)
    texts = [choice.message.content for choice in several.choices]
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3] and len(set(texts)) > 1, several
    for place, text in enumerate(texts):
        one = ask(client, "Tell me a story.", temperature=2, seed=7 + place, max_completion_tokens=24)
        assert one.choices[0].message.content == text and one.usage.prompt_tokens == several.usage.prompt_tokens, one
    streamed: dict[int, str] = {}
    reasons = {}
    for chunk in ask(client, "Tell me a story.", n=4, temperature=2, seed=7, max_completion_tokens=24, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] = streamed.get(choice.index, "") + (choice.delta.content or "")
            reasons |= {choice.index: choice.finish_reason} if choice.finish_reason else {}
    assert [streamed[place] for place in range(4)] == texts and len(reasons) == 4, (streamed, reasons)

    assert ask(client, logit_bias={"1021": 100}).choices[0].message.content == ""
    try:
        ask(client, logit_bias={"5000": 1})
    except openai.BadRequestError as error:
        assert "logit_bias" in error.message and "5000" in error.message, error
    else:
        raise AssertionError("a token that is not there")
    less = ask(client, "Count to 12.", frequency_penalty=2, presence_penalty=2, extra_body={"repetition_penalty": 2})
    assert less.choices[0].message.content != ask(client, "Count to 12.").choices[0].message.content, less


def repeat(client: openai.OpenAI) -> None:
    """Writes what seeds give, asked all at once: the same each time, whoever else asks."""
    form = {"type": "json_schema", "json_schema": {"name": "form", "schema": SCHEMAS[-1], "strict": True}}
    kinds = [
        {"temperature": 2},
        {"temperature": 2, "response_format": form},
        {"temperature": 1, "tools": [WEATHER, TRIP], "tool_choice": "required", "parallel_tool_calls": False},
        {"temperature": 1, "tools": [WEATHER]},
        {"temperature": 2, "logprobs": True, "top_logprobs": 3},
        {"temperature": 2, "frequency_penalty": 1, "presence_penalty": 1, "extra_body": {"repetition_penalty": 1.2}},
        {"temperature": 2, "logit_bias": {"40": 5, "50": -5}},
        {"temperature": 2, "n": 3},
    ]
    requests = [{**kind, "seed": seed, "max_completion_tokens": 24} for kind in kinds for seed in range(3)]

    def told(request: dict) -> list:
        return [
            (
                choice.message.content,
                [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or []],
                [token.logprob for token in choice.logprobs.content] if choice.logprobs else None,
            )
            for choice in ask(client, QUESTION, **request).choices
        ]

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        together = list(pool.map(told, requests))
    assert [told(request) for request in requests] == together
    assert len({json.dumps(answer) for answer in together}) > len(kinds), together
    print(json.dumps(together))


def mixture(client: openai.OpenAI) -> None:
    """Asks for everything at once, in many mixtures: each promise holds whatever else is asked for."""

    def mixed(number: int) -> None:
        chance = random.Random(number)
        options: dict = {"temperature": chance.choice([0, 1, 2]), "seed": number, "extra_body": {}}
        options["max_completion_tokens"] = chance.choice([5, 40, 120])
        schema = chance.choice(SCHEMAS) if chance.random() < 0.5 else None
        if schema is not None:
            form = {"name": "form", "schema": schema, "strict": True}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        choice = chance.choice(["auto", "required", "none", None])
        if choice:
            options |= {"tools": [WEATHER, TRIP], "tool_choice": choice, "parallel_tool_calls": chance.random() < 0.5}
        if chance.random() < 0.3:
            options |= {"logprobs": True, "top_logprobs": chance.choice([0, 20])}
        if chance.random() < 0.3:
            options["n"] = chance.choice([2, 3])
        if chance.random() < 0.3:
            options["frequency_penalty"] = chance.uniform(-2, 2)
            options["extra_body"]["repetition_penalty"] = chance.uniform(0.5, 2)
        if chance.random() < 0.3:
            options["logit_bias"] = {str(chance.randrange(1024)): chance.uniform(-100, 100) for _ in range(5)}
        for answer in ask(client, chance.choice([QUESTION, "Hello", "Grüße 🚂"]), **options).choices:
            check(answer, schema, options)

    def check(answer, schema: object, options: dict) -> None:
        calls = answer.message.tool_calls or []
        if answer.finish_reason == "tool_calls":
            schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in options["tools"]}
            for call in calls:
                jsonschema.validate(json.loads(call.function.arguments), schemas[call.function.name])
            assert options["parallel_tool_calls"] or len(calls) == 1, (options, answer)
        elif answer.finish_reason == "stop":
            assert options.get("tool_choice") != "required" and not calls, (options, answer)
            if schema is not None:
                jsonschema.validate(json.loads(answer.message.content), schema)
            if answer.logprobs:
                scored = b"".join(bytes(token.bytes) for token in answer.logprobs.content)
                assert scored.decode(errors="replace").strip() == answer.message.content.strip(), (scored, answer)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(mixed, range(150)))


if __name__ == "__main__":
    part, address = sys.argv[1:]
    base_url = f"{address}/v1"
    parts = {"forms": forms, "tools": tools, "numbers": numbers, "repeat": repeat, "mixture": mixture}
    parts[part](openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60))
