"""Exports one model at true width with its variants, and records what the reference answers: the tiny ones' format, and all logits."""

import gc
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

from . import compare, decoders, export, full_run, golden, quantize, weights
from .full_models import NO_DROPOUT, Model
from .onnx_decoder import Decoder, session
from .onnx_seq2seq import Seq2Seq

SEED = 1
STEPS = 16
PROMPTS = (1, 12, 60)
ENCODED = ((7, 40), (128,))
SOURCES = (3, 24)
FILES = {dtype: {"encoder": f"onnx/encoder_model{s}.onnx", "decoder": f"onnx/decoder_model_merged{s}.onnx"} for dtype, s in quantize.SUFFIXES.items()}
CLIPS = Path(__file__).resolve().parents[2] / "whisper"
RATE = 16_000


def build(model: Model):
    torch.manual_seed(SEED)
    model_class = getattr(transformers, model.architecture)
    known = model_class.config_class().to_dict()
    config = {**{k: v for k, v in NO_DROPOUT.items() if k in known}, **model.config}
    made = model_class(model_class.config_class(**config))
    return weights.disturb(made, model.options.get("post_norm", 0.0)).eval()


def words(model: Model, length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(*model.words, length)


class Writer:
    """A model's directory while it is filled: runs, types that could not be made, and logits beside golden.json."""

    def __init__(self, model: Model, out: Path, scratch: Path):
        self.model, self.directory, self.scratch, self.runs, self.missing = model, out / model.name, scratch, [], {}
        self.arrays = 0

    def array(self, values) -> dict:
        self.arrays += 1
        (self.directory / "golden").mkdir(parents=True, exist_ok=True)
        return golden.array(values, self.directory, str(self.arrays))

    def add(self, dtype: str, files: dict, cases: list, reference: str = ""):
        """A run whose `cases` hold arrays of logits, or of outputs, still as they are."""
        for case in cases:
            if "logits" in case:
                case["steps"] = [golden.step(row) for row in case["logits"]]
                case["logits"] = self.array(case["logits"])
            if "outputs" in case:
                case["outputs"] = {name: self.array(value) for name, value in case["outputs"].items()}
        reference = reference or ("transformers" if dtype == "f32" else "onnxruntime")
        self.runs.append(dict(dtype=dtype, reference=reference, files=files, cases=cases))

    def variants(self, make):
        """`make` each type; one that the tools cannot make is written down with their reason."""
        for dtype in self.model.variants:
            try:
                make(dtype)
            except Exception as error:
                reason = " ".join(str(error).split())[:120] or type(error).__name__
                self.missing[dtype] = reason
                print(f"{self.model.name} {dtype}: cannot be made: {reason}", file=sys.stderr, flush=True)
            gc.collect()

    def write(self, kind: str, layout: str = "transformers.js"):
        config = self.directory / "config.json"
        family = json.loads(config.read_text())["model_type"] if config.exists() else self.model.kind
        golden.write(self.directory, family, kind, SEED, self.runs, layout=layout, missing=self.missing)


def generate(model: Model, out: Path):
    """Writes `out/<name>` with its golden.json, or leaves it as it is where that exists."""
    if (out / model.name / "golden.json").exists():
        return
    shutil.rmtree(out / model.name, ignore_errors=True)
    make = {"decoder": decoder, "seq2seq": text, "whisper": speech, "moonshine": speech, "encoder": encoder, "zipformer": zipformer}
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        make[model.kind](model, Writer(model, out, Path(scratch)))


def exported(torch_model, task: str, writer: Writer) -> Path:
    """Saves and exports; returns where the whole export lies."""
    scratch = writer.scratch
    torch_model.save_pretrained(scratch / "saved")
    export.export(scratch / "saved", scratch / "exported", task)
    shutil.rmtree(scratch / "saved")
    return scratch / "exported"


def single(torch_model, task: str, writer: Writer) -> Path:
    """The f32 graph of a model that has but one, where it is laid out: large ones are moved, not copied."""
    source = exported(torch_model, task, writer)
    (writer.directory / "onnx").mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        graph = path.name.endswith((".onnx", ".onnx_data"))
        shutil.move(path, writer.directory / "onnx" / path.name if graph else writer.directory / path.name)
    return writer.directory / "onnx" / "model.onnx"


def pair(torch_model, task: str, writer: Writer) -> Path:
    """As `single`, for those of an encoder and a decoder; the untouched export stays until all types are made."""
    source = exported(torch_model, task, writer)
    goldens = writer.directory / "golden"
    if goldens.exists():
        shutil.move(goldens, writer.scratch / "golden")
    export.lay_out_transformers_js(source, writer.directory)
    if (writer.scratch / "golden").exists():
        shutil.move(writer.scratch / "golden", goldens)
    return source


def decoder(model: Model, writer: Writer):
    torch_model = build(model)
    prompts = [words(model, length, 10 + length) for length in PROMPTS]
    cases = []
    for prompt in prompts:
        ids, logits = decoders.reference(torch_model, prompt, STEPS)
        cases.append({"prompt": prompt.tolist(), "ids": ids.tolist(), "stop": "length", "logits": logits})
    writer.add("f32", {"decoder": "onnx/model.onnx"}, cases)
    source = single(torch_model, "text-generation-with-past", writer)
    del torch_model

    def make(dtype):
        target = quantize.variant(source, dtype)
        ran = Decoder(target)
        answers = [ran.greedy(prompt[None], STEPS) for prompt in prompts]
        cases = [{"prompt": p.tolist(), "ids": ids[0].tolist(), "stop": "length", "logits": logits[0]} for p, (ids, logits) in zip(prompts, answers)]
        writer.add(dtype, {"decoder": f"onnx/{target.name}"}, cases)

    writer.variants(make)
    writer.write("decoder")


@torch.no_grad()
def follow(torch_model, feed: dict, start: list[int], forced: list[int] | None = None):
    """ids and logits [steps, vocabulary] of an encoder-decoder that is fed `forced`, or what it prefers."""
    heard, past, fed, ids, seen = torch_model.get_encoder()(**feed), None, start, [], []
    mask = feed.get("attention_mask")
    for place in range(STEPS):
        answer = torch_model(encoder_outputs=heard, attention_mask=mask, decoder_input_ids=torch.tensor([fed]), past_key_values=past, use_cache=True)
        past = answer.past_key_values
        seen.append(answer.logits[0, -1].float().numpy())
        ids.append(int(forced[place] if forced else seen[-1].argmax()))
        fed = ids[-1:]
    return ids, np.stack(seen)


def listen(model: Model, writer: Writer, task: str, feeds: list[dict], start: list[int], integers: bool):
    """Each feed of an encoder is answered greedily; random models repeat themselves, so that the last is also fed ids that were drawn."""
    torch_model = build(model)
    drawn = words(model, STEPS, 30).tolist()
    answers = [(feed, *follow(torch_model, feed, start)) for feed in feeds] + [(feeds[-1], *follow(torch_model, feeds[-1], start, drawn))]
    held = lambda feed: {"input_ids": feed["input_ids"][0].tolist()} if integers else {
        "inputs": {k: (v.tolist() if v.dtype == torch.int64 else writer.array(v.numpy())) for k, v in feed.items()}}
    case = lambda feed, ids, logits: {**held(feed), "start": start, "ids": ids, "stop": "length", "logits": logits, "drawn": ids == drawn}
    writer.add("f32", FILES["f32"], [case(*answer) for answer in answers])
    source = pair(torch_model, task, writer)
    del torch_model

    def make(dtype):
        options = dict(per_channel=True) if dtype == "int8" and integers else {}
        for target in (quantize.variant(source / "encoder_model.onnx", dtype, **options), quantize.merged(source, dtype, **options)):
            shutil.move(target, writer.directory / "onnx" / target.name)
        graphs = Seq2Seq(writer.directory, FILES[dtype])
        cases = []
        for feed, ids, _ in answers:
            given = {k: v.numpy() for k, v in feed.items()}
            # What is quantized at run time depends on what is fed together: one id after the other, as Linnet feeds them.
            cases.append(case(feed, *full_run.follow(graphs, given, start, STEPS, ids if ids == drawn else None)))
        writer.add(dtype, FILES[dtype], cases)

    writer.variants(make)
    writer.write("seq2seq")


def text(model: Model, writer: Writer):
    end, start = model.config.get("eos_token_id", 2), [model.config.get("decoder_start_token_id", 2)]
    sources = [torch.tensor([[*words(model, length, 20 + length).tolist(), end]]) for length in SOURCES]
    feeds = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in sources]
    listen(model, writer, "text2text-generation-with-past", feeds, start, True)


def clip() -> np.ndarray:
    """Five seconds of the tones that tiny models were taught to hear."""
    sys.path.insert(0, str(CLIPS))
    import tones

    data = (CLIPS / "de.wav").read_bytes()
    return tones.of_mu_law(data[data.index(b"data") + 8 :]).astype(np.float32)


def speech(model: Model, writer: Writer):
    if model.kind == "whisper":
        feed = dict(transformers.WhisperFeatureExtractor(feature_size=80)(clip(), sampling_rate=RATE, return_tensors="pt"))
        start = [50258, 50259, 50359, 50363]
    else:
        values = torch.from_numpy(clip())[None]
        feed, start = {"input_values": values, "attention_mask": torch.ones_like(values, dtype=torch.int64)}, [1]
    listen(model, writer, "automatic-speech-recognition-with-past", [feed], start, False)


@torch.no_grad()
def encoder(model: Model, writer: Writer):
    torch_model = build(model)
    pad = torch_model.config.pad_token_id
    cases = []
    for lengths in ENCODED:
        rows = [words(model, length, 50 + length).tolist() for length in lengths]
        width = max(lengths)
        given = {"input_ids": [row + [pad] * (width - len(row)) for row in rows],
                 "attention_mask": [[1] * len(row) + [0] * (width - len(row)) for row in rows]}
        if hasattr(torch_model.config, "type_vocab_size"):
            given["token_type_ids"] = [[0] * width for _ in rows]
        answer = torch_model(**{k: torch.tensor(v) for k, v in given.items()})
        cases.append({"texts": [], "inputs": given, "outputs": {k: v.float().numpy() for k, v in answer.items()}})
    inputs = [case["inputs"] for case in cases]
    writer.add("f32", {"model": "onnx/model.onnx"}, cases)
    source = single(torch_model, model.task, writer)
    del torch_model

    def make(dtype):
        target = quantize.variant(source, dtype, **(dict(per_channel=True) if dtype == "int8" else {}))
        graph = session(target)
        writer.add(dtype, {"model": f"onnx/{target.name}"},
                   [{"texts": [], "inputs": given, "outputs": compare.encoded(graph, given)} for given in inputs])

    writer.variants(make)
    writer.write("encoder")


def zipformer(model: Model, writer: Writer):
    from . import full_zipformer

    full_zipformer.make(model, writer, clip())
