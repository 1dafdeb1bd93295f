"""Held-out questions: written by hand, and kept out of the training data word for word.

Set B was written after the generator was finished, and never used to change it: it tells what set A, which was
looked at all the time, cannot.
"""

import json
from pathlib import Path

from recipe.held_out.question import Question
from recipe.held_out.set_a import SET_A
from recipe.held_out.set_b import SET_B

# The sets as files, for whoever asks the model through a server.
FILES = {"eval-a.json": SET_A, "eval-b.json": SET_B}


def asked_last() -> set[str]:
    """Returns the last turn of every held-out question: the strings that must not be trained."""
    return {asked.turns[-1] for asked in (*SET_A, *SET_B) if asked.is_held_out}


def as_json(questions: tuple[Question, ...]) -> str:
    """Returns a set as a list of objects: what is said, and what may be answered."""
    rows = [
        {
            "id": asked.name,
            "system": asked.system,
            "tools": asked.tools,
            "turns": asked.turns,
            "expect": asked.answers,
        }
        for asked in questions
    ]
    return json.dumps(rows, indent=1)


def write(folder: Path) -> None:
    """Writes the sets as JSON files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, questions in FILES.items():
        (folder / name).write_text(as_json(questions))
        print(f"{folder / name}: {len(questions)} questions")
