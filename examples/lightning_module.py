"""A penalty in Lightning: one line in ``training_step``, and its report in the log.

    pip install lightning
    python examples/lightning_module.py

A small classifier is trained twice, without the penalty and with it.
"""

from __future__ import annotations

import logging
import warnings

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from overt.penalties import SpectralPenalty


class Classifier(lightning.LightningModule):
    """Two convolutions and a linear layer; the convolutions are penalized as linear operators."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 4),
        )
        # The penalty refers to the network and has no parameters. What it keeps between two decompositions is
        # part of the checkpoint, so a resumed run continues as an uninterrupted one would have.
        self.penalty = SpectralPenalty(self.net, weight=weight, conv="operator", grid=8, every=10)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        term = self.penalty.penalty()
        self.log_dict({"loss": loss, "penalty": term})
        return loss + term

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:  # noqa: ARG002
        if self.global_step % 20 == 0:
            self.log_dict({f"effective_rank/{row.name}": row.effective_rank for row in self.penalty.report()})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.net.parameters(), lr=3e-3)


def images() -> TensorDataset:
    """Stripes in four directions, with noise."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(4, (256,), generator=generator)
    row, column = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    waves = torch.stack([row, column, row + column, row - column])
    noise = 0.5 * torch.randn(256, 1, 8, 8, generator=generator)
    return TensorDataset(torch.sin(1.5 * waves)[y].unsqueeze(1) + noise, y)


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for weight in (0.0, 0.1):
        lightning.seed_everything(0, verbose=False)
        model = Classifier(weight)
        trainer = lightning.Trainer(
            max_epochs=10,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, DataLoader(images(), batch_size=64, shuffle=True))
        print(f"weight {weight}: loss {trainer.callback_metrics['loss']:.3f}")
        print(model.penalty.report())


if __name__ == "__main__":
    main()
