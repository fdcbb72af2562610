"""Encoders: BERT and its kin, with the head that each task needs. Goldens are the whole outputs, and what `pipeline` makes of them."""

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import transformers

from . import compare, export, golden, quantize, vocabularies, weights
from .onnx_decoder import session

SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=66,
             initializer_range=0.25, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
DISTIL = dict(dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=66, initializer_range=0.25, dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0)
MODERN = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, max_position_embeddings=66, initializer_range=0.25, initializer_cutoff_factor=4.0,
              local_attention=8, global_attn_every_n_layers=2, cls_token_id=0, bos_token_id=0, pad_token_id=1, sep_token_id=2, eos_token_id=2, reference_compile=False)
ENTITIES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@dataclass
class Family:
    name: str
    architecture: str
    config: dict
    tokenizer: Callable[[Path], int]
    # Optimum's name of the task.
    task: str
    # One batch of texts, or pairs: padded together, so that the mask matters.
    texts: list
    labels: list = field(default_factory=list)
    # Options of `pipeline` for which its answers are recorded.
    pipelines: list = field(default_factory=list)
    variants: dict = field(default_factory=lambda: {"f16": {}, "int8": dict(per_channel=True)})
    # Beside it `<name>-qdq`: statically quantized, laid out as Optimum does.
    static: bool = False


def pieces(directory: Path) -> int:
    return vocabularies.word_piece(directory, 180)


SENTENCES = ["The bird sings in the garden every morning.", "Good night.", "My brother bought a small house near the sea."]
CONTEXT = "My brother bought a small house near the sea. The doctor said that he should sleep more."
QUESTIONS = [("What did my brother buy?", CONTEXT), ("Who should sleep?", "Good night, sleep well and dream of the sea.")]
FAMILIES = [
    Family("bert", "BertForMaskedLM", SMALL, pieces, "fill-mask", ["The bird [MASK] in the garden.", "Please turn on the [MASK] in the [MASK]."],
           pipelines=[dict(top_k=5)], static=True),
    Family("roberta", "RobertaForMaskedLM", dict(SMALL, pad_token_id=1, type_vocab_size=1), lambda d: vocabularies.roberta(d, 128), "fill-mask",
           ["The bird<mask> in the garden.", "Please turn on the<mask> in the<mask> before you go to bed."], pipelines=[dict(top_k=5)]),
    Family("modernbert", "ModernBertForMaskedLM", MODERN, lambda d: vocabularies.modernbert(d, 128), "fill-mask",
           ["The bird[MASK] in the garden.", "Please turn on the[MASK] in the kitchen, and close the door before you go to bed."], pipelines=[dict(top_k=5)]),
    Family("distilbert", "DistilBertForSequenceClassification", DISTIL, lambda d: vocabularies.word_piece(d, 180, "DistilBertTokenizerFast"), "text-classification", SENTENCES, ["NEGATIVE", "POSITIVE"], [dict(top_k=2)]),
    Family("bert-nli", "BertForSequenceClassification", SMALL, pieces, "text-classification",
           [("The bird sings in the garden.", "This example is music."), ("Water boils at one hundred degrees.", "This example is about the sea, and the boats on it.")],
           ["contradiction", "neutral", "entailment"], [dict(zero_shot=True), dict(zero_shot=True, multi_label=True)], variants={}),
    Family("xlm-roberta", "XLMRobertaForTokenClassification", dict(SMALL, pad_token_id=1, type_vocab_size=1), lambda d: vocabularies.xlm_roberta(d, 128),
           "token-classification", SENTENCES[:2] + ["Morgen wird es regnen, nimm also deinen Mantel mit."], ENTITIES,
           [dict(aggregation_strategy=s) for s in ("none", "simple", "first", "average", "max")]),
    Family("bert-qa", "BertForQuestionAnswering", SMALL, pieces, "question-answering", QUESTIONS,
           pipelines=[dict(top_k=3), dict(top_k=1, handle_impossible_answer=True), dict(top_k=3, max_answer_len=3)], variants={"int8": dict(per_channel=True)}),
    Family("mpnet", "MPNetModel", dict(SMALL, pad_token_id=1), lambda d: vocabularies.mpnet(d, 180), "feature-extraction", SENTENCES),
    Family("minilm", "BertModel", SMALL, pieces, "feature-extraction", SENTENCES, variants={"int8": dict(per_channel=True)}),
]


def build(family: Family, vocabulary: int, seed: int):
    torch.manual_seed(seed)
    model_class = getattr(transformers, family.architecture)
    labels = dict(id2label=dict(enumerate(family.labels)), label2id={n: i for i, n in enumerate(family.labels)}) if family.labels else {}
    return weights.disturb(model_class(model_class.config_class(**family.config, **labels, vocab_size=vocabulary))).eval()


def inputs(tokenizer, texts: list):
    if isinstance(texts[0], tuple):
        return tokenizer(*(list(side) for side in zip(*texts)), padding=True, return_tensors="pt")
    return tokenizer(texts, padding=True, return_tensors="pt")


@torch.no_grad()
def case(model, tokenizer, name: str, texts: list, directory: Path) -> dict:
    """A batch: text, ids, mask and outputs."""
    given = inputs(tokenizer, texts)
    record = {"texts": texts, "inputs": {k: v.tolist() for k, v in given.items()}, "outputs": {}}
    for key, value in model(**given).items():
        record["outputs"][key] = golden.array(value.float().numpy(), directory, f"{name}-{key}")
    return record


@torch.no_grad()
def embeddings(model, tokenizer, texts: list, directory: Path) -> dict:
    """Each way of pooling, normalised: [texts, hidden]."""
    given = inputs(tokenizer, texts)
    hidden, mask = model(**given).last_hidden_state, given["attention_mask"][..., None].float()
    last = given["attention_mask"].sum(1) - 1
    ways = {"mean": (hidden * mask).sum(1) / mask.sum(1), "cls": hidden[:, 0], "last": hidden[torch.arange(len(texts)), last]}
    return {way: golden.array(torch.nn.functional.normalize(v, dim=-1).numpy(), directory, f"embedding-{way}") for way, v in ways.items()}


def piped(family: Family, model, tokenizer) -> list[dict]:
    """What `pipeline` answers to each text, with its options."""
    found = []
    for options in family.pipelines:
        if "zero_shot" in options:
            rest = {k: v for k, v in options.items() if k != "zero_shot"}
            pipe = transformers.pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)
            given = dict(candidate_labels=["music", "cooking", "the sea"], **rest)
            answers = [pipe(text[0], **given) for text in family.texts]
            found.append({"task": "zero-shot-classification", "options": given, "answers": plain(answers)})
            continue
        pipe = transformers.pipeline(family.task, model=model, tokenizer=tokenizer, **({} if family.task == "question-answering" else options))
        if family.task == "question-answering":
            answers = [pipe(question=q, context=c, **options) for q, c in family.texts]
        else:
            answers = [pipe(text) for text in family.texts]
        found.append({"task": family.task, "options": options, "answers": plain(answers)})
    return found


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return golden.number(value)
    return int(value) if isinstance(value, np.integer) else value


def sentence_transformers(directory: Path):
    """The files by which sentence-transformers knows how to pool."""
    (directory / "modules.json").write_text(json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}], indent=2))
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(
        {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}, indent=2))


def generate(family: Family, out: Path, seed: int = 1):
    directory = out / family.name
    with tempfile.TemporaryDirectory() as scratch:
        saved, exported = Path(scratch, "saved"), Path(scratch, "exported")
        saved.mkdir()
        vocabulary = family.tokenizer(saved)
        model, tokenizer = build(family, vocabulary, seed), transformers.AutoTokenizer.from_pretrained(saved)
        model.save_pretrained(saved)
        export.export(saved, exported, family.task)
        export.keep_tokenizer(saved, exported)
        export.lay_out_transformers_js(exported, directory)
        cases = [case(model, tokenizer, "batch", family.texts, directory), case(model, tokenizer, "single", family.texts[-1:], directory)]
        if family.task == "feature-extraction":
            sentence_transformers(directory)
            cases[0]["embeddings"] = embeddings(model, tokenizer, family.texts, directory)
        if family.pipelines:
            cases[0]["pipelines"] = piped(family, model, tokenizer)
        runs = [dict(dtype="f32", reference="transformers", files={"model": "onnx/model.onnx"}, cases=cases)]
        for dtype, options in family.variants.items():
            target = quantize.variant(exported / "model.onnx", dtype, **options)
            shutil.copyfile(target, directory / "onnx" / target.name)
            runs.append(again(directory, f"onnx/{target.name}", dtype, cases, **options))
        if family.static:
            static(family, exported, out / f"{family.name}-qdq", seed, cases, tokenizer)
    finish(directory, family, seed, runs, layout="transformers.js")


def again(directory: Path, file: str, dtype: str, cases: list[dict], **options) -> dict:
    """The same inputs answered by another type's graph."""
    graph = session(directory / file, as_written=dtype == "qdq")
    records = []
    for place, record in enumerate(cases):
        outputs = compare.encoded(graph, record["inputs"])
        records.append({"texts": record["texts"], "inputs": record["inputs"],
                        "outputs": {k: golden.array(v, directory, f"{dtype}-{place}-{k}") for k, v in outputs.items()}})
    return dict(dtype=dtype, reference="onnxruntime", files={"model": file}, cases=records, **options)


def static(family: Family, exported: Path, directory: Path, seed: int, cases: list[dict], tokenizer):
    """A directory of Optimum's layout that holds nothing but the statically quantized graph."""
    export.fresh(directory)
    for path in exported.iterdir():
        if path.suffix != ".onnx":
            shutil.copyfile(path, directory / path.name)
    feeds = [{k: v.numpy() for k, v in tokenizer(line, return_tensors="pt").items()} for line in vocabularies.sentences()]
    quantize.static(exported / "model.onnx", directory / "model_quantized.onnx", feeds)
    finish(directory, family, seed, [again(directory, "model_quantized.onnx", "qdq", cases)], layout="optimum")


def finish(directory: Path, family: Family, seed: int, runs: list, layout: str):
    model_type = json.loads((directory / "config.json").read_text())["model_type"]
    golden.write(directory, family.name, "encoder", seed, runs, layout=layout, model_type=model_type, task=family.task)
    export.settle(directory)
    compare.insist(directory)
