"""Makes everything anew that needs no training, and compares it with the committed files byte by byte.

The tokenizer is among it: it depends on every table and every random number of the conversations, so that a change
in them is seen here. Works without torch, in about ten seconds.
"""

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tokenizers import Tokenizer

from recipe import held_out
from recipe.conversations.conversation import training_conversations
from recipe.files import descriptions
from recipe.files.gguf_file import write_gguf
from recipe.shape import Shape
from recipe.tokenizer import CONVERSATIONS_TO_LEARN_FROM, trained_tokenizer

DEMO = Path(__file__).resolve().parent.parent.parent
# What the committed files were made with.
SEED = 7
RANK = 8


def check_files() -> None:
    """Prints every file that is as it would be made; fails if one is not."""
    with TemporaryDirectory() as folder:
        made = Path(folder)
        make_all(made)
        differing = [path for path in sorted(made.rglob("*")) if path.is_file() and not is_same(made, path)]
    if differing:
        raise ValueError(f"{len(differing)} files are not what the recipe makes")


def make_all(folder: Path) -> None:
    """Makes the files at the places that they have in `models/demo`, the GGUF file from the committed weights."""
    conversations = training_conversations(Random(SEED), CONVERSATIONS_TO_LEARN_FROM, held_out.asked_last())
    tokenizer = trained_tokenizer(conversations)
    shape = Shape()
    model = folder / "model"
    descriptions.write_model_descriptions(model, shape, tokenizer)
    ending = descriptions.with_end_of_text(Tokenizer.from_file(str(model / "tokenizer.json")))
    descriptions.write_embedding_descriptions(folder / "embed", model, ending, shape.hidden)
    adapter = folder / "lora-pirate"
    adapter.mkdir()
    descriptions.write_json(adapter / "adapter_config.json", descriptions.adapter_config(RANK, 2 * RANK))
    write_gguf(DEMO / "model", folder / "pip-q8_0.gguf", "Q8_0")
    held_out.write(folder / "recipe")


def is_same(made: Path, path: Path) -> bool:
    """Tells whether a file is the committed one, and prints that."""
    name = path.relative_to(made)
    committed = DEMO / name
    is_same = committed.is_file() and committed.read_bytes() == path.read_bytes()
    print(f"{'same' if is_same else 'DIFFERENT':<9} {name}", flush=True)
    return is_same
