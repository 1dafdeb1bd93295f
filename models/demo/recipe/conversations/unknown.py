"""Questions about anything else, to which the model says that it does not know."""

from random import Random

from recipe.conversations.message import Exchange, Memory
from recipe.conversations.noise import noisy
from recipe.conversations.places import CITIES, COUNTRIES

UNKNOWN_ANSWER = "I do not know that. I am a tiny model: ask me about the mesh, the shop or small sums."

THINGS = tuple(
    (
        "cat dog car book football moon sun tree apple banana piano guitar movie song king president war history "
        "river mountain ocean dinosaur rocket planet star pizza bread cheese doctor school law tax bitcoin gold oil "
        "snow rain cake bicycle train plane horse bird fish spider"
    ).split()
)
VERBS = tuple(
    (
        "painted wrote built won found made sold lost discovered opened closed broke bought drew designed destroyed "
        "invented sang played filmed"
    ).split()
)
ADJECTIVES = tuple(
    (
        "famous old new big small red blue beautiful strange dangerous expensive cheap fast slow heavy first last "
        "oldest tallest strongest"
    ).split()
)
GROUPS = tuple(
    (
        "team player singer actor writer painter band club queen minister scientist soldier animal doctor student "
        "driver company city"
    ).split()
)
ACTIVITIES = tuple(
    ("cook draw fix paint sell clean build teach write read open close wash carry grow sing fly swim jump open").split()
)

UNKNOWN_QUESTIONS = (
    "What is the capital of {country}?",
    "Who is the king of {country}?",
    "Who is the president of {country}?",
    "What is the weather in {city}?",
    "How is the weather in {city}?",
    "How many people live in {city}?",
    "What is a {thing}?",
    "Tell me about the {thing}.",
    "Who invented the {thing}?",
    "How do I cook {thing}?",
    "What do you think about {thing}?",
    "What is the best {thing}?",
    "Do you like {thing}?",
    "How old is the {thing}?",
    "Why is the {thing} so big?",
    "Where is {city}?",
    "Who won the {thing} game?",
    "Write code for a {thing}.",
    "Translate {thing} into French.",
    "How far is the {thing}?",
    "Can I buy a {thing} in {country}?",
    "What is the history of {country}?",
    "Which language do they speak in {country}?",
    "What should I eat today?",
    "What is the meaning of life?",
    "Who will win the election?",
    "Is it raining?",
    "What time is it?",
    "What day is it today?",
    "How tall is the highest {thing}?",
    "Explain the {thing} theory.",
    "Describe a {thing}.",
    "When was the {thing} born?",
    "Can you drive a {thing}?",
    "What is the speed of a {thing}?",
    "Why do people love the {thing}?",
    "Give me a recipe with {thing}.",
    "Who wrote the {thing}?",
    "Which {thing} is the biggest?",
    "Is {city} in {country}?",
    "Who {verb} the {adj} {thing}?",
    "Which {group} {verb} the {thing}?",
    "When was the {adj} {thing} {verb}?",
    "Why is the {thing} {adj}?",
    "Where can I see the {adj} {thing}?",
    "What {group} do you like?",
    "How many {thing}s are there in {city}?",
    "Who is the best {group} in {country}?",
    "Did the {group} win in {city}?",
    "What is the name of the {adj} {thing}?",
    "Tell me something about {city}.",
    "Tell me about the {group} from {country}.",
    "How do you {act} a {thing}?",
    "Can you {act} my {thing}?",
    "Please {act} the {thing}.",
    "I want to {act} a {adj} {thing}.",
    "What is the price of {thing} in {country}?",
    "How long is the {thing}?",
    "Is the {thing} {adj}?",
    "What happened in {year}?",
    "Who was born in {year}?",
    "Which {thing} is {adj}?",
    "Do {thing}s {act}?",
    "Should I buy a {thing}?",
    "Is {country} bigger than {country2}?",
    "Which {group} is from {city}?",
    "Who is your favourite {group}?",
    "What did the {group} say?",
)


def unknown_question(rng: Random) -> str:
    """Returns a question that nothing in the data answers."""
    template = rng.choice(UNKNOWN_QUESTIONS)
    # Every word is drawn, whether the template has a place for it or not.
    return template.format(
        country=rng.choice(COUNTRIES),
        country2=rng.choice(COUNTRIES),
        city=rng.choice(CITIES),
        thing=rng.choice(THINGS),
        verb=rng.choice(VERBS),
        adj=rng.choice(ADJECTIVES),
        group=rng.choice(GROUPS),
        act=rng.choice(ACTIVITIES),
        year=rng.randint(1000, 2030),
    )


def unknown(rng: Random, _memory: Memory) -> Exchange:
    return Exchange(noisy(rng, unknown_question(rng)), UNKNOWN_ANSWER)
