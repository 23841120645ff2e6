"""`inception` in PyTorch: one training step of 128 for each line of standard input.

Runs in a separate process, since PyTorch and TensorFlow may load the same libraries.
"""

import sys

import torch
from torch import nn


def main() -> None:
    def norm() -> nn.Module:
        return nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)

    model = nn.Sequential(
        *(nn.Conv2d(3, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), norm()),
        *(nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), norm(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(4096, 384), nn.ReLU(), nn.Dropout(0.2)),
        *(nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10)),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, labels = torch.randn(128, 3, 32, 32), torch.zeros(128, dtype=torch.long)
    for _ in sys.stdin:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        print(loss.item(), flush=True)


if __name__ == "__main__":
    main()
