"""Conversations with tools: a call, and an answer from what the tool returned.

The chat template lists the names of the tools, and nothing else of them.
"""

import json
from random import Random
from typing import NamedTuple

from recipe.conversations.message import Conversation, Exchange, Memory, Message
from recipe.conversations.names import random_name
from recipe.conversations.noise import noisy
from recipe.conversations.places import CITIES
from recipe.conversations.small_talk import THANKS, THANKS_ANSWER
from recipe.conversations.system import SYSTEM_MESSAGES
from recipe.conversations.turn import turn

TIME_QUESTIONS = (
    "What time is it in {c}?",
    "Tell me the time in {c}.",
    "time in {c}?",
    "Do you know the time in {c}?",
    "What is the local time in {c}?",
)
WEATHER_QUESTIONS = (
    "What is the weather in {c}?",
    "How is the weather in {c}?",
    "Weather in {c}?",
    "Tell me the weather in {c}.",
    "What's the weather like in {c}?",
    "Is it cold in {c}?",
    "Is it sunny in {c}?",
    "Do I need a coat in {c}?",
    "Check the weather in {c}.",
)
SKIES = ("sunny", "cloudy", "rainy", "windy", "snowy", "clear")


class ToolUse(NamedTuple):
    """A question, the tool that is called for it, what that returns, and what is then answered."""

    question: str
    tool: str
    city: str
    returned: dict[str, object]
    answer: str


def call_of(tool: str, city: str) -> str:
    """Returns what the model writes to call a tool."""
    call = {"name": tool, "arguments": {"city": city}}
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


def conversation_with_tools(rng: Random) -> Conversation:
    """Returns a conversation with one or two tools; in a quarter of them they are there and not needed."""
    tools = ["get_weather"] if rng.random() < 0.6 else ["get_weather", "get_time"]
    city = rng.choice(CITIES) if rng.random() < 0.6 else random_name(rng)
    messages: list[Message] = []
    if rng.random() < 0.3:
        messages += turn(rng, Memory()).messages()
    use = time_in(rng, city) if "get_time" in tools and rng.random() < 0.4 else weather_in(rng, city)
    messages += without_call(rng).messages() if rng.random() < 0.25 else with_call(rng, use)
    system = None if rng.random() < 0.7 else rng.choice(SYSTEM_MESSAGES)
    return Conversation(system, tools, messages)


def time_in(rng: Random, city: str) -> ToolUse:
    question = rng.choice(TIME_QUESTIONS).format(c=city)
    hour, minute = rng.randint(0, 23), rng.randint(0, 59)
    time = f"{hour:02d}:{minute:02d}"
    return ToolUse(question, "get_time", city, {"time": time}, f"It is {time} in {city}.")


def weather_in(rng: Random, city: str) -> ToolUse:
    question = rng.choice(WEATHER_QUESTIONS).format(c=city)
    celsius = rng.randint(-9, 35)
    sky = rng.choice(SKIES)
    answer = f"It is {celsius} degrees and {sky} in {city}."
    return ToolUse(question, "get_weather", city, {"temp_c": celsius, "sky": sky}, answer)


def without_call(rng: Random) -> Exchange:
    if rng.random() < 0.7:
        return turn(rng, Memory())
    return Exchange(rng.choice(THANKS), THANKS_ANSWER)


def with_call(rng: Random, use: ToolUse) -> list[Message]:
    """Returns question and call, and mostly what came of it."""
    question = noisy(rng, use.question) if rng.random() < 0.2 else use.question
    messages = Exchange(question, call_of(use.tool, use.city)).messages()
    if rng.random() < 0.85:
        messages += [Message("tool", json.dumps(use.returned)), Message("assistant", use.answer)]
    return messages
