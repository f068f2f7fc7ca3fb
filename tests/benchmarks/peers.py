"""The training loop that peers have, written from a description of Yuan et al.'s released code.

fp32, NCHW; images are PIL images in memory, transformed one by one (RandomCrop with padding,
flip, rotation, ToTensor, Normalize) and collated by a DataLoader; the teacher answers live, in
evaluation mode, without gradient; loss and accuracy are read by `.item()` at every step. No
line here comes from `kdlsr`, but the networks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

MEAN, STD = (0.50707, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615)
PeerLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class PilImages(Dataset[tuple[Tensor, int]]):
    """Arrays in memory, made a PIL image each time one is asked for, as torchvision's CIFAR."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        self.pixels = pixels
        self.labels = labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.RandomRotation(15),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def cross_entropy(logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
    return F.cross_entropy(logits, labels)


def distillation(
    logits: Tensor, labels: Tensor, teacher: Tensor | None, alpha: float, tau: float
) -> Tensor:
    """As released: KLDivLoss's "mean" is over batch and classes."""
    assert teacher is not None
    divergence = F.kl_div(
        F.log_softmax(logits / tau, dim=1), F.softmax(teacher / tau, dim=1), reduction="none"
    ).mean()
    return (1 - alpha) * F.cross_entropy(logits, labels) + alpha * tau * tau * divergence


def regularization(
    logits: Tensor, labels: Tensor, teacher: Tensor | None, alpha: float, tau: float, weight: float
) -> Tensor:
    """Tf-KD_reg as released: softmax of the hand-made probabilities, the student at tau 1."""
    classes = logits.size(1)
    by_hand = torch.full_like(logits, (1 - 0.99) / (classes - 1))
    by_hand[torch.arange(len(labels)), labels] = 0.99
    divergence = F.kl_div(
        F.log_softmax(logits, dim=1), F.softmax(by_hand / tau, dim=1), reduction="none"
    ).mean()
    return (1 - alpha) * F.cross_entropy(logits, labels) + alpha * weight * divergence


# Rows of the released configs: MobileNetV2's teachers, ResNet18's Tf-KD_reg.
KD: PeerLoss = partial(distillation, alpha=0.95, tau=20.0)
TFKD_REG: PeerLoss = partial(regularization, alpha=0.1, tau=20.0, weight=100.0)


@dataclass
class PeerLoop:
    """One epoch of steps each time it is called."""

    model: nn.Module
    loss: PeerLoss
    loader: DataLoader[tuple[Tensor, int]]
    device: torch.device
    teacher: nn.Module | None = None

    def __post_init__(self) -> None:
        self.model.to(self.device).train()
        if self.teacher is not None:
            self.teacher.to(self.device).eval()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4
        )

    def __call__(self) -> float:
        """Trains for one epoch; returns its accuracy."""
        correct, seen, total_loss = 0, 0, 0.0
        for images, targets in self.loader:
            inputs, labels = images.to(self.device), targets.to(self.device)
            logits = self.model(inputs)
            soft_targets = None
            if self.teacher is not None:
                with torch.no_grad():
                    soft_targets = self.teacher(inputs)
            loss = self.loss(logits, labels, soft_targets)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total_loss += loss.item()
            correct += (logits.argmax(1) == labels).sum().item()
            seen += len(labels)
        return 100 * correct / seen


def loader_of(
    pixels: np.ndarray, labels: np.ndarray, batch: int, workers: int
) -> DataLoader[tuple[Tensor, int]]:
    """Returns the shuffling loader; workers live on from one epoch to the next."""
    return DataLoader(
        PilImages(pixels, labels),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
