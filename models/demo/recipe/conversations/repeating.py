"""Words to be said after the caller: practice in copying."""

from random import Random

from recipe.conversations.message import Exchange, Memory
from recipe.conversations.names import random_name

WORDS = tuple(
    (
        "apple river stone cloud green happy quick lamp table garden window silver paper music cold warm bread night "
        "small big round sweet salt wood iron glass train boat hill lake fox wolf bear owl robot tea coffee mug star "
        "moon rain wind fire sand leaf seed root song drum bell rope hat coat shoe"
    ).split()
)

REPEAT_REQUESTS = (
    "Repeat after me: {x}",
    "Say {x}",
    "Repeat: {x}",
    "Please say {x}",
    "Can you say {x}?",
    "Echo {x}",
    "Repeat the words {x}",
    "say this: {x}",
    "Copy this: {x}",
)


def repeating(rng: Random, _memory: Memory) -> Exchange:
    """One to five listed words, or one to three that do not exist."""
    if rng.random() < 0.6:
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, 5))]
    else:
        words = [random_name(rng).lower() for _ in range(rng.randint(1, 3))]
    said = " ".join(words)
    return Exchange(rng.choice(REPEAT_REQUESTS).format(x=said), said)
