"""What the commands take: a wrong value is refused with the argument's name and what it should be."""

from argparse import ArgumentTypeError
from pathlib import Path


def count(text: str) -> int:
    """Reads a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """Reads a whole number."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def size(text: str) -> int:
    """Reads an even number of at least 2: states are cut in halves."""
    if not text.isdecimal() or int(text) < 2 or int(text) % 2:
        raise ArgumentTypeError(f"{text!r} is not an even number of at least 2")
    return int(text)


def minutes(text: str) -> float:
    """Reads a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number of minutes above 0")
    return number


def folder_with_model(text: str) -> Path:
    """Reads the path of a folder in Hugging Face's layout."""
    folder = Path(text)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ArgumentTypeError(f"{text!r} is no folder of a model: it has no {name}")
    return folder
