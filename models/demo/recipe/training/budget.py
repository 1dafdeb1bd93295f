"""How long training lasts, and how fast it learns meanwhile."""

import time
from dataclasses import dataclass, field


@dataclass
class Budget:
    """Minutes of CPU time per thread, or a number of steps.

    CPU time, so that a busy machine does not make another model; but not to the bit, since steps are not equally
    long. With a number of steps, the same seed makes the same weights on the same machine.
    """

    minutes: float
    threads: int
    steps: int | None = None
    begun: float = field(default_factory=time.process_time)

    def spent(self, step: int) -> float:
        """Returns how much is spent before a step (the first is 0): 0.0 is nothing, 1.0 or more is all."""
        if self.steps is not None:
            return step / self.steps
        return (time.process_time() - self.begun) / self.threads / (self.minutes * 60)


def model_rate(step: int, spent: float) -> float:
    """Returns the factor of the model's learning rates: up for 60 steps, level, and down from 55 % of the budget."""
    warm_up = min(1, (step + 1) / 60)
    return warm_up * (1 if spent < 0.55 else max(0.0, (1 - spent) / 0.45))


def tuning_rate(highest: float, step: int, spent: float) -> float:
    """Returns the learning rate of what is trained on top of the model: up for 20 steps, down from half the budget."""
    return highest * min(1, (step + 1) / 20) * min(1, (1 - spent) / 0.5)
