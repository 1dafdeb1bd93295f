"""The commands: `python -m recipe COMMAND --help`, in the folder above this one."""

import argparse
import sys
from pathlib import Path

from recipe.arguments import count, folder_with_model, minutes, seed, size

# What a command needs is imported when it runs: torch takes seconds to load, and the checks of files do without it.


def main() -> int:
    arguments = parser_of_commands().parse_args()
    try:
        arguments.run(arguments)
    except ModuleNotFoundError as error:
        print(f"error: {error}; install what recipe/requirements.txt names", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parser_of_commands() -> argparse.ArgumentParser:
    """Returns the parser of all commands; each sets `run` to what it does."""
    whole = argparse.ArgumentParser(
        prog="python -m recipe", description="Makes the demo model, and what belongs to it."
    )
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    add_model(commands)
    add_lora(commands)
    add_embed(commands)
    add_gguf(commands)
    add_questions(commands)
    add_random(commands)
    add_samples(commands)
    add_checks(commands)
    return whole


def command(commands: argparse._SubParsersAction, name: str, help_text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=help_text, description=help_text)


def add_out(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help=what)


def add_model_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        type=folder_with_model,
        required=True,
        metavar="FOLDER",
        help="the model to begin with; of FOLDER.pt, if it is there, the weights are taken in full precision",
    )


def add_budget(parser: argparse.ArgumentParser, default_minutes: float) -> None:
    parser.add_argument(
        "--minutes",
        type=minutes,
        default=default_minutes,
        metavar="N",
        help="how long to train, in minutes of CPU time per thread, so that a busy machine makes no worse model "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=count, metavar="N", help="train for so many steps instead: repeatable, if on one thread"
    )
    parser.add_argument("--threads", type=count, default=2, metavar="N", help="threads of torch (default: %(default)s)")


def add_model(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "model", "Trains the chat model from nothing.")
    add_out(parser, "the folder to write; the checkpoint goes beside it, as PATH.pt")
    add_budget(parser, 24)
    sizes = (
        ("--seed", seed, 7, "where random numbers begin"),
        ("--conversations", count, 160_000, "how many conversations to make"),
        ("--batch-tokens", size, 6144, "tokens of a batch, padding included"),
        ("--layers", count, 4, "blocks of the network"),
        ("--hidden", size, 256, "size of a state"),
        ("--feed-forward", size, 512, "size of a block's inner layer"),
        ("--heads", count, 4, "attention heads, of which every two share keys and values"),
    )
    for name, kind, default, meaning in sizes:
        parser.add_argument(name, type=kind, default=default, metavar="N", help=f"{meaning} (default: %(default)s)")
    parser.set_defaults(run=run_model)


def add_lora(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "lora", "Trains the pirate: a LoRA adapter for a chat model.")
    add_model_folder(parser)
    add_out(parser, "the folder to write")
    add_budget(parser, 3)
    parser.add_argument(
        "--rank", type=count, default=8, metavar="N", help="width of the adapter (default: %(default)s)"
    )
    parser.set_defaults(run=run_lora)


def add_embed(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "embed", "Trains an embedding model from a chat model.")
    add_model_folder(parser)
    add_out(parser, "the folder to write")
    add_budget(parser, 3)
    parser.set_defaults(run=run_embed)


def add_gguf(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "gguf", "Writes a chat model as a GGUF file.")
    add_model_folder(parser)
    add_out(parser, "the file to write")
    parser.add_argument(
        "--type",
        choices=("Q8_0", "Q4_0", "F16", "F32"),
        default="Q8_0",
        help="how weights are stored (default: %(default)s)",
    )
    parser.set_defaults(run=run_gguf)


def add_questions(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "questions", "Writes the held-out questions and their answers as JSON files.")
    add_out(parser, "the folder to write eval-a.json and eval-b.json into")
    parser.set_defaults(run=run_questions)


def add_random(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "random", "Writes a model of any size with random weights, for load and speed.")
    add_out(parser, "the folder to write; an embedding model goes beside it, as PATH-emb")
    parser.add_argument("--hidden", type=size, default=64, metavar="N", help="size of a state (default: %(default)s)")
    parser.add_argument("--layers", type=count, default=2, metavar="N", help="blocks (default: %(default)s)")
    parser.set_defaults(run=run_random)


def add_samples(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "samples", "Prints conversations such as the model is trained with.")
    parser.add_argument("--count", type=count, default=10, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=1, metavar="N", help="which ones (default: %(default)s)")
    parser.set_defaults(run=run_samples)


def add_checks(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands,
        "check-files",
        "Makes everything anew that needs no training, and compares it with the committed files byte by byte.",
    )
    parser.set_defaults(run=run_check_files)
    parser = command(
        commands, "check-training", "Trains tiny versions of the three for a few steps, to prove that the recipe runs."
    )
    parser.set_defaults(run=run_check_training)


def run_model(arguments: argparse.Namespace) -> None:
    from recipe.shape import Shape
    from recipe.training.budget import Budget
    from recipe.training.model import Settings, examine, make_model

    shape = Shape(
        hidden=arguments.hidden,
        layers=arguments.layers,
        heads=arguments.heads,
        key_value_heads=max(1, arguments.heads // 2),
        feed_forward=arguments.feed_forward,
    )
    settings = Settings(
        budget=Budget(arguments.minutes, arguments.threads, arguments.steps),
        shape=shape,
        seed=arguments.seed,
        conversations=arguments.conversations,
        batch_tokens=arguments.batch_tokens,
    )
    examine(*make_model(arguments.out, settings))


def run_lora(arguments: argparse.Namespace) -> None:
    from recipe.training.adapter import examine, make_adapter
    from recipe.training.budget import Budget

    budget = Budget(arguments.minutes, arguments.threads, arguments.steps)
    examine(*make_adapter(arguments.model, arguments.out, arguments.rank, budget))


def run_embed(arguments: argparse.Namespace) -> None:
    from recipe.training.budget import Budget
    from recipe.training.embedding import make_embedding

    make_embedding(arguments.model, arguments.out, Budget(arguments.minutes, arguments.threads, arguments.steps))


def run_gguf(arguments: argparse.Namespace) -> None:
    from recipe.files.gguf_file import write_gguf

    write_gguf(arguments.model, arguments.out, arguments.type)
    print(f"written: {arguments.out}, {arguments.out.stat().st_size} bytes")


def run_questions(arguments: argparse.Namespace) -> None:
    from recipe import held_out

    held_out.write(arguments.out)


def run_random(arguments: argparse.Namespace) -> None:
    from recipe.random_model import make_random_model

    make_random_model(arguments.out, arguments.hidden, arguments.layers)


def run_samples(arguments: argparse.Namespace) -> None:
    from random import Random

    from recipe.conversations.conversation import random_conversation
    from recipe.conversations.template import rendered

    rng = Random(arguments.seed)
    for _ in range(arguments.count):
        print(rendered(random_conversation(rng)))


def run_check_files(_arguments: argparse.Namespace) -> None:
    from recipe.checks.files import check_files

    check_files()


def run_check_training(_arguments: argparse.Namespace) -> None:
    from recipe.checks.training import check_training

    check_training()


if __name__ == "__main__":
    sys.exit(main())
