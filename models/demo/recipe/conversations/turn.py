"""One turn of a conversation: which topic comes next."""

from collections.abc import Callable
from random import Random

from recipe.conversations import about_caller, mesh, numbers, orders, repeating, shop, small_talk, unknown
from recipe.conversations.message import Exchange, Memory

Topic = Callable[[Random, Memory], Exchange]


def turn(rng: Random, memory: Memory) -> Exchange:
    """Returns what the caller says next and the answer, and remembers it."""
    # Not used, but drawn: without it every seed would give other data than the committed weights have seen.
    rng.random()
    if memory.asked_for_order and memory.order is None:
        memory.asked_for_order = False
        if rng.random() < 0.85:
            return orders.number_when_asked(rng, memory)
    return picked(rng, weighted_topics(memory))(rng, memory)


def weighted_topics(memory: Memory) -> list[tuple[float, Topic]]:
    """Returns the topics, each with its weight; what the caller has told is asked for more often, and told less."""
    return [
        (0.04, small_talk.greeting),
        (0.03, small_talk.who_are_you),
        (0.12, small_talk.remark),
        (0.17, mesh.definition),
        (0.02, shop.all_hours),
        (0.04, shop.hours_of_a_day),
        (0.04, shop.fact),
        (0.05, orders.order_by_number),
        (0.025, orders.my_order),
        (0.012, orders.number_of_my_order),
        (0.02, orders.order_as_json),
        (0.03 if memory.name else 0.16, about_caller.tells_name),
        (0.15 if memory.name else 0.015, about_caller.asks_name),
        (0.12 if memory.name else 0.005, about_caller.asks_spelling),
        (0.005 if memory.colour else 0.025, about_caller.tells_colour),
        (0.05 if memory.colour else 0.008, about_caller.asks_colour),
        (0.005 if memory.city else 0.025, about_caller.tells_city),
        (0.05 if memory.city else 0.008, about_caller.asks_city),
        (0.16, numbers.calculation_in_a_chat),
        (0.07, unknown.unknown),
        (0.02, numbers.counting),
        (0.06, repeating.repeating),
        (0.005, small_talk.story),
    ]


def picked(rng: Random, topics: list[tuple[float, Topic]]) -> Topic:
    """Returns one topic, with a probability in proportion to its weight."""
    left = rng.random() * sum(weight for weight, _ in topics)
    for weight, topic in topics:
        left -= weight
        if left <= 0:
            return topic
    # The weights do not add up to their sum where they are rounded.
    return topics[-1][1]
