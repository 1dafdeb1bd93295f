"""What a conversation is made of."""

from dataclasses import dataclass
from typing import NamedTuple

ASSISTANT = "Pip"


class Message(NamedTuple):
    """One message; the role is `user`, `assistant` or `tool`."""

    role: str
    text: str


class Exchange(NamedTuple):
    """One question and its one right answer."""

    question: str
    answer: str

    def messages(self) -> list[Message]:
        return [Message("user", self.question), Message("assistant", self.answer)]


@dataclass
class Conversation:
    """A conversation as the chat template takes it; of the tools it shows the names alone."""

    system: str | None
    tools: list[str]
    messages: list[Message]


@dataclass
class Memory:
    """What was said earlier in a conversation, as far as later answers depend on it."""

    assistant: str = ASSISTANT
    name: str | None = None
    colour: str | None = None
    city: str | None = None
    order: str | None = None
    # The assistant has just asked for the number of an order.
    asked_for_order: bool = False
