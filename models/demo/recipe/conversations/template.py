"""ChatML, as the engine renders it and as training renders it: the two must agree to the character."""

from collections.abc import Iterator
from typing import NamedTuple

from recipe.conversations.message import Conversation

# A Jinja template, for `tokenizer_config.json` and the GGUF file. Calls of tools stand under `tool_calls` in
# OpenAI's format, and under `function` where mistral.rs's own request builder made the message.
CHAT_TEMPLATE = (
    "{%- if tools %}{{- '<|im_start|>system\\nTools:' }}"
    "{%- for t in tools %}{{- ' ' + t.function.name }}{%- endfor %}"
    "{{- '<|im_end|>\\n' }}{%- endif %}"
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}"
    "{%- set calls = m.tool_calls or m.function %}"
    "{%- if calls %}{%- for c in calls %}"
    '{{- \'<tool_call>\\n{"name": "\' + c.function.name + \'", "arguments": \' }}'
    "{%- if c.function.arguments is string %}{{- c.function.arguments }}"
    "{%- else %}{{- c.function.arguments | tojson }}{%- endif %}"
    "{{- '}\\n</tool_call>' }}{%- endfor %}"
    "{%- else %}{{- m.content }}{%- endif %}{{- '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

# What stands before an answer: with it a prompt ends.
ANSWER_BEGINS = "<|im_start|>assistant\n"


class Segment(NamedTuple):
    """A piece of the rendered text, and whether the model is to learn to write it."""

    text: str
    is_answer: bool


def segments(conversation: Conversation) -> Iterator[Segment]:
    """Renders a conversation, answers apart from what surrounds them."""
    if conversation.tools:
        yield Segment(f"<|im_start|>system\nTools: {' '.join(conversation.tools)}<|im_end|>\n", False)
    if conversation.system:
        yield Segment(f"<|im_start|>system\n{conversation.system}<|im_end|>\n", False)
    for role, text in conversation.messages:
        if role == "assistant":
            yield Segment(ANSWER_BEGINS, False)
            yield Segment(f"{text}<|im_end|>", True)
            yield Segment("\n", False)
        else:
            yield Segment(f"<|im_start|>{role}\n{text}<|im_end|>\n", False)


def rendered(conversation: Conversation) -> str:
    """Renders a conversation as one text."""
    return "".join(segment.text for segment in segments(conversation))


def prompt(conversation: Conversation) -> str:
    """Renders a conversation up to where the assistant's next answer begins."""
    return rendered(conversation) + ANSWER_BEGINS
