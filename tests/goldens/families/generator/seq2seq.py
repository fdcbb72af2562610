"""Encoder-decoder families of text. Random ones repeat themselves, so each is taught to map ids and to reverse their order."""

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import transformers

from . import attention, compare, export, golden, quantize, vocabularies, weights
from .onnx_seq2seq import Seq2Seq

LENGTHS = (3, 9, 14)
CANDIDATES = 24
MAX_NEW = 24


@dataclass
class Family:
    name: str
    architecture: str
    config: dict
    # Writes the tokenizer and returns the number of ids.
    tokenizer: Callable[[Path], int]
    pad: int
    eos: int
    # Ids that are neither control tokens nor unused.
    words: Callable[[int], range]
    # What stands before the words of a source.
    before: tuple = ()
    # Names of the target languages, whose ids the tokenizer knows; the first is taught to reverse, a second is not.
    languages: tuple = ("",)
    source_language: str = ""
    texts: tuple = ("The bird sings in the garden.", "Please close the door.")
    beams: tuple = ()
    variants: dict = field(default_factory=lambda: {"f16": {}, "int8": dict(per_channel=True)})
    # Else f32 stays as Optimum wrote it.
    slim: bool = False
    optimum_layout: bool = False
    # Optimum's class of the architecture, where the decoder is to give its cross-attention.
    attention: str = ""


SMALL = dict(d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
             decoder_ffn_dim=64, max_position_embeddings=64, init_std=0.1, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
             decoder_layerdrop=0.0, encoder_layerdrop=0.0, num_beams=1)
FAIRSEQ = dict(SMALL, bos_token_id=0, scale_embedding=True, decoder_start_token_id=2)


def t5_tokenizer(directory: Path) -> int:
    vocabularies.t5(directory, 128, 8)
    return 128


MARIAN = dict(SMALL, scale_embedding=True, static_position_embeddings=True, activation_function="swish", share_encoder_decoder_embeddings=True,
              bad_words_ids="pad", forced_eos_token_id=0)

FAMILIES = [
    Family("marian", "MarianMTModel", dict(MARIAN, num_beams=4), lambda directory: vocabularies.marian(directory, 80), pad=-1, eos=0,
           words=lambda v: range(2, v - 1), beams=(dict(num_beams=4, length_penalty=1.0), dict(num_beams=4, length_penalty=0.2, early_stopping=True))),
    Family("marian-attention", "MarianMTModel", dict(MARIAN, d_model=24, encoder_ffn_dim=48, decoder_ffn_dim=48),
           lambda directory: vocabularies.marian(directory, 110, few_rules=True), pad=-1, eos=0, words=lambda v: range(2, v - 1), variants={}, slim=True,
           attention="MarianOnnxConfig"),
    Family("t5", "T5ForConditionalGeneration", dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, relative_attention_num_buckets=8,
                                                    relative_attention_max_distance=20, dropout_rate=0.0, feed_forward_proj="relu"),
           t5_tokenizer, pad=0, eos=1, words=lambda v: range(3, v - 8), optimum_layout=True),
    Family("flan-t5", "T5ForConditionalGeneration", dict(d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, relative_attention_num_buckets=8,
                                                         relative_attention_max_distance=20, dropout_rate=0.0, feed_forward_proj="gated-gelu",
                                                         tie_word_embeddings=False),
           t5_tokenizer, pad=0, eos=1, words=lambda v: range(3, v - 8), variants={"int8": dict(per_channel=True)}),
    Family("bart", "BartForConditionalGeneration", dict(SMALL, bos_token_id=0, decoder_start_token_id=2, forced_bos_token_id=0, forced_eos_token_id=2),
           lambda directory: vocabularies.bart(directory, 128), pad=1, eos=2, words=lambda v: range(5, v), before=(0,), languages=("<s>",),
           beams=(dict(num_beams=4, length_penalty=2.0, early_stopping=True), dict(num_beams=4, length_penalty=0.6, no_repeat_ngram_size=2, min_new_tokens=6))),
    Family("m2m_100", "M2M100ForConditionalGeneration", FAIRSEQ, lambda directory: vocabularies.m2m_100(directory, 96), pad=1, eos=2,
           words=lambda v: range(4, 88), before=("__en__",), languages=("__de__", "__fr__"), source_language="en"),
    Family("nllb", "M2M100ForConditionalGeneration", FAIRSEQ, lambda directory: vocabularies.nllb(directory, 96), pad=1, eos=2,
           words=lambda v: range(4, 88), before=("eng_Latn",), languages=("deu_Latn", "fra_Latn"), source_language="eng_Latn",
           variants={"int8": dict(per_channel=True)}, slim=True),
    Family("mbart", "MBartForConditionalGeneration", FAIRSEQ, lambda directory: vocabularies.mbart_50(directory, 96), pad=1, eos=2,
           words=lambda v: range(4, 88), before=("en_XX",), languages=("de_DE", "fr_XX"), source_language="en_XX", variants={"int8": dict(per_channel=True)}),
]


def build(family: Family, vocabulary: int, seed: int):
    torch.manual_seed(seed)
    pad = family.pad % vocabulary
    config = dict(family.config, vocab_size=vocabulary, pad_token_id=pad, eos_token_id=family.eos)
    config.setdefault("decoder_start_token_id", pad)
    for key, value in config.items():
        if value == "pad":
            config[key] = [[pad]]
    model_class = getattr(transformers, family.architecture)
    config = model_class.config_class(**config)
    if family.attention:
        # The only one that gives it.
        config._attn_implementation = "eager"
    return weights.disturb(model_class(config))


class Task:
    """What is taught: to map words and, for the first language, to reverse their order."""

    def __init__(self, family: Family, vocabulary: int, tokenizer, seed: int):
        self.random = np.random.default_rng(seed)
        # Few enough to be learnt in a minute.
        words = attention.sayable(tokenizer, vocabulary) if family.attention else family.words(vocabulary)
        self.words = self.random.choice(np.array(words), 40, replace=False)
        self.map = dict(zip(self.words, self.random.permutation(self.words)))
        self.before = [tokenizer.convert_tokens_to_ids(t) if isinstance(t, str) else t for t in family.before]
        self.forced = {name: tokenizer.convert_tokens_to_ids(name) if name else None for name in family.languages}
        self.languages, self.eos = family.languages, family.eos

    def source(self, words) -> list[int]:
        return [*self.before, *(int(w) for w in words), self.eos]

    def target(self, language: str, words) -> list[int]:
        ordered = words[::-1] if language == self.languages[0] else words
        forced = self.forced[language]
        return [*([] if forced is None else [forced]), *(int(self.map[w]) for w in ordered), self.eos]

    def batch(self, size: int, pad: int):
        sources, targets = [], []
        for _ in range(size):
            words = self.random.choice(self.words, self.random.integers(1, 16))
            sources.append(self.source(words))
            targets.append(self.target(self.languages[self.random.integers(len(self.languages))], words))
        return padded(sources, pad), padded(targets, -100)


def padded(rows: list, fill: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[int(i) for i in row] + [fill] * (width - len(row)) for row in rows])


def teach(model, task: Task, steps: int, pad: int, enough: float = 0.25):
    """Until the loss is below `enough`: not perfect, so that beams still differ."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps, pct_start=0.1)
    smooth = 9.0
    for _ in range(steps):
        source, target = task.batch(32, pad)
        loss = model(input_ids=source, attention_mask=(source != pad).long(), labels=target).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smooth = 0.95 * smooth + 0.05 * loss.item()
        if smooth < enough:
            break
    model.eval()
    return smooth


@torch.no_grad()
def answer(model, source: list[int], mask: list[int], forced: int | None, **options):
    """`generate` on one source: the sequences without the decoder's start, and what else `generate` tells."""
    given = {**dict(do_sample=False, num_beams=1, max_new_tokens=MAX_NEW, return_dict_in_generate=True, forced_bos_token_id=forced), **options}
    out = model.generate(torch.tensor([source]), attention_mask=torch.tensor([mask]), **given)
    return [trimmed(row[1:].tolist(), model.config.eos_token_id) for row in out.sequences], out


def trimmed(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos) + 1] if eos in ids else ids


def case(family: Family, model, task: Task, source: list[int], language: str, pads: int = 0) -> dict:
    """Greedy ids with each step's raw logits, and the beams. `pads` pad tokens are added behind the source and masked."""
    forced = task.forced[language]
    mask = [1] * len(source) + [0] * pads
    source = source + [model.config.pad_token_id] * pads
    (ids,), out = answer(model, source, mask, forced, output_logits=True)
    logits = torch.cat(out.logits).float().numpy()[: len(ids)]
    record = {"input_ids": source, **({"attention_mask": mask} if pads else {}), "start": [model.config.decoder_start_token_id], "ids": ids,
              "stop": "eos" if ids[-1] == family.eos else "length", "steps": [golden.step(row) for row in logits]}
    if forced is not None:
        record = {"forced_bos_token_id": forced, **record}
    if family.beams:
        record["beams"] = []
    for beam in family.beams:
        rows, out = answer(model, source, mask, forced, **beam, num_return_sequences=beam["num_beams"], output_scores=True)
        record["beams"].append({**beam, "max_new_tokens": MAX_NEW,
                                "sequences": [{"ids": r, "score": golden.number(s)} for r, s in zip(rows, out.sequences_scores)]})
    return record


def sound(record: dict) -> bool:
    """Ends, is far from a tie at each step that is not forced, and no rounding reorders its beams."""
    first = 1 if "forced_bos_token_id" in record else 0
    if any(s["top_logits"][0] - s["top_logits"][1] < golden.MIN_MARGIN or s["top_ids"][0] != i for s, i in list(zip(record["steps"], record["ids"]))[first:]):
        return False
    for beam in record.get("beams", []):
        scores = [s["score"] for s in beam["sequences"]]
        if min(a - b for a, b in zip(scores, scores[1:])) < golden.MIN_MARGIN:
            return False
    return record["stop"] == "eos"


def choose(family: Family, model, task: Task) -> list[dict] | None:
    """One case for each length and language, preferring one whose best beam is not the greedy answer, and one with padding. The longest are varied."""
    cases = []
    wanted = [(length, family.languages[0], 0) for length in LENGTHS] + [(LENGTHS[-1], language, 0) for language in family.languages[1:]] + [(6, family.languages[0], 5)]
    for length, language, pads in wanted:
        found = []
        for _ in range(CANDIDATES):
            record = case(family, model, task, task.source(task.random.choice(task.words, length)), language, pads)
            if sound(record) and (length < 9 or len(set(record["ids"])) >= golden.MIN_DISTINCT):
                found.append(record)
                if any(b["sequences"][0]["ids"] != record["ids"] for b in record.get("beams", [])) or not family.beams:
                    break
        if not found:
            return None
        cases.append(found[-1])
    return cases


def texts(family: Family, model, task: Task, tokenizer) -> list[dict]:
    """The tokenizer's part: text in, ids, and the text of what the model answers."""
    records, language = [], family.languages[0]
    if family.attention:
        return attention.texts(model, task, tokenizer, lambda source: case(family, model, task, source, language))
    if family.source_language:
        tokenizer.src_lang = family.source_language
    for text in family.texts:
        record = case(family, model, task, tokenizer(text).input_ids, language)
        names = {"source_language": family.source_language, "target_language": language.strip("_")} if family.source_language else {}
        records.append({"text": text, **names, **record, "answer": tokenizer.decode(record["ids"], skip_special_tokens=True)})
    return records


def generate(family: Family, out: Path):
    with tempfile.TemporaryDirectory() as scratch:
        saved, exported = Path(scratch, "saved"), Path(scratch, "exported")
        saved.mkdir()
        vocabulary = family.tokenizer(saved)
        tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
        for seed in range(1, 20):
            model, task = build(family, vocabulary, seed), Task(family, vocabulary, tokenizer, seed)
            loss = teach(model, task, 2500, family.pad % vocabulary)
            cases = choose(family, model, task)
            if cases:
                break
            print(f"{family.name}: seed {seed}, loss {loss:.2f}: no answers far from a tie", flush=True)
        else:
            raise SystemExit(f"{family.name}: no seed gives answers far from a tie")
        model.save_pretrained(saved)
        if family.attention:
            export.export_with_attention(saved, exported, "text2text-generation-with-past", family.attention)
        else:
            export.export(saved, exported, "text2text-generation-with-past")
        export.keep_tokenizer(saved, exported)
        lay_out(family, exported, out, seed, cases, cases + texts(family, model, task, tokenizer))


def lay_out(family: Family, exported: Path, out: Path, seed: int, chosen: list[dict], answers: list[dict]):
    """The directories of a family, each with its golden."""
    directory = out / family.name
    export.lay_out_transformers_js(exported, directory)
    names = {dtype: {"encoder": f"onnx/encoder_model{suffix}.onnx", "decoder": f"onnx/decoder_model_merged{suffix}.onnx"} for dtype, suffix in quantize.SUFFIXES.items()}
    if family.optimum_layout:
        flat = out / f"{family.name}-optimum"
        export.lay_out_flat(exported, flat)
        pair = {"encoder": "encoder_model.onnx", "decoder": "decoder_model.onnx", "decoder_with_past": "decoder_with_past_model.onnx"}
        merged = {"encoder": "encoder_model.onnx", "decoder": "decoder_model_merged.onnx"}
        finish(flat, family, seed, [dict(dtype="f32", reference="transformers", files=files, cases=answers) for files in (pair, merged)], layout="optimum")
    if family.optimum_layout or family.slim:
        for file in names["f32"].values():
            quantize.variant(directory / file, "f32")
    for number, record in enumerate(answers):
        if "cross_attentions" in record:
            record["cross_attentions"] = golden.array(record["cross_attentions"], directory, f"attention-{number}")
    runs = [dict(dtype="f32", reference="transformers", files=names["f32"], cases=answers)]
    for dtype, options in family.variants.items():
        for target in (quantize.variant(exported / "encoder_model.onnx", dtype, **options), quantize.merged(exported, dtype, **options)):
            shutil.copyfile(target, directory / "onnx" / target.name)
        model = Seq2Seq(directory, names[dtype])
        runs.append(dict(dtype=dtype, reference="onnxruntime", files=names[dtype], cases=[again(model, record, family.eos) for record in chosen], **options))
    finish(directory, family, seed, runs, layout="transformers.js")


def again(model: Seq2Seq, record: dict, eos: int) -> dict:
    """The same source answered by another type's graphs; what this tells of beams and ties does not hold for them."""
    source = np.array([record["input_ids"]])
    mask = np.array([record["attention_mask"]]) if "attention_mask" in record else np.ones_like(source)
    forced = {0: record["forced_bos_token_id"]} if "forced_bos_token_id" in record else {}
    ids, logits = model.greedy({"input_ids": source, "attention_mask": mask}, mask, record["start"], {eos}, MAX_NEW, forced)
    kept = {k: v for k, v in record.items() if k in ("input_ids", "attention_mask", "forced_bos_token_id", "start")}
    return {**kept, "ids": ids.tolist(), "stop": "eos" if ids[-1] == eos else "length", "steps": [golden.step(row) for row in logits]}


def finish(directory: Path, family: Family, seed: int, runs: list, layout: str):
    model_type = json.loads((directory / "config.json").read_text())["model_type"]
    golden.write(directory, family.name, "seq2seq", seed, runs, layout=layout, model_type=model_type)
    export.settle(directory)
    compare.insist(directory)
