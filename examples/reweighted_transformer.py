"""A transformer behind one matrix for all its embeddings: python examples/reweighted_transformer.py"""

import torch
from torch import nn

import overt


def data(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Six embeddings of size 32 each, from a table of 200; the target depends on two of their directions."""
    generator = torch.Generator().manual_seed(0)
    table, seen = torch.randn(200, 32, generator=generator), torch.randn(32, 2, generator=generator)
    x = table[torch.randint(200, (count, 6), generator=generator.manual_seed(seed))]
    return x, (x @ seen).mean(1).prod(1, keepdim=True) / 5


def fit(x: torch.Tensor, y: torch.Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    body = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)
    net = nn.Sequential(nn.Linear(32, 32), body, nn.Linear(32, 1), nn.Flatten(), nn.AvgPool1d(6))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1.0)
    for _ in range(250):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
    return net


def main(seed: int = 0) -> None:
    (x, y), (new, wanted) = data(seed, 500), data(seed + 1000, 2000)
    found = overt.reweighted(fit, x, y, "eigen", depth=float("inf"), dims=-1, rounds=4, seed=seed)
    for name, outputs in (("plain", fit(x, y, seed)(new)), (f"round {found.n_iter_}", found.predict(new))):
        print(f"{name}: relative error {(outputs - wanted).norm().item() / wanted.norm().item():.3f}")
    print(f"effective rank of M (32 × 32): {found.rank_:.2f}")


if __name__ == "__main__":
    main()
