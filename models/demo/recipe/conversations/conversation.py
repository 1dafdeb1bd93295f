"""Whole conversations."""

from collections.abc import Collection, Iterator
from random import Random

from recipe.conversations.message import Conversation, Memory, Message
from recipe.conversations.names import random_name
from recipe.conversations.system import MANNERS, NAMING_MESSAGES, SYSTEM_MESSAGES
from recipe.conversations.tools import conversation_with_tools
from recipe.conversations.turn import turn

# How often a conversation has one turn, two, and so on; each further turn weighs the last figure.
WEIGHTS_OF_TURNS = (0.30, 0.22, 0.18, 0.14, 0.10, 0.06)
WEIGHT_OF_FURTHER_TURNS = 0.05


def random_conversation(rng: Random, most_turns: int = 6) -> Conversation:
    """Returns a conversation of at most so many turns; six in a hundred are about tools, and shorter."""
    if rng.random() < 0.06:
        return conversation_with_tools(rng)
    memory = Memory()
    system = random_system_message(rng, memory)
    messages: list[Message] = []
    for _ in range(random_turns(rng, most_turns)):
        messages += turn(rng, memory).messages()
    return Conversation(system, [], messages)


def random_system_message(rng: Random, memory: Memory) -> str | None:
    """Returns a system message for 27 conversations of 100; a name that it gives the assistant is remembered."""
    chance = rng.random()
    if chance < 0.20:
        return rng.choice(SYSTEM_MESSAGES)
    if chance >= 0.27:
        return None
    memory.assistant = random_name(rng)
    message = rng.choice(NAMING_MESSAGES).format(n=memory.assistant)
    if rng.random() < 0.3:
        message += " " + rng.choice(MANNERS)
    return message


def random_turns(rng: Random, most: int) -> int:
    further = max(0, most - len(WEIGHTS_OF_TURNS))
    weights = [*WEIGHTS_OF_TURNS[:most], *[WEIGHT_OF_FURTHER_TURNS] * further]
    return rng.choices(range(1, most + 1), weights=weights)[0]


def training_conversations(rng: Random, count: int, held_out: Collection[str]) -> Iterator[Conversation]:
    """Makes conversations in none of which a held-out question is asked word for word.

    Six in a hundred may have fourteen turns, so that a name is recalled from afar.
    """
    made = 0
    while made < count:
        conversation = random_conversation(rng, 14 if rng.random() < 0.06 else 6)
        if not any(role == "user" and text in held_out for role, text in conversation.messages):
            made += 1
            yield conversation
