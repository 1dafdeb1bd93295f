"""The training data: conversations made from templates and a seed, nothing is downloaded.

One file per topic. A topic is a function of the random source and of what the caller has said so far, and makes
one question with its answer; `turn` picks among them, and `conversation` puts turns together. The order in which
a function draws random numbers is part of the data: another order gives other conversations from the same seed,
and the committed tokenizer and weights were made from these.
"""
