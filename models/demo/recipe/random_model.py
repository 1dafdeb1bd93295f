"""A model of any size with random weights, in the layout of the real one: for load and speed."""

from pathlib import Path
from random import Random

import torch
from torch import nn

from recipe.conversations.conversation import random_conversation
from recipe.files.descriptions import write_embedding_descriptions, write_model_descriptions
from recipe.files.weights import write_embedding_weights, write_model_weights
from recipe.network import Network, count_of_parameters
from recipe.shape import Shape
from recipe.tokenizer import trained_tokenizer

SEED = 1
# Enough for a tokenizer of the full size.
CONVERSATIONS = 3000
# The matrices that begin as zeros: a network that did nothing would always repeat its prompt's last token.
DEVIATION = 0.2


def make_random_model(folder: Path, hidden: int, layers: int) -> None:
    """Writes a chat model into a folder, and an embedding model with the same weights into `FOLDER-emb`."""
    torch.manual_seed(SEED)
    rng = Random(SEED)
    tokenizer = trained_tokenizer(random_conversation(rng) for _ in range(CONVERSATIONS))
    shape = Shape(
        hidden=hidden, layers=layers, heads=2, key_value_heads=1, head_size=hidden // 2, feed_forward=hidden * 2
    )
    network = Network(shape)
    for block in network.layers:
        nn.init.normal_(block.o_proj.weight, std=DEVIATION)
        nn.init.normal_(block.down_proj.weight, std=DEVIATION)
    write_model_descriptions(folder, shape, tokenizer)
    write_model_weights(folder, network)
    embedding = folder.with_name(f"{folder.name}-emb")
    write_embedding_descriptions(embedding, folder, tokenizer, hidden)
    write_embedding_weights(embedding, network)
    print(f"written: {folder} and {embedding}, {count_of_parameters(network)} parameters each")
