"""Encoders: BERT and its kin, with the head that each task needs. Goldens are the whole outputs."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import transformers

from . import compare, export, golden, vocabularies
from .onnx_decoder import session

SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=64,
             initializer_range=0.25, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@dataclass
class Family:
    name: str
    architecture: str
    config: dict
    tokenizer: Callable[[Path], int]
    # Optimum's name of the task.
    task: str
    # One batch of texts (or pairs): padded together, so that the mask matters.
    texts: list = field(default_factory=lambda: ["The bird sings in the garden every morning.", "Good night."])


def bert_tokenizer(directory: Path) -> int:
    return vocabularies.word_piece(directory, 180)


MASKED = ["The bird [MASK] in the garden.", "Please turn on the [MASK] in the [MASK]."]

FAMILIES = [
    Family("bert", "BertForMaskedLM", SMALL, bert_tokenizer, "fill-mask", MASKED),
]


def build(family: Family, vocabulary: int, seed: int):
    torch.manual_seed(seed)
    model_class = getattr(transformers, family.architecture)
    return model_class(model_class.config_class(**family.config, vocab_size=vocabulary)).eval()


@torch.no_grad()
def case(family: Family, model, tokenizer, name: str, texts: list, directory: Path) -> dict:
    """A batch: text, ids, mask and outputs."""
    given = tokenizer(*zip(*texts), padding=True, return_tensors="pt") if isinstance(texts[0], tuple) else tokenizer(texts, padding=True, return_tensors="pt")
    out = model(**given)
    record = {"texts": texts, "inputs": {k: v.tolist() for k, v in given.items()}, "outputs": {}}
    for key, value in out.items():
        record["outputs"][key] = golden.array(value.float().numpy(), directory, f"{name}-{key}")
    return record


def generate(family: Family, out: Path, seed: int = 1):
    with tempfile.TemporaryDirectory() as scratch:
        saved, exported = Path(scratch, "saved"), Path(scratch, "exported")
        saved.mkdir()
        vocabulary = family.tokenizer(saved)
        model = build(family, vocabulary, seed)
        model.save_pretrained(saved)
        export.export(saved, exported, family.task)
        export.keep_tokenizer(saved, exported)
        directory = out / family.name
        export.lay_out_transformers_js(exported, directory)
        tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
        cases = [case(family, model, tokenizer, "batch", family.texts, directory), case(family, model, tokenizer, "single", family.texts[-1:], directory)]
    runs = [dict(dtype="f32", reference="transformers", files={"model": "onnx/model.onnx"}, cases=cases)]
    golden.write(directory, family.name, "encoder", seed, runs, layout="transformers.js", task=family.task)
    compare.insist(directory)
    export.check_sizes(directory)
