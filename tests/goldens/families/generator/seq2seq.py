"""Encoder-decoder families of text. Random ones repeat themselves, so each is taught to map ids and to reverse their order."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import transformers

from . import export, golden, vocabularies
from .onnx_seq2seq import Seq2Seq

LENGTHS = (3, 9, 14)
CANDIDATES = 24
MAX_NEW = 24


@dataclass
class Family:
    name: str
    architecture: str
    config: dict
    # Writes the tokenizer and returns the number of ids, or None for ids without text.
    tokenizer: Callable[[Path], int]
    pad: int
    eos: int
    # Ids that are neither control tokens nor unused.
    words: Callable[[int], range]
    # The ids before and after the words of a source, before the target (as forced first id), per target language.
    languages: dict = field(default_factory=lambda: {"": ([], None)})
    bos: list = field(default_factory=list)
    texts: tuple = ("The bird sings in the garden.", "Please close the door.")
    beams: tuple = ()
    optimum_layout: bool = False


SMALL = dict(d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
             decoder_ffn_dim=64, max_position_embeddings=64, init_std=0.1, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
             decoder_layerdrop=0.0, encoder_layerdrop=0.0)


def marian_tokenizer(directory: Path) -> int:
    return vocabularies.marian(directory, 80)


def t5_tokenizer(directory: Path) -> int:
    vocabularies.t5(directory, 128, 8)
    return 128


FAMILIES = [
    Family("marian", "MarianMT", dict(SMALL, scale_embedding=True, static_position_embeddings=True, activation_function="swish",
                                      share_encoder_decoder_embeddings=True, num_beams=4, bad_words_ids="pad", forced_eos_token_id=0),
           marian_tokenizer, pad=-1, eos=0, words=lambda v: range(2, v - 1),
           beams=(dict(num_beams=4, length_penalty=1.0), dict(num_beams=4, length_penalty=0.2, early_stopping=True))),
    Family("t5", "T5ForConditionalGeneration", dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, relative_attention_num_buckets=8,
                                                    relative_attention_max_distance=20, dropout_rate=0.0, feed_forward_proj="relu"),
           t5_tokenizer, pad=0, eos=1, words=lambda v: range(3, v - 8), optimum_layout=True),
]


def build(family: Family, vocabulary: int, seed: int):
    torch.manual_seed(seed)
    pad = family.pad % vocabulary
    config = dict(family.config, vocab_size=vocabulary, pad_token_id=pad, eos_token_id=family.eos)
    config.setdefault("decoder_start_token_id", pad)
    for key, value in config.items():
        if value == "pad":
            config[key] = [[pad]]
    name = family.architecture if family.architecture.endswith("Generation") else family.architecture + "Model"
    model_class = getattr(transformers, name)
    return model_class(model_class.config_class(**config))


class Task:
    """What is taught: for each language its own mapping of words, then the order reversed."""

    def __init__(self, family: Family, vocabulary: int, seed: int):
        self.family, self.random = family, np.random.default_rng(seed)
        self.words = np.array(family.words(vocabulary))
        self.maps = {language: dict(zip(self.words, self.random.permutation(self.words))) for language in family.languages}

    def source(self, words: list[int]) -> list[int]:
        return [*self.family.bos, *words, self.family.eos]

    def target(self, language: str, words: list[int]) -> list[int]:
        forced = self.family.languages[language][1]
        return [*([] if forced is None else [forced]), *(self.maps[language][w] for w in reversed(words)), self.family.eos]

    def batch(self, size: int, pad: int):
        sources, targets = [], []
        languages = list(self.family.languages)
        for _ in range(size):
            words = self.random.choice(self.words, self.random.integers(1, 16))
            language = languages[self.random.integers(len(languages))]
            sources.append(self.family.languages[language][0] + self.source(list(words)))
            targets.append(self.target(language, list(words)))
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
        source, target = task.batch(48, pad)
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
def answer(family: Family, model, source: list[int], language: str, **options):
    """`generate` on one source: the sequences without the decoder's start, and what else `generate` tells."""
    ids = torch.tensor([[int(i) for i in source]])
    given = {**dict(do_sample=False, num_beams=1, max_new_tokens=MAX_NEW, return_dict_in_generate=True), **options}
    if family.languages[language][1] is not None:
        given["forced_bos_token_id"] = family.languages[language][1]
    out = model.generate(ids, attention_mask=torch.ones_like(ids), **given)
    return [trimmed(row[1:].tolist(), family.eos) for row in out.sequences], out


def trimmed(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos) + 1] if eos in ids else ids


def case(family: Family, model, source: list[int], language: str) -> dict:
    """Greedy ids with each step's raw logits, and the beams."""
    (ids,), out = answer(family, model, source, language, output_logits=True)
    logits = torch.cat(out.logits).float().numpy()[: len(ids)]
    record = {"input_ids": [int(i) for i in source], "start": [model.config.decoder_start_token_id], "ids": ids,
              "stop": "eos" if ids[-1] == family.eos else "length", "steps": [golden.step(row) for row in logits]}
    if family.languages[language][1] is not None:
        record["forced_bos_token_id"] = family.languages[language][1]
    if family.beams:
        record["beams"] = []
    for beam in family.beams:
        given = {**beam, "num_return_sequences": beam["num_beams"]}
        rows, out = answer(family, model, source, language, **{**given, "output_scores": True})
        record["beams"].append({**beam, "max_new_tokens": MAX_NEW,
                                "sequences": [{"ids": r, "score": golden.number(s)} for r, s in zip(rows, out.sequences_scores)]})
    return record


def sound(family: Family, record: dict) -> bool:
    """Varied, far from a tie at each step that is not forced, and beams that no rounding reorders."""
    free = record["steps"][1:] if "forced_bos_token_id" in record else record["steps"]
    ids = record["ids"][len(record["steps"]) - len(free):]
    if any(s["top_logits"][0] - s["top_logits"][1] < golden.MIN_MARGIN or s["top_ids"][0] != i for s, i in zip(free, ids)):
        return False
    for beam in record.get("beams", []):
        scores = [s["score"] for s in beam["sequences"]]
        if min(a - b for a, b in zip(scores, scores[1:])) < golden.MIN_MARGIN:
            return False
    return record["stop"] == "eos"


def choose(family: Family, model, task: Task) -> list[dict] | None:
    """One case for each length (the longest must be varied), preferring one whose best beam is not the greedy answer; for each language one."""
    cases = []
    languages = list(family.languages)
    for index, length in enumerate(LENGTHS + LENGTHS[-1:] * (len(languages) - 1)):
        language = languages[index % len(languages)]
        found = []
        for _ in range(CANDIDATES):
            source = family.languages[language][0] + task.source(list(task.random.choice(task.words, length)))
            record = case(family, model, source, language)
            if sound(family, record) and (length < 9 or len(set(record["ids"])) >= golden.MIN_DISTINCT):
                found.append(record)
        if not found:
            return None
        differs = [r for r in found if any(b["sequences"][0]["ids"] != r["ids"] for b in r.get("beams", []))]
        cases.append((differs or found)[0])
    return cases


def texts(family: Family, model, directory: Path) -> list[dict]:
    """The tokenizer's part: text in, ids, and the text of what the model answers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    records = []
    for text in family.texts:
        language = next(iter(family.languages))
        source = tokenizer(text).input_ids
        record = case(family, model, source, language)
        record = {"text": text, **record, "answer": tokenizer.decode(record["ids"], skip_special_tokens=True)}
        records.append(record)
    return records


def generate(family: Family, out: Path):
    with tempfile.TemporaryDirectory() as scratch:
        saved, exported = Path(scratch, "saved"), Path(scratch, "exported")
        saved.mkdir()
        vocabulary = family.tokenizer(saved)
        for seed in range(1, 20):
            model, task = build(family, vocabulary, seed), Task(family, vocabulary, seed)
            teach(model, task, 2500, family.pad % vocabulary)
            cases = choose(family, model, task)
            if cases:
                break
        else:
            raise SystemExit(f"{family.name}: no seed gives answers far from a tie")
        model.save_pretrained(saved)
        export.export(saved, exported, "text2text-generation-with-past")
        keep_tokenizer(saved, exported)
        runs = [dict(dtype="f32", reference="transformers", files={"encoder": "onnx/encoder_model.onnx", "decoder": "onnx/decoder_model_merged.onnx"},
                     cases=cases + (texts(family, model, saved) if family.texts else []))]
        directory = out / family.name
        export.lay_out_transformers_js(exported, directory)
        golden.write(directory, family.name, "seq2seq", seed, runs, layout="transformers.js")
        verify(directory, runs)
        export.check_sizes(directory)
        if family.optimum_layout:
            flat = out / f"{family.name}-optimum"
            export.lay_out_flat(exported, flat)
            pair = {"encoder": "encoder_model.onnx", "decoder": "decoder_model.onnx", "decoder_with_past": "decoder_with_past_model.onnx"}
            merged = {"encoder": "encoder_model.onnx", "decoder": "decoder_model_merged.onnx"}
            runs = [{**runs[0], "files": files} for files in (pair, merged)]
            golden.write(flat, family.name, "seq2seq", seed, runs, layout="optimum")
            verify(flat, runs)
            export.check_sizes(flat)


def keep_tokenizer(saved: Path, exported: Path):
    """Optimum writes a tokenizer of its own accord only where it can load one whole: what was saved is what people have."""
    for path in saved.iterdir():
        if not path.name.endswith(".safetensors") and not (exported / path.name).exists():
            (exported / path.name).write_bytes(path.read_bytes())


def verify(directory: Path, runs: list):
    """The exported graphs give the golden's logits: otherwise it is the export that is wrong."""
    for run in runs:
        model = Seq2Seq(directory, run["files"])
        for record in run["cases"]:
            source = np.array([record["input_ids"]])
            mask = np.ones_like(source)
            logits = model.forced({"input_ids": source, "attention_mask": mask}, mask, record["start"], record["ids"])
            for index, (row, want) in enumerate(zip(logits, record["steps"])):
                error = np.abs(row[want["top_ids"]] - np.array(want["top_logits"])).max() / want["max_abs"]
                if error > 1e-4:
                    raise SystemExit(f"{directory}: {run['dtype']}, source of {source.size}, step {index}: relative error {error:.2g}")
