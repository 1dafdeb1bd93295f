"""The tokenizer: byte-level BPE with Qwen2's way of splitting words, trained on the conversations themselves."""

from collections.abc import Iterable
from itertools import islice

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from recipe.conversations.message import Conversation
from recipe.conversations.template import rendered

# Entries, added tokens included.
VOCABULARY = 1024
# So many conversations, the first ones, are enough to learn the merges from.
CONVERSATIONS_TO_LEARN_FROM = 40_000

END_OF_TEXT = "<|endoftext|>"
MESSAGE_BEGINS = "<|im_start|>"
MESSAGE_ENDS = "<|im_end|>"

# Never made of smaller tokens. Special ones are left out when text is decoded; those of a tool's call are kept.
SPECIAL_TOKENS = (END_OF_TEXT, MESSAGE_BEGINS, MESSAGE_ENDS)
OTHER_ADDED_TOKENS = ("<tool_call>", "</tool_call>")

# Qwen2's pre-tokenizer (`tokenizer.json` of its models): loaders know it as `qwen2`. Digits stand alone.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def trained_tokenizer(conversations: Iterable[Conversation]) -> Tokenizer:
    """Learns the merges from the first conversations."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL_TOKENS) - len(OTHER_ADDED_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    texts = map(rendered, islice(conversations, CONVERSATIONS_TO_LEARN_FROM))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([added(token, is_special=True) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([added(token, is_special=False) for token in OTHER_ADDED_TOKENS])
    return tokenizer


def added(token: str, is_special: bool) -> AddedToken:
    return AddedToken(token, special=is_special, normalized=False)


def number_of(tokenizer: Tokenizer, token: str) -> int:
    """Returns the number of an added token."""
    number = tokenizer.token_to_id(token)
    if number is None:
        raise ValueError(f"the tokenizer has no {token}: it is not one of this recipe")
    return number


def tokens_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """Returns a text's tokens, with nothing put before or after them."""
    return tokenizer.encode(text, add_special_tokens=False).ids
