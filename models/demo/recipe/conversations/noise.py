"""Small changes to the surface of a question, so that an answer does not depend on case, punctuation or courtesies."""

import re
from random import Random

ENDS_OF_SENTENCE = "?.!"
OTHER_ENDS = ("??", "!", "!!", "...", " ?")
PHRASES_AFTER = (", please.", " please", " please?", ", Pip?", " thanks")
PHRASES_BEFORE = (
    "Please, ",
    "Pip, ",
    "Hey, ",
    "So, ",
    "Ok, ",
    "Hi, ",
    "Well, ",
    "Tell me, ",
    "Sorry, ",
    "Quick question: ",
    "And ",
    "Now, ",
    "Excuse me, ",
    "Hello! ",
    "Hi! ",
    "One more thing: ",
    "I was wondering, ",
    "First, ",
)


def noisy(rng: Random, question: str) -> str:
    """Returns the question as somebody in a hurry might have typed it; most come back as they are."""
    question = change_case_or_end(rng, question)
    question = add_phrase(rng, question)
    if rng.random() < 0.06 and len(question) > 8:
        question = misspell(rng, question)
    return question


def change_case_or_end(rng: Random, question: str) -> str:
    """Changes three questions of ten; capitals for short ones without digits alone."""
    chance = rng.random()
    if chance < 0.10:
        return question.lower()
    if chance < 0.20:
        return question.rstrip(ENDS_OF_SENTENCE)
    if chance < 0.24:
        return question.lower().rstrip(ENDS_OF_SENTENCE)
    if chance < 0.27:
        is_short = len(question) < 30 and not re.search(r"\d", question)
        return question.upper() if is_short else question
    if chance < 0.30:
        return question.rstrip(ENDS_OF_SENTENCE) + rng.choice(OTHER_ENDS)
    return question


def add_phrase(rng: Random, question: str) -> str:
    """Adds a phrase after or before one question of ten."""
    chance = rng.random()
    if chance < 0.05:
        return question.rstrip(ENDS_OF_SENTENCE + " ") + rng.choice(PHRASES_AFTER)
    if chance < 0.10:
        # "I", "Is" and "In" stay as they are.
        rest = question if question.startswith("I") else question[0].lower() + question[1:]
        return rng.choice(PHRASES_BEFORE) + rest
    return question


def misspell(rng: Random, question: str) -> str:
    """Swaps two letters, or leaves one out, or doubles one; never the first of the question."""
    at = rng.randrange(1, len(question) - 2)
    if not (question[at].isalpha() and question[at + 1].isalpha()):
        return question
    swapped = question[:at] + question[at + 1] + question[at] + question[at + 2 :]
    left_out = question[:at] + question[at + 1 :]
    doubled = question[: at + 1] + question[at:]
    return rng.choice([swapped, left_out, doubled])
