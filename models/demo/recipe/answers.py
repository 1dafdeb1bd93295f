"""What a trained model answers: always the likeliest token, up to the end of its message."""

import torch
from tokenizers import Tokenizer

from recipe.network import LayerCache, Network
from recipe.tokenizer import END_OF_TEXT, MESSAGE_ENDS, number_of, tokens_of

MOST_TOKENS = 300


@torch.no_grad()
def answer(network: Network, tokenizer: Tokenizer, prompt: str) -> str:
    """Returns the answer to a rendered prompt, of at most 300 tokens and within the context."""
    ends = {number_of(tokenizer, MESSAGE_ENDS), number_of(tokenizer, END_OF_TEXT)}
    caches = [LayerCache() for _ in network.layers]
    written: list[int] = []
    tokens = tokens_of(tokenizer, prompt)
    position = 0
    while len(written) < MOST_TOKENS and position + len(tokens) < network.shape.context:
        scores = network(torch.tensor([tokens]), caches, position)[0, -1]
        position += len(tokens)
        token = int(scores.argmax())
        if token in ends:
            break
        written.append(token)
        tokens = [token]
    return tokenizer.decode(written, skip_special_tokens=False)
