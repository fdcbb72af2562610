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
