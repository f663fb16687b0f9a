"""A convolutional network behind weights of its pixels: python examples/reweighted_convolution.py

The target depends on two spots of 12 × 12 noisy images. Rounds make all other pixels fade.
"""

import torch
from torch import nn

import overt


def data(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(count, 1, 12, 12, generator=torch.Generator().manual_seed(seed))
    return x, 4 * x[:, :, 2:4, 2:4].mean((2, 3)) * x[:, :, 7:9, 6:8].mean((2, 3))


def fit(x: torch.Tensor, y: torch.Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    features = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()
    net = nn.Sequential(*features, nn.Linear(200, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=3.0)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
    return net


def main(seed: int = 0) -> None:
    (x, y), (new, wanted) = data(seed, 400), data(seed + 1000, 2000)
    found = overt.reweighted(fit, x, y, "identity", seed=seed)
    for name, outputs in (("plain", fit(x, y, seed)(new)), (f"round {found.n_iter_}", found.predict(new))):
        print(f"{name}: relative error {(outputs - wanted).norm().item() / wanted.norm().item():.3f}")
    spots = found.M_[0, 2:4, 2:4].sum() + found.M_[0, 7:9, 6:8].sum()
    print(f"share of M at the spots: {spots / found.M_.sum():.3f}")


if __name__ == "__main__":
    main()
