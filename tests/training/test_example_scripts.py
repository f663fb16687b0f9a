"""The scripts in examples/ do what they say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_plain_loop_releases_and_refits(capsys):
    example = load("plain_pytorch")
    nothing, held = example.train(0.0, release=False), example.train(1.0, release=False)
    capsys.readouterr()
    released = example.train(1.0, release=True)
    said = capsys.readouterr().out
    step = int(re.search(r"step (\d+): released at ranks {'0.weight': 3, '1.weight': 3}", said)[1])
    assert step < example.STEPS - 1000
    assert released < held < nothing


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries about each other
def test_a_penalty_counts_once_a_step_of_the_trainer(tmp_path):
    """Its gradient does not depend on how many passes are accumulated into one step."""
    pytest.importorskip("peft")
    example = load("huggingface_lora")
    from overt.penalties import SpectralPenalty, adapters_of

    def gradient(passes: int) -> torch.Tensor:
        torch.manual_seed(0)
        shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": example.VOCABULARY}
        special = {"bos_token_id": 0, "eos_token_id": 0}
        base = example.GPT2LMHeadModel(example.GPT2Config(**shape, **special, n_positions=example.LENGTH))
        config = example.LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True)
        model = example.get_peft_model(base, config)
        (adapter,) = adapters_of(model)
        torch.nn.init.normal_(adapter.parameters[1], generator=torch.Generator().manual_seed(1))
        arguments = example.TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=1,
            gradient_accumulation_steps=passes,
            learning_rate=0.0,
            max_grad_norm=0,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
        )
        seen = []
        adapter.parameters[0].register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
        penalty = SpectralPenalty(model, weight=1e3, layers="*default")
        example.PenalizedTrainer(
            model=model, args=arguments, train_dataset=example.Sequences(64), penalty=penalty
        ).train()
        assert len(seen) == passes
        return seen[-1]

    several, one = gradient(4), gradient(1)
    # What is left is the loss, of other sequences.
    assert torch.linalg.vector_norm(several - one) < 1e-2 * torch.linalg.vector_norm(one)
