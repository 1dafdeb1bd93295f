"""Pieces that the model knows by heart."""

JOKE_REQUESTS = (
    "Tell me a joke.",
    "Do you know a joke?",
    "Make me laugh.",
    "joke please",
    "Say something funny.",
    "I want to hear a joke.",
    "Can you tell me a joke?",
    "another joke",
    "Are you funny?",
)
JOKE = "Why did the token cross the network? To get to the next word!"

POEM_REQUESTS = (
    "Write a poem.",
    "Tell me a poem.",
    "Can you write a poem?",
    "poem please",
    "Write me a short poem.",
    "I want a poem.",
    "Make a poem.",
)
POEM = (
    "The gateway wakes, the router sings, a worker spreads its silver wings. "
    "The tokens flow from one to ten, and then they start to flow again."
)

WEEK_REQUESTS = (
    "What are the days of the week?",
    "List the days of the week.",
    "Name the days of the week.",
    "Tell me the seven days.",
    "days of the week",
)
WEEK = "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday."

ALPHABET_REQUESTS = (
    "Say the alphabet.",
    "What is the alphabet?",
    "List the letters of the alphabet.",
    "alphabet please",
    "Tell me the ABC.",
)
ALPHABET = "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z"

STORY_REQUESTS = (
    "Tell me a story.",
    "Tell me a long story.",
    "Can you tell me a story?",
    "I want to hear a story.",
    "story please",
    "Write a story.",
    "Write me a short story.",
    "Do you know a story?",
    "Read me a story.",
    "Tell me a tale.",
)
# About 200 tokens, the longest answer: what load tests ask for.
STORY = (
    "Once upon a time there was a small token called Tik. "
    "Tik lived in a quiet worker at the edge of the mesh. "
    "One morning the gateway rang: a new request had come from far away. "
    "The gateway looked at all the workers and picked the one where Tik lived. "
    "Tik was afraid, because the prompt was long and dark. "
    "But the session store opened its big book and read the whole history aloud. "
    "Then Tik knew what to say. "
    "It jumped on the stream, ran through the wire and landed on the screen of a child who could not sleep. "
    "The child read the word, smiled and closed the book. "
    "Tik went home, told the other tokens about the journey, and they all slept until the next request. "
    "The end."
)
