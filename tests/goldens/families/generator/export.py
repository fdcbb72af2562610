"""Exports a saved `transformers` model with Optimum, flat as Optimum writes it or as transformers.js lays it out."""

import logging
import shutil
import warnings
from pathlib import Path

import torch

from . import names

MAX_FILE_BYTES = 300_000


def quiet():
    """One thread, so that a golden is the same twice, and no tracer warnings, of which an export gives hundreds."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def export(saved: Path, out: Path, task: str):
    """Writes what `optimum-cli export onnx --model saved --task task out` writes."""
    from optimum.exporters.onnx import main_export

    main_export(str(saved), str(out), task=task, device="cpu", do_validation=False)


def export_with_attention(saved: Path, out: Path, task: str, config_class: str, **more):
    """The same for an encoder-decoder whose decoder also gives its cross-attention: `cross_attentions.N`, [batch, heads, positions, encoder positions], as
    transformers.js names it in `_timestamped` exports. `config_class` is Optimum's of the architecture."""
    from optimum.exporters.onnx import main_export, model_configs
    from optimum.exporters.onnx.base import ConfigBehavior
    from transformers import AutoConfig

    class WithAttention(getattr(model_configs, config_class)):
        @property
        def outputs(self):
            outputs = super().outputs
            if self._behavior is ConfigBehavior.DECODER:
                for i in range(self._config.decoder_layers):
                    outputs[f"cross_attentions.{i}"] = {0: "batch_size", 2: "decoder_sequence_length", 3: "encoder_sequence_length"}
            return outputs

    whole = WithAttention(config=AutoConfig.from_pretrained(saved), task=task.removesuffix("-with-past"), use_past=True)
    parts = {
        "encoder_model": whole.with_behavior("encoder"),
        "decoder_model": whole.with_behavior("decoder", use_past=True, use_past_in_inputs=False),
        "decoder_with_past_model": whole.with_behavior("decoder", use_past=True, use_past_in_inputs=True),
    }
    main_export(str(saved), str(out), task=task, custom_onnx_configs=parts, device="cpu", do_validation=False, model_kwargs={"output_attentions": True}, **more)


def fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def lay_out_flat(exported: Path, directory: Path):
    """Optimum's own layout: everything in one directory."""
    fresh(directory)
    for path in exported.iterdir():
        shutil.copyfile(path, directory / path.name)


def lay_out_transformers_js(exported: Path, directory: Path):
    """transformers.js: `config.json` and the tokenizer at the top, graphs in `onnx/`, and of the decoders only the merged one."""
    fresh(directory)
    (directory / "onnx").mkdir()
    merged = (exported / "decoder_model_merged.onnx").exists()
    for path in exported.iterdir():
        if not path.name.endswith((".onnx", ".onnx_data")):
            shutil.copyfile(path, directory / path.name)
        elif not (merged and path.name.removesuffix("_data") in ("decoder_model.onnx", "decoder_with_past_model.onnx")):
            shutil.copyfile(path, directory / "onnx" / path.name)


def settle(directory: Path):
    """Shortens inner names, except in Optimum's layout, which stays as it was written, and refuses what is too large."""
    for path in (directory / "onnx").glob("*.onnx"):
        names.shorten(path)
    for path in directory.rglob("*"):
        if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
            raise SystemExit(f"{path} holds {path.stat().st_size} bytes: at most {MAX_FILE_BYTES}. Make the model narrower.")


def keep_tokenizer(saved: Path, exported: Path):
    """Optimum copies only what it can load: whatever was saved beside the weights is what people have."""
    for path in saved.iterdir():
        if not path.name.endswith(".safetensors") and not (exported / path.name).exists():
            shutil.copyfile(path, exported / path.name)
