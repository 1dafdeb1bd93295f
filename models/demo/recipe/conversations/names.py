"""Names of people: listed ones, and ones put together from syllables.

Syllables make the model copy a name from the conversation instead of choosing among names that it knows.
"""

from random import Random

NAMES = tuple(
    (
        "Ana Bob Carla David Emma Frank Grace Henry Ivan Julia Karl Laura Mark Nina Oscar Paula Quinn Rosa Sam Tina "
        "Uma Victor Wendy Xavier Yara Zoe Adam Bella Chris Diana Eric Fiona George Hannah Isaac Jane Kevin Linda "
        "Martin Nora Oliver Peter Rachel Simon Thomas Ursula Vera William Alice Bruno Clara Daniel Elena Felix Gina "
        "Hugo Irene Jack Kate Leo Maria Nick Olga Paul Rita Stefan Tom Ulrich Vincent Walter Anton Boris Cecile Denis "
        "Eva Fred Gloria Harold Ines Jonas Kim Lucas Monica Nathan Otto Petra Robert Sara Ted Viola Amir Bianca Chloe "
        "Dora Elias Farah Gustav Helena Igor Jasmine Kofi Lars Mina Noor Omar Priya Ravi Sofia Tariq Usha Wei Yuki "
        "Zara Aisha Bjorn Chen Dmitri Esra Fatima Goran Hana Ibrahim Jorge Kenji Leila Mateo Ngozi Oksana Pedro Ramon "
        "Sanjay Tomas Umar Valentina Yusuf Zhang Lily Ruby Ella Ethan Noah Liam Mia Ava Jacob Logan Mason Emily "
        "Abigail Madison Sean Ryan Megan Claire Marie Louis Pierre Luca Marco Giulia Chiara Franz Greta Heidi Klaus "
        "Ingrid Astrid Sven Olaf Freya Rhys Gwen Dylan Owen Nia"
    ).split()
)
# Never in the training data: the checks ask whether such a name is recalled.
HELD_OUT_NAMES = ("Marta", "Tobias", "Selma", "Anders", "Nadia", "Ruben", "Zelda", "Colin", "Ivy", "Magnus")

CONSONANTS = tuple("b c d f g h j k l m n p r s t v w z br ch dr fr gr kr pr sh st th tr".split())
VOWELS = tuple("a e i o u".split())
ENDINGS = ("", "", "n", "s", "r", "l", "m", "k", "t")


def random_name(rng: Random) -> str:
    """Returns a listed name, or one of 3 to 9 letters that is not held out."""
    if rng.random() < 0.3:
        return rng.choice(NAMES)
    while True:
        name = syllables(rng).capitalize()
        if 2 < len(name) < 10 and name not in HELD_OUT_NAMES:
            return name


def syllables(rng: Random) -> str:
    """Returns one to three syllables and an ending, in small letters."""
    count = rng.choice([1, 2, 2, 2, 3])
    name = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(count)) + rng.choice(ENDINGS)
    if rng.random() < 0.3:
        name = rng.choice(VOWELS) + name
    return name


def spelled(name: str) -> str:
    """Returns `A-N-A` for `Ana`."""
    return "-".join(name.upper())
