"""How many answers are right: the held-out questions, names never seen, sums never trained."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer

from recipe.answers import answer
from recipe.conversations import about_caller
from recipe.conversations.message import Conversation, Message
from recipe.conversations.names import HELD_OUT_NAMES
from recipe.conversations.numbers import HELD_OUT_SUMS, sum_of
from recipe.conversations.template import prompt
from recipe.held_out import Question
from recipe.network import Network

# Real names that the syllables of the training data do not make.
OTHER_NAMES = (
    "Elliot",
    "Josefina",
    "Vladimir",
    "Penelope",
    "Xenia",
    "Kai",
    "Bo",
    "Winston",
    "Abdullah",
    "Siobhan",
)
# A sample of the sums that are trained.
TRAINED_SUMS = [(a, b) for a in range(0, 21, 3) for b in range(1, 21, 3) if (a, b) not in HELD_OUT_SUMS]


@dataclass(frozen=True)
class Miss:
    """A question that was answered wrongly."""

    question: Question
    answer: str

    def __str__(self) -> str:
        asked = self.question
        return f"{asked.name}: {asked.turns[-1]!r} was answered {self.answer!r}, not {asked.answers[0]!r}"


@dataclass(frozen=True)
class Examinee:
    """A model and what it puts before and after every answer."""

    network: Network
    tokenizer: Tokenizer
    prefix: str = ""
    suffix: str = ""

    def answers(self, *turns: str, system: str | None = None, tools: Iterable[str] = ()) -> list[str]:
        """Says one turn after the other and returns the answers."""
        conversation = Conversation(system, list(tools), [])
        answers = []
        for turn in turns:
            conversation.messages.append(Message("user", turn))
            answers.append(answer(self.network, self.tokenizer, prompt(conversation)))
            conversation.messages.append(Message("assistant", answers[-1]))
        return answers

    def misses(self, questions: Iterable[Question]) -> list[Miss]:
        """Returns the questions that are answered wrongly, each with the answer."""
        misses = []
        for asked in questions:
            last = self.answers(*asked.turns, system=asked.system, tools=asked.tools)[-1]
            if last not in [self.prefix + right + self.suffix for right in asked.answers]:
                misses.append(Miss(asked, last))
        return misses


def report_set(examinee: Examinee, name: str, questions: Collection[Question]) -> None:
    """Prints the wrong answers to a set of questions, and how many are right."""
    misses = examinee.misses(questions)
    for miss in misses:
        print(f"  wrong: {miss}")
    print(f"{name}: {len(questions) - len(misses)} of {len(questions)} answers exact", flush=True)


def report_names(examinee: Examinee) -> None:
    """Prints how many names that were never trained are recalled, and how many spelled."""
    names = (*HELD_OUT_NAMES, *OTHER_NAMES)
    recalled = spelled = 0
    for name in names:
        # The first answer is not the model's own, so that only recalling is asked for.
        told = [
            Message("user", f"My name is {name}."),
            Message("assistant", about_caller.NAME_STATEMENT_ANSWER.format(n=name)),
        ]
        recalled += answer_after(examinee, told, "What is my name?") == about_caller.NAME_ANSWER.format(n=name)
        spelled += answer_after(examinee, told, "Spell my name.") == about_caller.spelling_of(name)
    print(f"names never trained: {recalled} of {len(names)} recalled, {spelled} spelled", flush=True)


def answer_after(examinee: Examinee, told: list[Message], question: str) -> str:
    conversation = Conversation(None, [], [*told, Message("user", question)])
    return answer(examinee.network, examinee.tokenizer, prompt(conversation))


def report_sums(examinee: Examinee) -> None:
    """Prints how many sums are right, of those never trained and of some that were."""
    for name, pairs in (("never trained", sorted(HELD_OUT_SUMS)), ("trained", TRAINED_SUMS)):
        right = sum(examinee.answers(f"What is {a} + {b}?") == [sum_of(a, b)] for a, b in pairs)
        print(f"sums {name}: {right} of {len(pairs)} right", flush=True)
