"""Trains tiny versions of the three for a few steps: proof that the recipe runs, not that it teaches anything.

The way is the whole one: data, training, files, and what is made from those files. Seconds on one core.
"""

from math import log
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from recipe.conversations.conversation import random_conversation
from recipe.conversations.message import Conversation
from recipe.exam import Examinee
from recipe.files.gguf_file import write_gguf
from recipe.files.weights import checkpoint_of, read_network, round_as_written
from recipe.held_out import SET_A
from recipe.network import Network
from recipe.shape import Shape
from recipe.tokenizer import END_OF_TEXT, number_of
from recipe.training.adapter import make_adapter, pirate_conversations
from recipe.training.batches import examples_of, loss_of, padded
from recipe.training.budget import Budget
from recipe.training.embedding import make_embedding
from recipe.training.model import Settings, make_model

STEPS = 20
SHAPE = Shape(hidden=32, layers=2, heads=2, key_value_heads=1, head_size=16, feed_forward=64)
CONVERSATIONS = 300


def check_training() -> None:
    """Fails where a step of the recipe does, or where what came out cannot have been trained."""
    with TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        check_model(model)
        check_adapter(model, Path(folder) / "lora")
        check_embedding(model, Path(folder) / "embed")
        write_gguf(model, Path(folder) / "model.gguf", "Q8_0")
    print("the recipe runs: model, adapter, embedding model, GGUF file")


def budget() -> Budget:
    return Budget(minutes=1, threads=1, steps=STEPS)


def demand(is_so: bool, what: str) -> None:
    if not is_so:
        raise ValueError(f"{what}: the recipe does not train as it should")


def check_model(folder: Path) -> None:
    """Trains, reads what was written, and asks it."""
    settings = Settings(budget(), SHAPE, conversations=CONVERSATIONS, batch_tokens=2048)
    trained, tokenizer = make_model(folder, settings)
    rng = Random(1)
    loss = mean_loss(trained, tokenizer, [random_conversation(rng) for _ in range(20)])
    print(f"loss of conversations that were not trained: {loss:.4f}")
    demand(loss < log(SHAPE.vocabulary), "after training, guessing would be better than the model")
    kept = read_network(folder)
    demand(is_same(trained, kept), "the checkpoint is not the network")
    checkpoint_of(folder).unlink()
    round_as_written(kept)
    demand(is_same(kept, read_network(folder)), "the weights in the folder are not the network's in 16 bits")
    Examinee(trained, tokenizer).misses(SET_A[:2])


def check_adapter(model: Path, folder: Path) -> None:
    """Trains, and looks whether the pirate's words have become likelier."""
    adapted, tokenizer = make_adapter(model, folder, 4, budget(), CONVERSATIONS)
    conversations = pirate_conversations(Random(1), 20)
    before = mean_loss(read_network(model), tokenizer, conversations)
    after = mean_loss(adapted, tokenizer, conversations)
    print(f"loss of a pirate's conversations: {before:.4f} without the adapter, {after:.4f} with it")
    demand(after < before, "the adapter makes a pirate's answers no likelier")
    matrices = load_file(folder / "adapter_model.safetensors")
    demand(len(matrices) == SHAPE.layers * 7 * 2, "the adapter has not two matrices for each of the model's")


def check_embedding(model: Path, folder: Path) -> None:
    """Trains, and looks whether that changed the weights, and whether texts get their end."""
    make_embedding(model, folder, budget())
    name = "embed_tokens.weight"
    weights = load_file(folder / "model.safetensors")
    demand(name in weights, "the weights have not the names of Qwen3-Embedding")
    before = load_file(model / "model.safetensors")[f"model.{name}"]
    demand(not torch.equal(weights[name], before), "the embedding model is the chat model")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    demand(tokenizer.encode("Hello").ids[-1] == number_of(tokenizer, END_OF_TEXT), "the tokenizer does not end a text")


@torch.no_grad()
def mean_loss(network: Network, tokenizer: Tokenizer, conversations: list[Conversation]) -> float:
    batch = padded(examples_of(tokenizer, conversations), number_of(tokenizer, END_OF_TEXT))
    return loss_of(network, batch.tokens, batch.weights).item()


def is_same(one: Network, other: Network) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(weights, theirs[name]) for name, weights in one.state_dict().items())
