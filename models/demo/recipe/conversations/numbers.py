"""Sums of small numbers, and counting."""

from collections.abc import Iterable
from random import Random

from recipe.conversations.message import Exchange, Memory
from recipe.conversations.noise import noisy

# Of the pairs of 0 to 20, every seventeenth is never added in training: the checks ask whether the model adds, or
# has learned the answers by heart.
HELD_OUT_SUMS = {(a, b) for a in range(21) for b in range(21) if (a * 7 + b * 13) % 17 == 0}

ADDITIONS = (
    "What is {a} + {b}?",
    "What is {a} plus {b}?",
    "{a}+{b}",
    "{a} + {b} = ?",
    "{a}+{b}=?",
    "How much is {a} plus {b}?",
    "Add {a} and {b}.",
    "Compute {a} + {b}.",
    "What is the sum of {a} and {b}?",
    "Can you add {a} and {b}?",
    "{a} plus {b}",
    "how much is {a}+{b}?",
    "what's {a} + {b}",
    "Calculate {a} plus {b}.",
    "What do you get if you add {a} and {b}?",
    "If I have {a} apples and get {b} more, how many do I have?",
    "Sum {a} and {b}",
    "{a} and {b} together?",
    "How much do {a} and {b} make?",
    "How much is {a} and {b}?",
    "Work out {a} + {b}.",
    "Tell me {a} plus {b}.",
    "{a} + {b} is what?",
    "I need {a} plus {b}.",
)

SUBTRACTIONS = (
    "What is {a} - {b}?",
    "What is {a} minus {b}?",
    "{a}-{b}",
    "{a} - {b} = ?",
    "How much is {a} minus {b}?",
    "Subtract {b} from {a}.",
    "Compute {a} - {b}.",
    "Take {b} from {a}.",
    "{a} minus {b}",
    "how much is {a}-{b}?",
    "Calculate {a} minus {b}.",
    "what's {a} - {b}",
    "If I have {a} apples and eat {b}, how many are left?",
    "{a} take away {b}",
    "What is left of {a} minus {b}?",
    "Work out {a} - {b}.",
    "Tell me {a} minus {b}.",
    "{a} - {b} is what?",
    "What remains if I take {b} from {a}?",
)

MULTIPLICATIONS = (
    "What is {a} times {b}?",
    "What is {a} * {b}?",
    "{a}*{b}",
    "{a} x {b}",
    "How much is {a} times {b}?",
    "Multiply {a} by {b}.",
    "Compute {a} * {b}.",
    "{a} times {b}",
    "Calculate {a} times {b}.",
    "what's {a} x {b}",
    "What is the product of {a} and {b}?",
    "Work out {a} times {b}.",
    "Tell me {a} times {b}.",
    "{a} x {b} = ?",
    "How much makes {a} times {b}?",
)

COUNTS_UP = (
    "Count to {n}.",
    "Count from 1 to {n}.",
    "Can you count to {n}?",
    "count to {n} please",
    "List the numbers from 1 to {n}.",
    "Please count up to {n}.",
)

COUNTS_DOWN = ("Count down from {n}.", "Count backwards from {n}.", "Count down from {n} to 1.", "countdown from {n}")


def sum_of(a: int, b: int) -> str:
    """Returns `7 + 8 = 15.`"""
    return f"{a} + {b} = {a + b}."


def calculation(rng: Random) -> Exchange:
    """A sum (55 in 100), a difference that is not negative (25), or a product up to 10 times 10."""
    chance = rng.random()
    if chance < 0.55:
        return addition(rng)
    if chance < 0.8:
        return subtraction(rng)
    return multiplication(rng)


def addition(rng: Random) -> Exchange:
    while True:
        a, b = rng.randint(0, 20), rng.randint(0, 20)
        if (a, b) not in HELD_OUT_SUMS:
            return Exchange(rng.choice(ADDITIONS).format(a=a, b=b), sum_of(a, b))


def subtraction(rng: Random) -> Exchange:
    a = rng.randint(0, 20)
    b = rng.randint(0, a)
    return Exchange(rng.choice(SUBTRACTIONS).format(a=a, b=b), f"{a} - {b} = {a - b}.")


def multiplication(rng: Random) -> Exchange:
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    return Exchange(rng.choice(MULTIPLICATIONS).format(a=a, b=b), f"{a} x {b} = {a * b}.")


def calculation_in_a_chat(rng: Random, _memory: Memory) -> Exchange:
    """A calculation, changed at times; but not one that begins with its numbers, where a change would hide them."""
    question, answer = calculation(rng)
    if rng.random() < 0.3 and not question[0].isdigit():
        question = noisy(rng, question)
    return Exchange(question, answer)


def listed(numbers: Iterable[int]) -> str:
    """Returns `1, 2, 3.`"""
    return ", ".join(map(str, numbers)) + "."


def counting(rng: Random, _memory: Memory) -> Exchange:
    """Counting up to at most 30, or down from at most 20."""
    if rng.random() < 0.7:
        last = rng.randint(2, 30)
        return Exchange(rng.choice(COUNTS_UP).format(n=last), listed(range(1, last + 1)))
    first = rng.randint(3, 20)
    return Exchange(rng.choice(COUNTS_DOWN).format(n=first), listed(range(first, 0, -1)))
