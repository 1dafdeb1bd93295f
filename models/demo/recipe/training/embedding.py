"""Trains the embedding model: questions of one intent get vectors that point the same way.

The chat model's network, and of its states the one at the end of a text. A batch has two questions of each intent;
each question has to find the other among all (InfoNCE, arXiv 1807.03748).
"""

from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from recipe.files.descriptions import with_end_of_text, write_embedding_descriptions
from recipe.files.weights import read_network, write_embedding_weights
from recipe.intents import HELD_OUT, Intent, all_intents
from recipe.network import Network
from recipe.tokenizer import END_OF_TEXT, number_of, tokens_of
from recipe.training.budget import Budget, tuning_rate
from recipe.training.muon import set_rate

INTENTS_OF_A_BATCH = 48
# Lower makes the nearest wrong questions weigh more.
TEMPERATURE = 0.07
HIGHEST_RATE = 5e-4
WEIGHT_DECAY = 0.01
STEPS_BETWEEN_LINES = 25
# Of so many questions the mean is what an intent is compared by.
QUESTIONS_OF_A_MEAN = 8


def make_embedding(model: Path, folder: Path, budget: Budget) -> None:
    """Trains an embedding model from the chat model of a folder, and writes its own folder."""
    torch.set_num_threads(budget.threads)
    torch.manual_seed(5)
    rng = Random(55)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    network = read_network(model)
    intents = all_intents()
    print(f"{len(intents)} intents", flush=True)
    train(network, tokenizer, intents, rng, budget)
    examine(network, tokenizer, intents, rng)
    write_embedding_descriptions(folder, model, with_end_of_text(tokenizer), network.shape.hidden)
    write_embedding_weights(folder, network)
    print(f"written: {folder}", flush=True)


def vectors(network: Network, tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Returns a vector of unit length for each text, `texts, hidden`."""
    end = number_of(tokenizer, END_OF_TEXT)
    tokens = [[*tokens_of(tokenizer, text), end] for text in texts]
    padded = torch.full((len(tokens), max(map(len, tokens))), end)
    for row, own in enumerate(tokens):
        padded[row, : len(own)] = torch.tensor(own)
    ends = torch.tensor([len(own) - 1 for own in tokens])
    return functional.normalize(network.states(padded)[torch.arange(len(tokens)), ends], dim=-1)


def train(network: Network, tokenizer: Tokenizer, intents: dict[str, Intent], rng: Random, budget: Budget) -> None:
    """Trains the whole network until the budget is spent."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=HIGHEST_RATE, weight_decay=WEIGHT_DECAY)
    half = INTENTS_OF_A_BATCH
    # In a batch the partner of the first question stands at 48, and the other way round.
    partners = torch.cat([torch.arange(half, 2 * half), torch.arange(half)])
    step = 0
    while (spent := budget.spent(step)) < 1:
        set_rate(optimizer, tuning_rate(HIGHEST_RATE, step, spent))
        chosen = rng.sample(list(intents), half)
        texts = [intents[name](rng) for name in (*chosen, *chosen)]
        found = likeness(vectors(network, tokenizer, texts))
        loss = functional.cross_entropy(found, partners)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % STEPS_BETWEEN_LINES == 0:
            right = (found.argmax(1) == partners).float().mean()
            print(f"step {step}, loss {loss.item():.4f}, {right:.0%} found, {spent:.0%} of the budget", flush=True)


def likeness(batch: Tensor) -> Tensor:
    """Returns how alike each two vectors are; none is like itself."""
    alike = batch @ batch.T / TEMPERATURE
    alike.fill_diagonal_(-1e9)
    return alike


@torch.no_grad()
def examine(network: Network, tokenizer: Tokenizer, intents: dict[str, Intent], rng: Random) -> None:
    """Prints for how many held-out questions the nearest intent is the right one."""
    means = torch.stack([mean_vector(network, tokenizer, intent, rng) for intent in intents.values()])
    questions = vectors(network, tokenizer, [question for _, question in HELD_OUT])
    nearest = (questions @ functional.normalize(means, dim=-1).T).argmax(1)
    names = list(intents)
    right = 0
    for (name, question), index in zip(HELD_OUT, nearest, strict=True):
        if names[index] == name:
            right += 1
        else:
            print(f"  wrong: {question!r} was taken for {names[index]}, not {name}")
    print(f"held-out questions: {right} of {len(HELD_OUT)} intents right", flush=True)


def mean_vector(network: Network, tokenizer: Tokenizer, intent: Intent, rng: Random) -> Tensor:
    return vectors(network, tokenizer, [intent(rng) for _ in range(QUESTIONS_OF_A_MEAN)]).mean(0)
