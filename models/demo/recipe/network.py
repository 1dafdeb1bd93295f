"""The network: Qwen3's architecture, so that engines load it without code of its own.

A decoder with grouped-query attention, rotary positions, norms of queries and keys, and SwiGLU ("Qwen3 Technical
Report", arXiv 2505.09388). Input and output embeddings are the same matrix. Sizes in comments: `batch` texts of
`length` tokens.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from recipe.shape import NORM_EPSILON, Shape


class Norm(nn.Module):
    """Divides by the root of the mean square, then scales (RMSNorm, arXiv 1910.07467)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, vectors: Tensor) -> Tensor:
        return functional.rms_norm(vectors, (vectors.shape[-1],), self.weight, NORM_EPSILON)


def rotations(shape: Shape) -> tuple[Tensor, Tensor]:
    """Returns cosines and sines for every position, each of `context` by `head_size` (RoPE, arXiv 2104.09864)."""
    exponents = torch.arange(0, shape.head_size, 2).float() / shape.head_size
    frequencies = 1.0 / (shape.rope_base**exponents)
    angles = torch.outer(torch.arange(shape.context).float(), frequencies)
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def rotated(vectors: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turns vectors by their position: the first half of a vector with the second, as Qwen pairs them."""
    half = vectors.shape[-1] // 2
    # In this order: gradients are added up in the reverse order of what is computed, and rounded.
    straight = vectors * cosines
    turned = torch.cat([-vectors[..., half:], vectors[..., :half]], -1)
    return straight + turned * sines


class LayerCache:
    """The keys and values of the tokens that a block has seen, `batch, heads, length, head_size`."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extended(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the newest and returns all."""
        if self.keys is not None and self.values is not None:
            keys = torch.cat([self.keys, keys], 2)
            values = torch.cat([self.values, values], 2)
        self.keys, self.values = keys, values
        return keys, values


class Block(nn.Module):
    """One layer: attention, then the feed-forward part, each added to what it was given.

    The attributes have Qwen3's names. Their order is the order in which their first values are drawn.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        queries = shape.heads * shape.head_size
        keys = shape.key_value_heads * shape.head_size
        self.input_layernorm = Norm(shape.hidden)
        self.post_attention_layernorm = Norm(shape.hidden)
        self.q_proj = nn.Linear(shape.hidden, queries, bias=False)
        self.k_proj = nn.Linear(shape.hidden, keys, bias=False)
        self.v_proj = nn.Linear(shape.hidden, keys, bias=False)
        self.o_proj = nn.Linear(queries, shape.hidden, bias=False)
        self.q_norm = Norm(shape.head_size)
        self.k_norm = Norm(shape.head_size)
        self.gate_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, states: Tensor, cosines: Tensor, sines: Tensor, cache: LayerCache | None) -> Tensor:
        states = states + self.attention(self.input_layernorm(states), cosines, sines, cache)
        return states + self.feed_forward(self.post_attention_layernorm(states))

    def attention(self, states: Tensor, cosines: Tensor, sines: Tensor, cache: LayerCache | None) -> Tensor:
        batch, length, _ = states.shape
        shape = self.shape
        queries = self.q_proj(states).view(batch, length, shape.heads, shape.head_size)
        queries = rotated(self.q_norm(queries).transpose(1, 2), cosines, sines)
        keys = self.k_proj(states).view(batch, length, shape.key_value_heads, shape.head_size)
        keys = rotated(self.k_norm(keys).transpose(1, 2), cosines, sines)
        values = self.v_proj(states).view(batch, length, shape.key_value_heads, shape.head_size).transpose(1, 2)
        if cache is not None:
            keys, values = cache.extended(keys, values)
        sharing = shape.heads // shape.key_value_heads
        keys = keys.repeat_interleave(sharing, 1)
        values = values.repeat_interleave(sharing, 1)
        # One token alone sees everything before it. More than one are the beginning of a text.
        seen = functional.scaled_dot_product_attention(queries, keys, values, is_causal=length > 1)
        return self.o_proj(seen.transpose(1, 2).reshape(batch, length, -1))

    def feed_forward(self, states: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(states)) * self.up_proj(states))


class Network(nn.Module):
    """The whole network: from tokens to scores of the next token."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden)
        cosines, sines = rotations(shape)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        self.draw_first_weights()

    def draw_first_weights(self) -> None:
        """Draws the weights; those that write into the states are zero, so that at first a block changes nothing."""
        for weights in self.parameters():
            if weights.dim() == 2:
                is_embedding = weights.shape[0] == self.shape.vocabulary
                nn.init.normal_(weights, std=0.02 if is_embedding else weights.shape[1] ** -0.5)
        for block in self.layers:
            nn.init.zeros_(block.o_proj.weight)
            nn.init.zeros_(block.down_proj.weight)

    def states(self, tokens: Tensor, caches: list[LayerCache] | None = None, position: int = 0) -> Tensor:
        """Returns the last states, `batch, length, hidden`, of tokens that begin at a position."""
        length = tokens.shape[1]
        states = self.embed_tokens(tokens)
        cosines = self.cosines[position : position + length]
        sines = self.sines[position : position + length]
        for index, block in enumerate(self.layers):
            states = block(states, cosines, sines, None if caches is None else caches[index])
        return self.norm(states)

    def forward(self, tokens: Tensor, caches: list[LayerCache] | None = None, position: int = 0) -> Tensor:
        """Returns the scores of every next token, `batch, length, vocabulary`."""
        return self.states(tokens, caches, position) @ self.embed_tokens.weight.T


def count_of_parameters(network: nn.Module) -> int:
    """Counts what training may change."""
    return sum(weights.numel() for weights in network.parameters() if weights.requires_grad)
