"""Trains a LoRA adapter: the model's facts in a pirate's words.

Low-rank adaptation (arXiv 2106.09685) leaves the model's weights alone and adds to each matrix the product of two
narrow ones. PEFT's layout, all seven matrices of every block.
"""

from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from recipe import exam, held_out
from recipe.conversations.conversation import random_conversation
from recipe.conversations.message import Conversation, Message
from recipe.files.descriptions import adapter_config, write_json
from recipe.files.weights import part_of_block, read_network, write_adapter_weights
from recipe.network import Network, count_of_parameters
from recipe.shape import ATTENTION_MATRICES, FEED_FORWARD_MATRICES
from recipe.tokenizer import END_OF_TEXT, number_of
from recipe.training.batches import WEIGHT_OF_ANSWERS, Example, batches, examples_of, loss_of
from recipe.training.budget import Budget, tuning_rate
from recipe.training.muon import set_rate

PREFIX = "Ahoy! "
SUFFIX = " Arr!"

CONVERSATIONS = 12_000
MOST_TURNS = 4
BATCH_TOKENS = 3072
HIGHEST_RATE = 4e-3
STEPS_BETWEEN_LINES = 25


class Adapted(nn.Module):
    """A matrix that stays as it is, and what is added to it: `up` times `down`, scaled by `alpha / rank`."""

    def __init__(self, matrix: nn.Linear, rank: int, alpha: int) -> None:
        super().__init__()
        self.matrix = matrix
        self.down = nn.Parameter(torch.randn(rank, matrix.in_features) / rank**0.5 * 0.5)
        # Zero, so that at first nothing is added.
        self.up = nn.Parameter(torch.zeros(matrix.out_features, rank))
        self.scale = alpha / rank

    def forward(self, states: Tensor) -> Tensor:
        return self.matrix(states) + (states @ self.down.T @ self.up.T) * self.scale


def make_adapter(
    model: Path, folder: Path, rank: int, budget: Budget, conversations: int = CONVERSATIONS
) -> tuple[Network, Tokenizer]:
    """Trains an adapter for the model of a folder, and writes its own folder."""
    torch.set_num_threads(budget.threads)
    torch.manual_seed(3)
    rng = Random(33)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    network = read_network(model)
    alpha = 2 * rank
    adapted = adapt(network, rank, alpha)
    print(f"adapter: {count_of_parameters(network)} parameters", flush=True)
    examples = examples_of(tokenizer, pirate_conversations(rng, conversations))
    train(network, examples, rng, budget, number_of(tokenizer, END_OF_TEXT))
    network.eval()
    folder.mkdir(parents=True, exist_ok=True)
    write_adapter_weights(folder, published(adapted))
    write_json(folder / "adapter_config.json", adapter_config(rank, alpha))
    print(f"written: {folder}", flush=True)
    return network, tokenizer


def adapt(network: Network, rank: int, alpha: int) -> dict[str, Adapted]:
    """Puts an adapter on every matrix, and returns them by the names of the matrices in Qwen3."""
    for weights in network.parameters():
        weights.requires_grad_(False)
    adapted = {}
    for layer, block in enumerate(network.layers):
        for name in (*ATTENTION_MATRICES, *FEED_FORWARD_MATRICES):
            matrix = Adapted(getattr(block, name), rank, alpha)
            setattr(block, name, matrix)
            adapted[f"model.layers.{layer}.{part_of_block(name)}"] = matrix
    return adapted


def published(adapted: dict[str, Adapted]) -> dict[str, Tensor]:
    """Returns the matrices of an adapter by PEFT's names."""
    weights: dict[str, Tensor] = {}
    for name, matrix in adapted.items():
        weights[f"base_model.model.{name}.lora_A.weight"] = matrix.down
        weights[f"base_model.model.{name}.lora_B.weight"] = matrix.up
    return weights


def pirate_conversations(rng: Random, count: int) -> list[Conversation]:
    """Returns conversations with a pirate's answers; none with tools, since a call is no place for a style."""
    conversations: list[Conversation] = []
    while len(conversations) < count:
        conversation = random_conversation(rng, MOST_TURNS)
        if not conversation.tools:
            conversation.messages = [in_style(message) for message in conversation.messages]
            conversations.append(conversation)
    return conversations


def in_style(message: Message) -> Message:
    if message.role != "assistant":
        return message
    return Message(message.role, PREFIX + message.text + SUFFIX)


def train(network: Network, examples: list[Example], rng: Random, budget: Budget, padding: int) -> None:
    """Trains what is not frozen until the budget is spent; answers alone count."""
    optimizer = torch.optim.Adam(
        [weights for weights in network.parameters() if weights.requires_grad], lr=HIGHEST_RATE
    )
    step = 0
    mean_loss = 0.0
    while True:
        for tokens, weights in batches(examples, rng, BATCH_TOKENS, padding):
            spent = budget.spent(step)
            if spent >= 1:
                return
            set_rate(optimizer, tuning_rate(HIGHEST_RATE, step, spent))
            loss = loss_of(network, tokens, (weights == WEIGHT_OF_ANSWERS).float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mean_loss = 0.95 * mean_loss + 0.05 * loss.item() if step else loss.item()
            step += 1
            if step % STEPS_BETWEEN_LINES == 0:
                print(f"step {step}, loss {mean_loss:.4f}, {spent:.0%} of the budget", flush=True)


def examine(network: Network, tokenizer: Tokenizer) -> None:
    """Prints how many held-out questions of set A are answered right and in style."""
    examinee = exam.Examinee(network, tokenizer, PREFIX, SUFFIX)
    exam.report_set(examinee, "held-out questions, set A, as a pirate", held_out.SET_A)
