"""The recipe of Pip, the demo model: everything in `models/demo` comes from here.

    conversations/   the training data, made from templates and a seed
    held_out/        questions that are never trained, and the right answers
    tokenizer.py     text to numbers, and back
    network.py       the model: Qwen3's architecture, small
    training/        how the model, its LoRA adapter and its embedding model are trained
    answers.py       what a trained model answers
    exam.py          how many answers are right
    files/           the layouts in which others read the weights: Hugging Face's folders, PEFT, GGUF
    checks/          whether the committed files are what this makes, and whether it still runs

`python -m recipe --help` says what can be made. What computes with weights needs torch:
`network`, `training`, `answers`, `exam`, `files/weights`. The rest does without.
"""
