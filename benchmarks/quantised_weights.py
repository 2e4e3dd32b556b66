"""Write a model's weights as the quantised checkpoints that transformers reads on a CPU: docs/backends.md.

    pip install bitsandbytes torchao compressed-tensors loguru
    python benchmarks/quantised_weights.py models/SmolLM2-135M-Instruct quantised

makes quantised/bitsandbytes8, /nf4, /torchao8 and /compressed8: the nearest numbers, nothing calibrated on data.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def by_transformers(model: Path, to: Path, config: Any) -> None:
    AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.bfloat16, quantization_config=config, device_map="cpu"
    ).save_pretrained(to)


def bitsandbytes8(model: Path, to: Path) -> None:
    from transformers import BitsAndBytesConfig

    by_transformers(model, to, BitsAndBytesConfig(load_in_8bit=True))


def nf4(model: Path, to: Path) -> None:
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    )
    by_transformers(model, to, config)


def torchao8(model: Path, to: Path) -> None:
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    by_transformers(model, to, TorchAoConfig(Int8WeightOnlyConfig()))


def compressed8(model: Path, to: Path) -> None:
    """Eight bits and a scale for each row, in the format that vLLM's llm-compressor writes."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        QuantizationStatus,
        apply_quantization_config,
    )

    made = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    rows = QuantizationArgs(num_bits=8, type="int", strategy="channel", symmetric=True)
    config = QuantizationConfig(
        config_groups={"weights": QuantizationScheme(targets=["Linear"], weights=rows)},
        ignore=["lm_head"],
        format="pack-quantized",
        quantization_status="initialized",
    )
    apply_quantization_config(made, config)
    for module in made.modules():
        if hasattr(module, "weight_scale"):
            largest = module.weight.detach().abs().amax(1, keepdim=True)
            module.weight_scale.data = (largest / 127).to(module.weight_scale.dtype)
            module.quantization_status = QuantizationStatus.FROZEN
    compressor = ModelCompressor.from_pretrained_model(made)
    compressor.compress_model(made)
    made.save_pretrained(to)
    compressor.update_config(str(to))


KINDS: tuple[Callable[[Path, Path], None], ...] = (bitsandbytes8, nf4, torchao8, compressed8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("to", type=Path, help="folder for the checkpoints")
    given = parser.parse_args()
    for kind in KINDS:
        folder = given.to / kind.__name__
        kind(given.model, folder)
        AutoTokenizer.from_pretrained(given.model).save_pretrained(folder)
        print(folder)


if __name__ == "__main__":
    main()
