"""From conversations to batches of tokens, and what a batch costs the model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

import numpy
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from recipe.conversations.message import Conversation
from recipe.conversations.template import segments

# How much a token counts: what the model is to write, and what it only reads. A little of the latter teaches the
# language of the questions. Padding counts nothing.
WEIGHT_OF_ANSWERS = 1.0
WEIGHT_OF_THE_REST = 0.08


@dataclass
class Example:
    """A conversation as tokens; `is_answer` tells for each whether the model is to write it."""

    tokens: list[int] = field(default_factory=list)
    is_answer: list[bool] = field(default_factory=list)


class Batch(NamedTuple):
    """Examples of about the same length, padded to the longest: `texts, length` each."""

    tokens: Tensor
    weights: Tensor


def examples_of(tokenizer: Tokenizer, conversations: Sequence[Conversation]) -> list[Example]:
    """Encodes conversations segment by segment, so that it is known which tokens are answers."""
    pieces = [
        (index, segment) for index, conversation in enumerate(conversations) for segment in segments(conversation)
    ]
    encodings = tokenizer.encode_batch_fast([segment.text for _, segment in pieces], add_special_tokens=False)
    examples = [Example() for _ in conversations]
    for (index, segment), encoding in zip(pieces, encodings, strict=True):
        examples[index].tokens += encoding.ids
        examples[index].is_answer += [segment.is_answer] * len(encoding.ids)
    return examples


def batches(examples: Sequence[Example], rng: Random, most_tokens: int, padding: int) -> Iterator[Batch]:
    """Goes through the examples once, in batches of at most so many tokens, padding included, in random order."""
    groups = grouped(examples, rng, most_tokens)
    rng.shuffle(groups)
    for group in groups:
        yield padded([examples[index] for index in group], padding)


def grouped(examples: Sequence[Example], rng: Random, most_tokens: int) -> list[list[int]]:
    """Groups examples of similar length, by index; in eights of tokens, within which chance decides."""
    order = sorted(range(len(examples)), key=lambda index: (len(examples[index].tokens) // 8, rng.random()))
    groups: list[list[int]] = []
    group: list[int] = []
    longest = 0
    for index in order:
        length = len(examples[index].tokens)
        if group and (len(group) + 1) * max(longest, length) > most_tokens:
            groups.append(group)
            group, longest = [], 0
        group.append(index)
        longest = max(longest, length)
    groups.append(group)
    return groups


def padded(examples: Sequence[Example], padding: int) -> Batch:
    length = max(len(example.tokens) for example in examples)
    tokens = numpy.full((len(examples), length), padding, numpy.int64)
    weights = numpy.zeros((len(examples), length), numpy.float32)
    for row, example in enumerate(examples):
        own = slice(0, len(example.tokens))
        tokens[row, own] = example.tokens
        weights[row, own] = numpy.where(example.is_answer, WEIGHT_OF_ANSWERS, WEIGHT_OF_THE_REST)
    return Batch(torch.from_numpy(tokens), torch.from_numpy(weights))


def loss_of(network: torch.nn.Module, tokens: Tensor, weights: Tensor) -> Tensor:
    """Returns the weighted mean of the cross entropy of every next token, in nats."""
    scores = network(tokens[:, :-1])
    next_tokens = tokens[:, 1:].reshape(-1)
    next_weights = weights[:, 1:]
    losses = functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), next_tokens, reduction="none")
    return (losses * next_weights.reshape(-1)).sum() / next_weights.sum()
