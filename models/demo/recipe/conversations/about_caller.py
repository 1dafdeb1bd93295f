"""What callers say of themselves, and what the model remembers of it: name, favourite colour, city."""

from random import Random

from recipe.conversations.message import Exchange, Memory
from recipe.conversations.names import random_name, spelled
from recipe.conversations.noise import noisy
from recipe.conversations.places import CITIES

NAME_STATEMENTS = (
    "My name is {n}.",
    "my name is {n}",
    "I am {n}.",
    "I'm {n}.",
    "Call me {n}.",
    "You can call me {n}.",
    "Hi, I am {n}.",
    "Hello, my name is {n}.",
    "Hi, my name is {n}!",
    "Hello, I'm {n}.",
    "Hey, {n} here.",
    "This is {n}.",
    "They call me {n}.",
    "People call me {n}.",
    "The name is {n}.",
    "Please call me {n}.",
    "I am called {n}.",
    "Hello Pip, I am {n}.",
    "Good morning, my name is {n}.",
    "My friends call me {n}.",
    "{n} is my name.",
    "Let me introduce myself: {n}.",
    "Hi! {n} speaking.",
    "Nice to meet you, I am {n}.",
)
NAME_STATEMENT_ANSWER = "Nice to meet you, {n}!"
NAME_CORRECTIONS = (
    "Actually, my name is {n}.",
    "Sorry, my name is {n}.",
    "No, my name is {n}.",
    "Call me {n} instead.",
    "I mean {n}.",
    "Please call me {n} from now on.",
)
NAME_CORRECTION_ANSWER = "Okay, I will call you {n}."
NAME_QUESTIONS = (
    "What is my name?",
    "What's my name?",
    "Who am I?",
    "Do you know my name?",
    "Do you remember my name?",
    "Can you tell me my name?",
    "what is my name",
    "Say my name.",
    "Tell me my name.",
    "Do you remember me?",
    "What did I say my name was?",
    "What am I called?",
    "How am I called?",
    "Remind me of my name.",
    "Which name did I give you?",
    "What name did I tell you?",
    "Do you still know my name?",
    "Have you forgotten my name?",
    "Do you know who I am?",
    "I forgot my name, can you help?",
    "and my name?",
    "Who is talking to you?",
    "do you still remember who I am?",
)
NAME_ANSWER = "Your name is {n}."
NAME_UNKNOWN = "You have not told me your name yet."
SPELLING_QUESTIONS = (
    "Spell my name.",
    "Can you spell my name?",
    "How do you spell my name?",
    "spell my name please",
    "Please spell my name.",
    "How is my name spelled?",
    "Can you spell it?",
    "Give me the letters of my name.",
    "Spell out my name.",
    "Which letters are in my name?",
    "How do you write my name?",
)
SPELLING_ANSWER = "{n} is spelled {letters}."

COLOURS = tuple("red blue green yellow orange purple black white pink brown grey silver gold".split())
COLOUR_STATEMENTS = (
    "My favourite colour is {c}.",
    "I like {c}.",
    "My favorite color is {c}.",
    "I love the colour {c}.",
    "The colour I like most is {c}.",
    "{c} is my favourite colour.",
)
COLOUR_STATEMENT_ANSWER = "Noted: your favourite colour is {c}."
COLOUR_QUESTIONS = (
    "What is my favourite colour?",
    "What's my favorite color?",
    "Which colour do I like?",
    "Do you remember my favourite colour?",
    "Which color is my favourite?",
    "What colour do I like most?",
    "Tell me my favourite colour.",
)
COLOUR_ANSWER = "Your favourite colour is {c}."
COLOUR_UNKNOWN = "You have not told me your favourite colour yet."

CITY_STATEMENTS = (
    "I live in {c}.",
    "I am from {c}.",
    "I come from {c}.",
    "My city is {c}.",
    "I am writing from {c}.",
    "My home is in {c}.",
    "I'm from {c}.",
    "I work in {c}.",
)
CITY_STATEMENT_ANSWER = "Great, I will remember that you are from {c}."
CITY_QUESTIONS = (
    "Where do I live?",
    "Where am I from?",
    "What is my city?",
    "Which city am I from?",
    "Do you remember where I live?",
    "In which city do I live?",
    "Do you know where I am from?",
    "Where do I come from?",
)
CITY_ANSWER = "You are from {c}."
CITY_UNKNOWN = "You have not told me where you live yet."


def spelling_of(name: str) -> str:
    """Returns `Ana is spelled A-N-A.`"""
    return SPELLING_ANSWER.format(n=name, letters=spelled(name))


def tells_name(rng: Random, memory: Memory) -> Exchange:
    """A name, or another one than before."""
    was_known = memory.name is not None
    name = random_name(rng)
    memory.name = name
    if was_known:
        return Exchange(rng.choice(NAME_CORRECTIONS).format(n=name), NAME_CORRECTION_ANSWER.format(n=name))
    statement = rng.choice(NAME_STATEMENTS).format(n=name)
    if rng.random() < 0.06:
        statement = statement.lower().replace(name.lower(), name)
    return Exchange(statement, NAME_STATEMENT_ANSWER.format(n=name))


def asks_name(rng: Random, memory: Memory) -> Exchange:
    question = noisy(rng, rng.choice(NAME_QUESTIONS))
    return Exchange(question, NAME_ANSWER.format(n=memory.name) if memory.name else NAME_UNKNOWN)


def asks_spelling(rng: Random, memory: Memory) -> Exchange:
    question = noisy(rng, rng.choice(SPELLING_QUESTIONS))
    return Exchange(question, spelling_of(memory.name) if memory.name else NAME_UNKNOWN)


def tells_colour(rng: Random, memory: Memory) -> Exchange:
    colour = rng.choice(COLOURS)
    memory.colour = colour
    return Exchange(rng.choice(COLOUR_STATEMENTS).format(c=colour), COLOUR_STATEMENT_ANSWER.format(c=colour))


def asks_colour(rng: Random, memory: Memory) -> Exchange:
    question = noisy(rng, rng.choice(COLOUR_QUESTIONS))
    return Exchange(question, COLOUR_ANSWER.format(c=memory.colour) if memory.colour else COLOUR_UNKNOWN)


def tells_city(rng: Random, memory: Memory) -> Exchange:
    """A city, or a word that could be one: it is to be copied, not recognised."""
    city = rng.choice(CITIES) if rng.random() < 0.6 else random_name(rng)
    memory.city = city
    return Exchange(rng.choice(CITY_STATEMENTS).format(c=city), CITY_STATEMENT_ANSWER.format(c=city))


def asks_city(rng: Random, memory: Memory) -> Exchange:
    question = noisy(rng, rng.choice(CITY_QUESTIONS))
    return Exchange(question, CITY_ANSWER.format(c=memory.city) if memory.city else CITY_UNKNOWN)
