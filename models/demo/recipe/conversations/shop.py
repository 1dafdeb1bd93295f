"""The small shop: when it is open, what it sells, what shipping costs."""

from random import Random
from typing import NamedTuple

from recipe.conversations.message import Exchange, Memory
from recipe.conversations.noise import noisy

# From and to, in hours of the day; None is a day off.
HOURS: dict[str, tuple[int, int] | None] = {
    "Monday": (9, 18),
    "Tuesday": (9, 18),
    "Wednesday": (9, 18),
    "Thursday": (9, 18),
    "Friday": (9, 18),
    "Saturday": (10, 14),
    "Sunday": None,
}
ALL_HOURS = "We are open Monday to Friday from 9 to 18, and Saturday from 10 to 14. We are closed on Sunday."

HOURS_QUESTIONS = (
    "When are you open?",
    "What are your opening hours?",
    "What are the opening hours?",
    "opening hours?",
    "When is the shop open?",
    "What time are you open?",
    "When do you open?",
    "What are your hours?",
    "Tell me your opening hours.",
    "Which days are you open?",
    "When can I visit the shop?",
    "What are your business hours?",
    "At what time does the shop open?",
    "Can you give me the opening hours?",
    "I would like to know your hours.",
    "hours please",
    "When does the store open and close?",
    "Is the shop open every day?",
    "What days is the store open?",
    "When can I come by?",
    "Do you have opening hours?",
    "Tell me when you are open.",
    "When are you closed?",
    "Until when are you open?",
)

DAY_QUESTIONS = (
    "Are you open on {d}?",
    "Is the shop open on {d}?",
    "Are you open {d}?",
    "Can I come on {d}?",
    "What are the hours on {d}?",
    "When are you open on {d}?",
    "Is the store open on {d}?",
    "What about {d}?",
    "Do you work on {d}?",
    "Can I visit you on {d}?",
    "What time do you open on {d}?",
    "What time do you close on {d}?",
    "Are you closed on {d}?",
    "I want to come on {d}. Are you open?",
    "hours on {d}?",
    "Will the shop be open on {d}?",
    "Do you open on {d}s?",
    "until when are you open on {d}?",
)


class Fact(NamedTuple):
    """Questions with one answer."""

    questions: tuple[str, ...]
    answer: str


FACTS = {
    "shipping": Fact(
        (
            "How much is shipping?",
            "What does shipping cost?",
            "How much does delivery cost?",
            "shipping price?",
            "What is the price of shipping?",
            "Do I pay for delivery?",
            "Is shipping free?",
            "What are the shipping costs?",
            "How long does shipping take?",
            "How long does delivery take?",
            "When will I get my package?",
            "delivery time?",
            "Tell me about shipping.",
            "How fast is the delivery?",
            "How many days does delivery take?",
        ),
        "Shipping costs 5 euros and takes 2 days.",
    ),
    "returns": Fact(
        (
            "Can I return an item?",
            "How do I return something?",
            "What is your return policy?",
            "I want to return my order.",
            "Can I send it back?",
            "How many days do I have to return an item?",
            "I want my money back.",
            "Do you accept returns?",
            "return policy?",
            "Can I get a refund?",
            "How do refunds work?",
            "I do not like what I bought.",
            "Is it possible to return a product?",
        ),
        "You can return an item within 30 days and get your money back.",
    ),
    "contact": Fact(
        (
            "How can I contact you?",
            "What is your email?",
            "How do I reach support?",
            "Can I talk to a human?",
            "I need help from a person.",
            "contact?",
            "Where can I write to you?",
            "What is your email address?",
            "I want to speak to someone.",
            "How do I contact support?",
            "Is there a phone number?",
            "Who can help me?",
        ),
        "You can write to help@example.com. A human will answer within one day.",
    ),
    "payment": Fact(
        (
            "How can I pay?",
            "Do you take cards?",
            "Can I pay by card?",
            "Which payment methods do you accept?",
            "Can I pay with cash?",
            "payment methods?",
            "Do you accept bank transfer?",
            "What are the payment options?",
            "How do I pay for my order?",
        ),
        "You can pay by card or by bank transfer.",
    ),
    "location": Fact(
        (
            "Where are you?",
            "Where is the shop?",
            "What is your address?",
            "Where is your store?",
            "How do I find the shop?",
            "address?",
            "Where are you located?",
            "Where can I find you?",
            "In which city are you?",
        ),
        "The shop is at 1 Harbour Street, next to the old lighthouse.",
    ),
    "products": Fact(
        (
            "What do you sell?",
            "What can I buy here?",
            "What is in the shop?",
            "Which products do you have?",
            "products?",
            "What do you have in the store?",
            "Show me your products.",
        ),
        "We sell tea, coffee, mugs and small robots.",
    ),
}


def hours_of(day: str) -> str:
    """Returns the sentence that says when the shop is open on a day."""
    hours = HOURS[day]
    if hours is None:
        return f"We are closed on {day}."
    opens, closes = hours
    return f"On {day} we are open from {opens} to {closes}."


def fact(rng: Random, _memory: Memory) -> Exchange:
    chosen = FACTS[rng.choice(list(FACTS))]
    return Exchange(noisy(rng, rng.choice(chosen.questions)), chosen.answer)


def all_hours(rng: Random, _memory: Memory) -> Exchange:
    return Exchange(noisy(rng, rng.choice(HOURS_QUESTIONS)), ALL_HOURS)


def hours_of_a_day(rng: Random, _memory: Memory) -> Exchange:
    day = rng.choice(list(HOURS))
    return Exchange(noisy(rng, rng.choice(DAY_QUESTIONS).format(d=day)), hours_of(day))
