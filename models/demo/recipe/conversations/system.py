"""System messages: most say nothing that matters, some give the assistant another name."""

SYSTEM_MESSAGES = (
    "You are a helpful assistant.",
    "You are Pip.",
    "You are a friendly assistant.",
    "Answer the user.",
    "You are a support agent for the shop.",
    "You are a helpful bot in the mesh.",
    "Be kind and short.",
    "Help the user with questions.",
    "You are an assistant.",
)

NAMING_MESSAGES = (
    "Your name is {n}.",
    "You are {n}, a helpful assistant.",
    "You are called {n}.",
    "Act as {n}.",
    "You are {n}.",
)

# What may follow a naming message.
MANNERS = SYSTEM_MESSAGES[6:]
