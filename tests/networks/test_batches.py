"""Batches from tensors, loaders and iterables: what comes through, how much of it, and what is refused."""

from __future__ import annotations

import pytest
import torch

from overt.networks.batches import batches_of, check_inputs, differentiable_batches, pairs_of


def numbered(count, *shape):
    return torch.arange(float(count)).view(-1, *[1] * len(shape)).expand(count, *shape)


@pytest.mark.parametrize("most", [None, 1, 3, 4, 7, 9, 100])
@pytest.mark.parametrize("whole", [True, False])
def test_inputs_come_in_order_up_to_the_number_that_was_asked_for(most, whole):
    x = numbered(9, 2).clone().requires_grad_()
    batches = differentiable_batches(x if whole else list(x.split(3)), max_samples=most)
    found = [batch.x for batch in batches]
    torch.testing.assert_close(torch.cat(found), x.detach()[:most])
    assert [len(batch) for batch in found] == (
        [min(most or 9, 9)] if whole else [min(3, (most or 9) - k) for k in (0, 3, 6) if k < (most or 9)]
    )
    assert not any(batch.requires_grad for batch in found)


def test_no_batch_is_asked_for_once_there_is_enough():
    def source():
        yield torch.ones(2, 3)
        raise AssertionError("one batch too many")

    assert len(list(differentiable_batches(source(), max_samples=2))) == 1


def test_a_tensor_is_cut_and_an_iterable_is_taken_as_it_comes():
    x = numbered(600, 2)
    assert [len(batch) for batch in batches_of(x)] == [256, 256, 88]
    assert [len(batch) for batch in batches_of([x, (x[:3], "label")])] == [600, 3]
    assert [len(batch) for batch in batches_of(torch.arange(3))] == [3]
    pairs = list(pairs_of((x, torch.arange(600))))
    assert [len(targets) for _, targets in pairs] == [256, 256, 88]
    assert all(torch.equal(inputs[:, 0], targets.to(inputs)) for inputs, targets in pairs)
    assert len(list(pairs_of([(x, x, "more"), [x[:1], x[:1]]]))) == 2


@pytest.mark.parametrize(
    "data",
    [
        (torch.tensor(1.0), torch.ones(1)),
        (torch.ones(1), torch.tensor(1.0)),
        (torch.ones(3), torch.ones(2)),
        [torch.ones(2, 2), torch.ones(3)],
    ],
)
def test_pairs_of_two_lengths_are_refused(data):
    with pytest.raises(ValueError, match=r"\(inputs, targets\) must be of one length, got shapes"):
        list(pairs_of(data))


@pytest.mark.parametrize("data", [[torch.ones(2)], [(torch.ones(2),)], [(torch.ones(2), 1)], [()], [[]]])
def test_what_is_no_pair_is_refused(data):
    with pytest.raises(TypeError, match=r"must yield batches \(inputs, targets\) of tensors"):
        list(pairs_of(data))


@pytest.mark.parametrize("empty", [[], torch.ones(0, 2), [torch.ones(0, 2)]])
def test_no_example_is_refused(empty):
    with pytest.raises(ValueError, match="no example"):
        list(batches_of(empty))
    with pytest.raises(ValueError, match="no example"):
        list(pairs_of([(batch, batch) for batch in empty] if isinstance(empty, list) else (empty, empty)))


@pytest.mark.parametrize("wrong", [3, "text", b"bytes", None])
def test_what_is_no_batches_is_refused(wrong):
    for read in (batches_of, differentiable_batches, pairs_of):
        with pytest.raises(TypeError, match="inputs must be a tensor"):
            list(read(wrong))


@pytest.mark.parametrize("batch", ["text", (), [], ("text", torch.ones(2)), torch.tensor(1.0)])
def test_what_is_no_batch_is_refused(batch):
    with pytest.raises(TypeError, match="inputs must"):
        list(batches_of([batch]))


def test_a_batch_that_derivatives_cannot_be_taken_at_is_refused():
    assert check_inputs(x := torch.ones(1, 1)) is x
    for wrong in (torch.ones(3), torch.ones(0, 2), torch.ones(2, 0)):
        with pytest.raises(ValueError, match=r"x must be a batch \(n, …\) that is not empty"):
            check_inputs(wrong)
    with pytest.raises(TypeError, match="complex inputs are not supported"):
        check_inputs(torch.ones(2, 2, dtype=torch.complex64))
    for integers in (torch.ones(2, 2, dtype=torch.long), [1]):
        with pytest.raises(TypeError, match="for token ids"):
            check_inputs(integers)
    bad = torch.ones(2, 2)
    bad[1, 0] = torch.inf
    with pytest.raises(ValueError, match="NaN or infinite"):
        list(differentiable_batches(bad))
    with pytest.raises(ValueError, match=r"inputs of shape \(3,\), the first \(2,\)"):
        list(differentiable_batches([torch.ones(2, 2), torch.ones(1, 2), torch.ones(2, 3)]))
    with pytest.raises(TypeError, match="must not be a tuple"):
        list(differentiable_batches((torch.ones(2, 2), torch.ones(2))))
