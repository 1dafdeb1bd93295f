"""A network's weights: as a checkpoint in full precision, and as safetensors with the names of Qwen3."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from recipe.files.descriptions import TYPE_OF_WEIGHTS, shape_in
from recipe.network import Network
from recipe.shape import ATTENTION_MATRICES, ATTENTION_NORMS, BLOCK_NORMS, FEED_FORWARD_MATRICES, Shape

WRITTEN_TYPE = getattr(torch, TYPE_OF_WEIGHTS)
# `transformers` asks for it.
METADATA = {"format": "pt"}


def part_of_block(name: str) -> str:
    """Returns where a part of a block stands in Qwen3, such as `self_attn.q_proj` for `q_proj`."""
    if name in ATTENTION_MATRICES or name in ATTENTION_NORMS:
        return f"self_attn.{name}"
    return f"mlp.{name}" if name in FEED_FORWARD_MATRICES else name


def published_names(shape: Shape) -> dict[str, str]:
    """Returns the name of each of our weights in Qwen3's files."""
    names = {"embed_tokens.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
    parts = (*BLOCK_NORMS, *ATTENTION_MATRICES, *ATTENTION_NORMS, *FEED_FORWARD_MATRICES)
    for layer in range(shape.layers):
        for part in parts:
            names[f"layers.{layer}.{part}.weight"] = f"model.layers.{layer}.{part_of_block(part)}.weight"
    return names


def published(network: Network) -> dict[str, Tensor]:
    """Returns the weights in 16 bits, by Qwen3's names."""
    weights = network.state_dict()
    names = published_names(network.shape)
    return {name: as_written(weights[own]) for own, name in names.items()}


def as_written(weights: Tensor) -> Tensor:
    return weights.detach().to(WRITTEN_TYPE).contiguous()


def write_model_weights(folder: Path, network: Network) -> None:
    save_file(published(network), folder / "model.safetensors", metadata=METADATA)


def write_embedding_weights(folder: Path, network: Network) -> None:
    """Writes the weights as Qwen3-Embedding names them: without the `model.` that a chat model has."""
    weights = {name.removeprefix("model."): values for name, values in published(network).items()}
    save_file(weights, folder / "model.safetensors", metadata=METADATA)


def write_adapter_weights(folder: Path, weights: dict[str, Tensor]) -> None:
    """Writes the matrices of an adapter, which have PEFT's names already."""
    written = {name: as_written(values) for name, values in weights.items()}
    save_file(written, folder / "adapter_model.safetensors", metadata=METADATA)


def checkpoint_of(folder: Path) -> Path:
    """Returns where the full precision of a model's folder lies: beside it, since nobody else reads it."""
    folder = folder.absolute()
    return folder.with_name(folder.name + ".pt")


def write_checkpoint(folder: Path, network: Network) -> None:
    torch.save({"shape": asdict(network.shape), "weights": network.state_dict()}, checkpoint_of(folder))


def read_network(folder: Path) -> Network:
    """Reads a model: in full precision where its checkpoint was kept, else in the 16 bits of its folder."""
    checkpoint = checkpoint_of(folder)
    if checkpoint.exists():
        kept = torch.load(checkpoint)
        network = Network(Shape(**kept["shape"]))
        network.load_state_dict(kept["weights"])
        return network
    shape = shape_in(json.loads((folder / "config.json").read_text()))
    network = Network(shape)
    written = load_file(folder / "model.safetensors")
    names = published_names(shape)
    network.load_state_dict({own: written[name].float() for own, name in names.items()})
    return network


@torch.no_grad()
def round_as_written(network: Network) -> None:
    """Gives a network the precision that its files have."""
    for weights in network.parameters():
        weights.copy_(weights.to(WRITTEN_TYPE).float())
