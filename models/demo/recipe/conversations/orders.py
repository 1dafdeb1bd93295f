"""Orders of the shop. The last digit of an order's number says how far it is, so that any number has one answer."""

import json
from random import Random

from recipe.conversations.message import Exchange, Memory
from recipe.conversations.noise import noisy

# By last digit: the sentence's words, and the word in JSON.
STATES = (
    ("is being packed", "packed"),
    ("is being packed", "packed"),
    ("is being packed", "packed"),
    ("has been shipped", "shipped"),
    ("has been shipped", "shipped"),
    ("has been shipped", "shipped"),
    ("is out for delivery", "delivery"),
    ("is out for delivery", "delivery"),
    ("is out for delivery", "delivery"),
    ("was delivered", "delivered"),
)

ORDER_QUESTIONS = (
    "Where is order {n}?",
    "Where is my order {n}?",
    "What is the status of order {n}?",
    "What's the status of my order {n}?",
    "Track order {n}.",
    "track my order {n} please",
    "Can you track order {n}?",
    "Has order {n} been shipped?",
    "When will order {n} arrive?",
    "I want to know where order {n} is.",
    "order {n}?",
    "Order {n}",
    "Status of order {n}",
    "Check order {n} for me.",
    "Can you check order {n}?",
    "I am waiting for order {n}.",
    "My order is {n}. Where is it?",
    "Please look up order {n}.",
    "Is order {n} on its way?",
    "Any news about order {n}?",
    "Could you tell me where order {n} is?",
    "Did you ship order {n}?",
    "How is order {n} going?",
    "Find order {n}.",
    "What happened to order {n}?",
    "I ordered something, the number is {n}.",
    "Tell me the status of order number {n}.",
    "Where is order number {n}?",
    "Is my order {n} ready?",
)

MY_ORDER_QUESTIONS = (
    "Where is my order?",
    "Where is it?",
    "What is the status of my order?",
    "Can you track my order?",
    "Has my order been shipped?",
    "Is my order on its way?",
    "track my order",
    "When will my order arrive?",
    "Any news about my order?",
    "Where is my package?",
    "Did you ship my order?",
    "Check my order please.",
    "I want to know where my order is.",
)

JSON_REQUESTS = (
    "Give me order {n} as JSON.",
    "Show order {n} in JSON.",
    "order {n} as JSON please",
    "Return order {n} in JSON format.",
    "JSON for order {n}",
)

NUMBER_STATEMENTS = (
    "My order number is {n}.",
    "The order number is {n}.",
    "My order is {n}.",
    "I have order {n}.",
    "I made order {n}.",
    "It is order {n}.",
    "The number of my order is {n}.",
)

NUMBER_ANSWERS = ("{n}", "It is {n}.", "{n}.", "order {n}", "The number is {n}", "My order number is {n}.")


def random_order(rng: Random) -> str:
    """Returns a number of four digits."""
    return str(rng.randint(1000, 9999))


def state_of(order: str) -> str:
    """Returns the sentence that says how far an order is."""
    sentence, _ = STATES[int(order[-1])]
    return f"Order {order} {sentence}."


def state_as_json(order: str) -> str:
    """Returns `{"order": 4417, "status": "delivery"}` for `4417`."""
    _, word = STATES[int(order[-1])]
    return json.dumps({"order": int(order), "status": word})


def order_by_number(rng: Random, memory: Memory) -> Exchange:
    memory.order = random_order(rng)
    return Exchange(noisy(rng, rng.choice(ORDER_QUESTIONS).format(n=memory.order)), state_of(memory.order))


def my_order(rng: Random, memory: Memory) -> Exchange:
    question = noisy(rng, rng.choice(MY_ORDER_QUESTIONS))
    if memory.order:
        return Exchange(question, state_of(memory.order))
    memory.asked_for_order = True
    return Exchange(question, "Please tell me your order number.")


def number_of_my_order(rng: Random, memory: Memory) -> Exchange:
    memory.order = random_order(rng)
    return Exchange(noisy(rng, rng.choice(NUMBER_STATEMENTS).format(n=memory.order)), state_of(memory.order))


def number_when_asked(rng: Random, memory: Memory) -> Exchange:
    memory.order = random_order(rng)
    return Exchange(rng.choice(NUMBER_ANSWERS).format(n=memory.order), state_of(memory.order))


def order_as_json(rng: Random, memory: Memory) -> Exchange:
    memory.order = random_order(rng)
    return Exchange(noisy(rng, rng.choice(JSON_REQUESTS).format(n=memory.order)), state_as_json(memory.order))
