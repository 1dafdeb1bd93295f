"""The optimizer: Muon for the matrices of the blocks, Adam for embeddings and norms.

Muon (Keller Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024) makes an update of a matrix
orthogonal, which learns from fewer tokens than Adam does; here time is short and tokens are few.
"""

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
WEIGHT_DECAY = 0.01
# Coefficients of three steps of "Polar Express" (arXiv 2505.16932): as near to orthogonal as five Newton-Schulz
# steps, and cheaper.
POLAR_EXPRESS = (
    (8.2872, -23.5959, 17.3004),
    (4.1071, -2.9478, 0.5448),
    (3.9487, -2.9089, 0.5518),
)


def orthogonal(matrix: Tensor) -> Tensor:
    """Returns the nearest orthogonal matrix, roughly."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    result = matrix.T if is_tall else matrix
    # The steps want no singular value above 1.
    result = result / (result.norm() * 1.01 + 1e-7)
    for first, third, fifth in POLAR_EXPRESS:
        square = result @ result.T
        result = first * result + (third * square + fifth * square @ square) @ result
    return result.T if is_tall else result


def muon_update(gradient: Tensor, momentum: Tensor) -> Tensor:
    """Returns the direction of a step, and brings the momentum up to date."""
    momentum.lerp_(gradient, 1 - MOMENTUM)
    looking_ahead = gradient.lerp(momentum, MOMENTUM)
    rows, columns = gradient.shape
    return orthogonal(looking_ahead) * max(1, rows / columns) ** 0.5


class MuonAndAdam:
    """Both optimizers, at learning rates that one factor scales."""

    def __init__(self, network: nn.Module, muon_rate: float, adam_rate: float) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, weights in network.named_parameters():
            is_matrix_of_a_block = weights.dim() == 2 and "embed" not in name
            (matrices if is_matrix_of_a_block else others).append(weights)
        self.matrices = matrices
        self.momenta = [torch.zeros_like(weights) for weights in matrices]
        self.adam = torch.optim.Adam(others, lr=adam_rate, betas=(0.9, 0.98), eps=1e-9)
        self.muon_rate = muon_rate
        self.adam_rate = adam_rate

    @torch.no_grad()
    def step(self, factor: float) -> None:
        set_rate(self.adam, self.adam_rate * factor)
        self.adam.step()
        for weights, momentum in zip(self.matrices, self.momenta, strict=True):
            update = muon_update(weights.grad, momentum)
            weights.mul_(1 - self.muon_rate * factor * WEIGHT_DECAY).add_(update, alpha=-self.muon_rate * factor)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets an optimizer's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
