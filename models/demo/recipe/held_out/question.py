"""A question whose answer is checked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """What a caller says turn by turn, and the answers to the last turn that count as right."""

    name: str
    turns: tuple[str, ...]
    answers: tuple[str, ...]
    system: str | None = None
    tools: tuple[str, ...] = ()
    # False where the generator may ask the same: what is checked is copying, not knowledge.
    is_held_out: bool = True


def question(name: str, *turns: str, answer: str | tuple[str, ...]) -> Question:
    """Returns a question without a system message and tools."""
    return Question(name, turns, (answer,) if isinstance(answer, str) else answer)
