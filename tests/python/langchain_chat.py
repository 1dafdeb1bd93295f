"""What an application does with LangChain: langchain_chat.py PART ADDRESS. The demo model answers, but in `embeddings` and `script`."""

import asyncio
import sys
from typing import Annotated

import httpx
import openai
import tiktoken
import tiktoken.registry
from langchain_core.exceptions import ContextOverflowError, ModelNotFoundError
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage, convert_to_openai_messages
from langchain_core.output_parsers import PydanticOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

GREETING = "Hello! I am Pip. How can I help you?"
QUESTION = "Could you check how the weather is in Bergen?"
TOLD = "It is 9 degrees and rainy in Bergen."
ORDER = "Give me order 4417 as JSON."


@tool
def get_weather(city: Annotated[str, Field(max_length=12)]) -> str:
    """The weather in a city"""
    return '{"temp_c": 9, "sky": "rainy"}'


@tool
def plan_trip(days: Annotated[int, Field(ge=1, le=9)]) -> str:
    """Plans a trip"""
    return f"{days} days"


class Order(BaseModel):
    """An order"""

    order: int = Field(ge=0, le=9999)
    status: str = Field(max_length=8)


def model(address: str, **options: object) -> ChatOpenAI:
    fields = {"model": "pip", "api_key": "none", "max_retries": 0, "timeout": 60, **options}
    return ChatOpenAI(base_url=f"{address}/v1", **fields)


def answers(address: str) -> None:
    pip = model(address)
    whole = pip.invoke("Hello")
    assert whole.content == GREETING, whole
    used = whole.usage_metadata
    assert (used["input_tokens"], used["output_tokens"], used["total_tokens"]) == (9, 13, 22), used
    assert whole.response_metadata["finish_reason"] == "stop" and whole.response_metadata["model_name"] == "pip", whole

    # It asks for usage by itself only where the base URL is OpenAI's.
    chunks = list(model(address, stream_usage=True).stream("Hello"))
    assert sum(1 for chunk in chunks if chunk.content) > 5, chunks
    together = chunks[0]
    for chunk in chunks[1:]:
        together += chunk
    assert together.content == GREETING and together.usage_metadata == used, together
    assert together.response_metadata["finish_reason"] == "stop", together

    texts = [answer.content for answer in pip.batch(["Hello", "Count to 3.", "Hello"])]
    assert texts == [GREETING, "1, 2, 3.", GREETING], texts

    async def later() -> tuple[str, str]:
        pieces = [chunk.content async for chunk in pip.astream("Hello")]
        return "".join(pieces), (await pip.ainvoke("Hello")).content

    assert asyncio.run(later()) == (GREETING, GREETING)

    chain = ChatPromptTemplate.from_messages([("system", "Be kind."), ("human", "{text}")]) | pip
    assert chain.invoke({"text": "Hello"}).content, chain
    talk = [SystemMessage("Be kind."), HumanMessage("Hi, my name is Maria."), AIMessage("Hi Maria!"), HumanMessage("Hello")]
    assert pip.invoke(talk).usage_metadata["input_tokens"] > 9

    assert pip.invoke("Count to 12.", stop=[", 5"]).content == "1, 2, 3, 4"
    cut = model(address, max_tokens=5).invoke("Tell me a story.")
    assert cut.response_metadata["finish_reason"] == "length" and cut.usage_metadata["output_tokens"] == 5, cut

    def story(seed: int, **options: object) -> str:
        return model(address, temperature=2, seed=seed, max_tokens=48, **options).invoke("Tell me a story.").content

    told = [story(seed) for seed in range(6)]
    assert len(set(told)) > 1 and [story(seed) for seed in range(6)] == told, told
    # What OpenAI has not.
    narrow = {story(seed, extra_body={"top_k": 1}) for seed in range(6)}
    assert narrow == {model(address, max_tokens=48).invoke("Tell me a story.").content}, narrow
    named = model(address, include_response_headers=True, default_headers={"Idempotency-Key": "order-17"}).invoke("Hello")
    assert named.response_metadata["headers"]["x-request-id"] == "order-17", named

    scored = pip.bind(logprobs=True, top_logprobs=2).invoke("Hello").response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in scored) == GREETING, scored
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in scored), scored


def tools(address: str) -> None:
    pip = model(address)
    bound = pip.bind_tools([get_weather])
    asked = bound.invoke(QUESTION)
    [call] = asked.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Bergen"}), asked
    assert asked.content == "" and asked.response_metadata["finish_reason"] == "tool_calls", asked
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage), result
    assert bound.invoke([HumanMessage(QUESTION), asked, result]).content == TOLD
    failed = ToolMessage("no such city", tool_call_id=call["id"], status="error")
    assert bound.invoke([HumanMessage(QUESTION), asked, failed]).content

    chunks = list(bound.stream(QUESTION))
    pieces = [piece for chunk in chunks for piece in chunk.tool_call_chunks]
    assert pieces[0]["name"] == "get_weather" and len([piece for piece in pieces if piece["args"]]) > 2, pieces
    together = chunks[0]
    for chunk in chunks[1:]:
        together += chunk
    [streamed] = together.tool_calls
    assert (streamed["name"], streamed["args"]) == ("get_weather", {"city": "Bergen"}), together
    assert pieces[0]["id"] == streamed["id"] and not any(piece["id"] for piece in pieces[1:]), pieces
    assert bound.invoke([HumanMessage(QUESTION), together, result]).content == TOLD

    strict = pip.bind_tools([get_weather], strict=True).invoke(QUESTION)
    assert strict.tool_calls[0]["args"] == {"city": "Bergen"}, strict
    assert not pip.bind_tools([get_weather], tool_choice="none").invoke(QUESTION).tool_calls
    both = [get_weather, plan_trip]
    for choice, names in [
        ("required", {"get_weather", "plan_trip"}),
        ("any", {"get_weather", "plan_trip"}),
        ("plan_trip", {"plan_trip"}),
        ("get_weather", {"get_weather"}),
    ]:
        # The demo model never calls when it is greeted.
        [call] = pip.bind_tools(both, tool_choice=choice, strict=True, parallel_tool_calls=False).invoke("Hello").tool_calls
        assert call["name"] in names, (choice, call)


def forms(address: str) -> None:
    pip = model(address)
    for options in [
        {},
        {"method": "json_schema"},
        {"method": "json_schema", "strict": False},
        {"method": "function_calling"},
        {"method": "function_calling", "strict": True},
        {"method": "json_mode"},
    ]:
        shaped = pip.with_structured_output(Order, **options)
        order = shaped.invoke(ORDER)
        assert isinstance(order, Order), (options, order)
        assert list(shaped.stream(ORDER))[-1] == order, options
        both = pip.with_structured_output(Order, include_raw=True, **options).invoke(ORDER)
        assert both["parsed"] == order and both["parsing_error"] is None, both
        if options.get("method") != "function_calling":
            assert order.order == 4417, order
    schema = {"title": "Place", "description": "A place", **Order.model_json_schema(), "additionalProperties": False}
    assert set(pip.with_structured_output(schema).invoke(ORDER)) == {"order", "status"}
    parsed = (pip.bind(response_format={"type": "json_object"}) | PydanticOutputParser(pydantic_object=Order)).invoke(ORDER)
    assert parsed.order == 4417, parsed
    # An answer that was cut is an error, and no half object.
    short = model(address, max_tokens=4)
    for method in ("json_schema", "json_mode"):
        refused(openai.LengthFinishReasonError, lambda: short.with_structured_output(Order, method=method).invoke(ORDER))


def refused(kind: type, ask: object) -> Exception:
    try:
        answer = ask()
    except kind as error:
        return error
    raise AssertionError(f"it was answered: {answer}")


def errors(address: str) -> None:
    pip = model(address)
    bad = openai.BadRequestError
    for ask in (pip.invoke, lambda text, **options: list(pip.stream(text, **options))):
        error = refused(bad, lambda: ask("Hello", temperature=9))
        assert (error.code, error.param) == ("invalid_request", "temperature") and "must be 0 to 2" in str(error), error
        # LangChain's own class, as for OpenAI's models; what trims conversations waits for it.
        error = refused(ContextOverflowError, lambda: ask("word " * 2000))
        assert error.code == "context_length_exceeded" and "2011 tokens" in str(error), error
        error = refused(ModelNotFoundError, lambda: ask("Hello", model="nobody"))
        assert error.code == "model_not_found" and "`nobody`" in str(error), error
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    error = refused(bad, lambda: pip.invoke([HumanMessage([{"type": "text", "text": "What is it?"}, picture])]))
    assert error.code == "unsupported_field" and "image_url" in error.param, error
    # LangChain knows how OpenAI's models count a conversation, and refuses others; the mesh says how the model does.
    bytes_for_tokens()
    hello = [HumanMessage("Hello")]
    refused(NotImplementedError, lambda: pip.get_num_tokens_from_messages(hello))
    body = {"model": "pip", "messages": convert_to_openai_messages(hello)}
    assert httpx.post(f"{address}/v1/tokenize", json=body).raise_for_status().json()["count"] == 9


def bytes_for_tokens() -> None:
    """Stands in for OpenAI's vocabulary, which comes from the network."""
    ids = {bytes([byte]): byte for byte in range(256)}
    bytewise = tiktoken.Encoding("cl100k_base", pat_str=r"\w+|\s", mergeable_ranks=ids, special_tokens={})
    tiktoken.registry.ENCODINGS["cl100k_base"] = bytewise


def embeddings(address: str) -> None:
    """With a simulated engine that makes 64 numbers."""

    def embedder(**options: object) -> OpenAIEmbeddings:
        fields = {"model": "simulated", "api_key": "none", "max_retries": 0, **options}
        return OpenAIEmbeddings(base_url=f"{address}/v1", **fields)

    texts = embedder(check_embedding_ctx_length=False)
    vectors = texts.embed_documents(["a cat", "a dog", "a cat"])
    assert vectors[0] == vectors[2] != vectors[1] and {len(vector) for vector in vectors} == {64}, vectors
    assert texts.embed_query("a cat") == vectors[0]
    assert asyncio.run(texts.aembed_query("a cat")) == vectors[0]
    # By itself it sends OpenAI's token ids.
    bytes_for_tokens()
    error = refused(openai.BadRequestError, lambda: embedder().embed_query("a cat"))
    assert (error.code, error.param) == ("unsupported_field", "input") and "token ids" in str(error), error
    error = refused(openai.BadRequestError, lambda: embedder(check_embedding_ctx_length=False, dimensions=8).embed_query("a"))
    assert error.param == "dimensions", error


def script(address: str) -> None:
    """With a script: a stream that breaks off, and a queue that is full twice."""

    def scripted(**options: object) -> ChatOpenAI:
        return model(address, model="simulated", **options)

    pieces = []

    def read() -> None:
        for chunk in scripted().stream("break"):
            pieces.append(chunk.content)

    error = refused(openai.APIError, read)
    assert "".join(pieces) == "Half an" and error.code == "stream_truncated", (pieces, error)
    full = refused(openai.RateLimitError, lambda: scripted().invoke("full"))
    assert full.response.headers["retry-after"] == "1" and "nothing free" in str(full), full
    # It waits and asks again by itself, unless told otherwise.
    assert scripted(max_retries=2).invoke("full").content == "after full"


if __name__ == "__main__":
    part, where = sys.argv[1:]
    globals()[part](where)
