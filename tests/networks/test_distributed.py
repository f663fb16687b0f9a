"""What one process can see of several: none there, or a model that FSDP holds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt.networks import distributed
from overt.networks.distributed import check_not_sharded, own_rows, process_number, rows_of_all


def test_one_process_has_all_rows():
    rows = torch.ones(2, 3)
    assert rows_of_all(rows) is rows
    assert own_rows(rows) is rows
    assert process_number() == 0


@pytest.mark.parametrize(("own", "other"), [(2, 5), (5, 2), (3, 3), (0, 1)])
def test_rows_of_two_processes_of_different_lengths(own, other, monkeypatch):
    """A gather needs tensors of one shape; here the other process is played."""

    def gathered(tensor):
        if tensor.dtype == torch.long:
            return [tensor, torch.tensor([other])]
        padded = torch.zeros(max(own, other), 3)
        padded[:other] = 2
        assert tensor.shape == padded.shape
        return [tensor, padded]

    monkeypatch.setattr(distributed, "_several", lambda: True)
    monkeypatch.setattr(distributed, "_gathered", gathered)
    expected = torch.cat([torch.ones(own, 3), torch.full((other, 3), 2.0)])
    assert torch.equal(rows_of_all(torch.ones(own, 3)), expected)


@pytest.mark.slow  # imports FSDP
def test_a_model_is_refused_if_any_part_of_it_is_sharded():
    from torch.distributed.fsdp import FSDPModule

    plain = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))
    check_not_sharded(plain)
    # As fully_shard does it, which needs other processes.
    plain[1].__class__ = type("FSDPSequential", (FSDPModule, nn.Sequential), {})
    for models in ((plain,), (nn.Linear(2, 2), plain)):
        with pytest.raises(ValueError, match="Sequential is sharded by FSDP"):
            check_not_sharded(*models)
    check_not_sharded(plain[0])
