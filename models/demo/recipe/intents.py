"""Intents: questions that mean the same, for the embedding model to lay side by side."""

from collections.abc import Callable
from functools import partial
from random import Random

from recipe.conversations import about_caller, mesh, numbers, orders, recited, repeating, shop, small_talk, unknown
from recipe.conversations.message import Memory
from recipe.conversations.names import random_name
from recipe.conversations.noise import noisy

# Makes another question of the same intent each time.
Intent = Callable[[Random], str]


def all_intents() -> dict[str, Intent]:
    """Returns the intents by name."""
    intents: dict[str, Intent] = {}
    for term in mesh.TERMS:
        intents[f"def:{term}"] = partial(mesh.definition_question, term=term)
    for name, fact in shop.FACTS.items():
        intents[f"shop:{name}"] = partial(one_of, fact.questions)
    for index, remark in enumerate(small_talk.REMARKS):
        intents[f"chat:{index}"] = partial(one_of, remark.phrases)
    return intents | {
        "hours": opening_hours,
        "order": order,
        "math": lambda rng: numbers.calculation(rng).question,
        "unknown": unknown.unknown_question,
        "count": lambda rng: numbers.counting(rng, Memory()).question,
        "greet": lambda rng: rng.choice(small_talk.GREETINGS),
        "who": partial(one_of, small_talk.WHO_ARE_YOU),
        "story": partial(one_of, recited.STORY_REQUESTS),
        "name_in": lambda rng: rng.choice(about_caller.NAME_STATEMENTS).format(n=random_name(rng)),
        "name_q": partial(one_of, about_caller.NAME_QUESTIONS),
        "say": three_words,
    }


def one_of(questions: tuple[str, ...], rng: Random) -> str:
    return noisy(rng, rng.choice(questions))


def opening_hours(rng: Random) -> str:
    if rng.random() < 0.5:
        return noisy(rng, rng.choice(shop.HOURS_QUESTIONS))
    return noisy(rng, rng.choice(shop.DAY_QUESTIONS).format(d=rng.choice(list(shop.HOURS))))


def order(rng: Random) -> str:
    if rng.random() < 0.7:
        return noisy(rng, rng.choice(orders.ORDER_QUESTIONS).format(n=orders.random_order(rng)))
    return noisy(rng, rng.choice(orders.MY_ORDER_QUESTIONS))


def three_words(rng: Random) -> str:
    template = rng.choice(repeating.REPEAT_REQUESTS)
    return template.format(x=" ".join(rng.choice(repeating.WORDS) for _ in range(3)))


# By intent, questions that are never made. The names are those of `all_intents`.
HELD_OUT = (
    ("def:router", "In one sentence, what's the role of the router?"),
    ("def:gateway", "Could you say what a gateway does in the mesh?"),
    ("def:kv cache", "What's a KV cache good for?"),
    ("hours", "Can you tell me at what hours you are open?"),
    ("hours", "Could I visit the shop on a Sunday?"),
    ("shop:shipping", "What do I have to pay for shipping?"),
    ("shop:returns", "I would like to give this back, can I get my money?"),
    ("order", "Could you look where order 5523 is right now?"),
    ("math", "Tell me how much 7 plus 8 makes"),
    ("unknown", "Who painted the famous picture in Paris?"),
    ("name_q", "Do you happen to know my name?"),
    ("story", "I would love a story, please tell one"),
    ("def:lora", "What is a LoRA adapter good for?"),
    ("shop:contact", "Is there an email address I can write to?"),
    ("who", "May I ask your name?"),
)
