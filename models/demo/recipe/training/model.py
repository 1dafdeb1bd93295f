"""Trains the model from nothing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy
import torch
from tokenizers import Tokenizer

from recipe import exam, held_out
from recipe.conversations.conversation import training_conversations
from recipe.conversations.message import Conversation
from recipe.conversations.template import rendered
from recipe.files.descriptions import write_model_descriptions
from recipe.files.weights import round_as_written, write_checkpoint, write_model_weights
from recipe.network import Network, count_of_parameters
from recipe.shape import Shape
from recipe.tokenizer import END_OF_TEXT, number_of, tokens_of, trained_tokenizer
from recipe.training.batches import Batch, Example, batches, examples_of, loss_of
from recipe.training.budget import Budget, model_rate
from recipe.training.muon import MuonAndAdam

# Longer gradients are shortened to this.
LONGEST_GRADIENT = 1.0
# The highest learning rates.
MUON_RATE = 0.02
ADAM_RATE = 3e-3
# Between two lines about the progress.
SECONDS_BETWEEN_LINES = 30


@dataclass(frozen=True)
class Settings:
    """What a run is made from; with a number of steps it can be repeated."""

    budget: Budget
    shape: Shape = field(default_factory=Shape)
    seed: int = 7
    conversations: int = 160_000
    # Tokens of a batch, padding included.
    batch_tokens: int = 6144


def make_model(folder: Path, settings: Settings) -> tuple[Network, Tokenizer]:
    """Trains a model, writes its folder, and its checkpoint beside that."""
    torch.set_num_threads(settings.budget.threads)
    torch.manual_seed(settings.seed)
    rng = Random(settings.seed)
    conversations = list(training_conversations(rng, settings.conversations, held_out.asked_last()))
    tokenizer = trained_tokenizer(conversations)
    examples = examples_of(tokenizer, conversations)
    describe(conversations, examples)
    check_segments(tokenizer, conversations[:300], examples)
    network = Network(settings.shape)
    print(f"network: {count_of_parameters(network) / 1e6:.3f} million parameters", flush=True)
    train(network, examples, rng, settings, number_of(tokenizer, END_OF_TEXT))
    network.eval()
    write_model_descriptions(folder, network.shape, tokenizer)
    write_model_weights(folder, network)
    write_checkpoint(folder, network)
    print(f"written: {folder}", flush=True)
    return network, tokenizer


def examine(network: Network, tokenizer: Tokenizer) -> None:
    """Prints what the model knows, as its files have it: in 16 bits."""
    round_as_written(network)
    examinee = exam.Examinee(network, tokenizer)
    exam.report_set(examinee, "held-out questions, set A", held_out.SET_A)
    exam.report_set(examinee, "held-out questions, set B", held_out.SET_B)
    exam.report_names(examinee)
    exam.report_sums(examinee)


def describe(conversations: Sequence[Conversation], examples: Sequence[Example]) -> None:
    lengths = numpy.array([len(example.tokens) for example in examples])
    print(
        f"data: {len(conversations)} conversations, {lengths.sum() / 1e6:.2f} million tokens; of one conversation "
        f"{lengths.mean():.0f} on average, {numpy.percentile(lengths, 99):.0f} in 99 of 100, {lengths.max()} at most",
        flush=True,
    )


def check_segments(tokenizer: Tokenizer, conversations: Sequence[Conversation], examples: Sequence[Example]) -> None:
    """Fails if a conversation in segments has other tokens than the same as one text, which is what engines encode."""
    for conversation, example in zip(conversations, examples):
        text = rendered(conversation)
        if tokens_of(tokenizer, text) != example.tokens:
            raise ValueError(f"the segments of this conversation are encoded in another way than its text: {text!r}")


class Progress:
    """Counts steps and tokens, and prints a line every half minute."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.steps = 0
        self.tokens = 0
        self.loss = 0.0
        self.begun = time.monotonic()
        self.begun_cpu = time.process_time()
        self.printed: float | None = None

    def step(self, tokens: int, loss: float, rate: float, epoch: int) -> None:
        # Of the loss, a mean that forgets: single batches differ a lot.
        self.loss = self.loss * 0.98 + loss * 0.02 if self.steps else loss
        self.steps += 1
        self.tokens += tokens
        now = time.monotonic()
        if self.printed is None or now - self.printed > SECONDS_BETWEEN_LINES:
            self.printed = now
            speed = self.tokens / max(self.cpu_seconds(), 1e-3)
            print(
                f"{now - self.begun:5.0f} s: step {self.steps}, epoch {epoch}, loss {self.loss:.4f}, "
                f"learning rate {rate:.3f} of its highest, {speed:.0f} tokens per second",
                flush=True,
            )

    def cpu_seconds(self) -> float:
        return (time.process_time() - self.begun_cpu) / self.threads

    def finish(self) -> None:
        print(
            f"trained: {self.steps} steps, {self.tokens / 1e6:.1f} million tokens with padding, "
            f"{time.monotonic() - self.begun:.0f} s, of which {self.cpu_seconds():.0f} s on each thread",
            flush=True,
        )


def train(network: Network, examples: Sequence[Example], rng: Random, settings: Settings, padding: int) -> None:
    """Goes through the examples again and again until the budget is spent."""
    optimizer = MuonAndAdam(network, MUON_RATE, ADAM_RATE)
    progress = Progress(settings.budget.threads)
    epoch = 0
    while True:
        for batch in batches(examples, rng, settings.batch_tokens, padding):
            spent = settings.budget.spent(progress.steps)
            if spent >= 1:
                progress.finish()
                return
            rate = model_rate(progress.steps, spent)
            loss = train_step(network, optimizer, batch, rate)
            progress.step(batch.tokens.numel(), loss, rate, epoch)
        epoch += 1


def train_step(network: Network, optimizer: MuonAndAdam, batch: Batch, rate: float) -> float:
    """Changes the network a little, and returns the loss that it had before."""
    loss = loss_of(network, batch.tokens, batch.weights)
    network.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), LONGEST_GRADIENT)
    optimizer.step(rate)
    return loss.item()
