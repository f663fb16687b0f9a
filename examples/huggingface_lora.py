"""The rank of LoRA adapters chosen by a penalty, with the Hugging Face Trainer and PEFT.

    pip install transformers peft accelerate
    python examples/huggingface_lora.py

The script makes a tiny GPT-2 with random weights and downloads nothing. Its adapters have rank 8. The
normalized nuclear norm of each product B A is added to the loss, and superfluous ranks collapse.
"""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from overt.penalties import SpectralPenalty, adapters_of, truncate_adapters

VOCABULARY, LENGTH = 32, 16


class Sequences(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Counting upwards, modulo the size of the vocabulary, by a step of 1 to 3."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        start = torch.randint(VOCABULARY, (count, 1), generator=generator)
        step = torch.randint(1, 4, (count, 1), generator=generator)
        self.tokens = (start + step * torch.arange(LENGTH)) % VOCABULARY

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


class PenalizedTrainer(Trainer):
    """The Trainer with a penalty added to its loss."""

    def __init__(self, *arguments: Any, penalty: SpectralPenalty, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.penalty = penalty

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, **options: Any
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **options)
        if model.training:
            term = self.penalty.penalty()
            # Several passes may be accumulated into one step, and the penalty must count once. If the model
            # knows the number of items in the whole step, it has divided its loss itself and the Trainer does
            # not divide again. Otherwise the Trainer divides all that is returned here.
            told = options.get("num_items_in_batch") is not None
            if told and (self.model_accepts_loss_kwargs or self.compute_loss_func):
                term = term / self.current_gradient_accumulation_steps
            loss = loss + term
        return (loss, outputs) if return_outputs else loss


def train(weight: float) -> None:
    torch.manual_seed(0)
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": VOCABULARY, "n_positions": LENGTH}
    special = {"bos_token_id": 0, "eos_token_id": 0}
    base = GPT2LMHeadModel(GPT2Config(**shape, **special))
    model = get_peft_model(
        base, LoraConfig(r=8, lora_alpha=8, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)
    )
    # B starts at zero. The floor keeps the first gradients of the normalized norm bounded.
    penalty = SpectralPenalty(model, weight=weight, layers="adapters", norm_floor=0.5)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=300,
            per_device_train_batch_size=32,
            learning_rate=5e-3,
            lr_scheduler_type="linear",
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = PenalizedTrainer(model=model, args=arguments, train_dataset=Sequences(512), penalty=penalty)
        found = trainer.train()
    report = penalty.report()
    print(f"weight {weight}: mean training loss {found.training_loss:.3f}")
    print(report)
    ranks = truncate_adapters(model, tolerance=0.05)
    print(f"ranks after truncation: {list(ranks.values())} of {len(adapters_of(model))} adapters\n")


def main() -> None:
    warnings.filterwarnings("ignore")
    for weight in (0.0, 0.02):
        train(weight)


if __name__ == "__main__":
    main()
