"""Runs what `full` made on ONNX Runtime, one thread, and says how long each part took."""

import contextlib
import json
import tempfile
from pathlib import Path
from time import thread_time

import numpy as np
import onnx
from onnx import numpy_helper

from . import golden
from .onnx_decoder import Decoder, empty_past, session
from .onnx_seq2seq import Seq2Seq


class Clock:
    """Seconds of this thread until the first answer, and for each answer after it: what others had of the processor does not count."""

    def __init__(self):
        self.began, self.reading, self.steps = thread_time(), None, []

    def tick(self):
        now = thread_time()
        if self.reading is None:
            self.reading = now - self.began
        else:
            self.steps.append(now - self.began)
        self.began = thread_time()


def follow(graphs: Seq2Seq, feed: dict, start: list[int], limit: int, forced: list[int] | None, clock: Clock | None = None):
    """ids and logits of an encoder-decoder that is fed one id after the other: `forced`, or what it prefers."""
    clock = clock or Clock()
    hidden = graphs.encode(feed)
    mask = feed["attention_mask"] if "input_ids" in feed else np.ones(hidden.shape[:2], np.int64)
    past, ids, seen = {}, [], []
    for token in start:
        logits, past = graphs.step(np.array([[token]]), hidden, mask, past)
    for place in range(limit):
        clock.tick()
        seen.append(logits[0, -1])
        ids.append(int(forced[place] if forced else seen[-1].argmax()))
        if place + 1 < limit:
            logits, past = graphs.step(np.array([[ids[-1]]]), hidden, mask, past)
    return ids, np.stack(seen)


def distance(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference over the largest that is wanted."""
    return float(np.abs(got - want).max() / np.abs(want).max())


class Reference:
    """One run of a golden.json on ONNX Runtime, `as_written`: without its optimisations."""

    def __init__(self, directory: Path, head: dict, run: dict, as_written: bool = False):
        self.directory, self.kind, self.run = directory, head["kind"], run
        files = run["files"]
        if self.kind == "decoder":
            self.graph = Decoder(directory / files["decoder"], as_written)
        elif self.kind == "seq2seq":
            self.graph = Seq2Seq(directory, files, as_written)
        elif self.kind == "encoder":
            self.graph = session(directory / files["model"], as_written)
        else:
            from .full_zipformer import Transducer

            self.graph = Transducer(directory, files, as_written)

    def feed(self, case: dict) -> dict:
        if "input_ids" in case:
            ids = np.array([case["input_ids"]])
            return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        read = lambda v: golden.read_array(v, self.directory) if isinstance(v, dict) else np.array(v, dtype=np.int64)
        return {name: read(value) for name, value in case["inputs"].items()}

    def golden(self, case: dict) -> dict[str, np.ndarray]:
        """What the golden says, by name."""
        held = {**case.get("outputs", {}), **({"logits": case["logits"]} if "logits" in case else {})}
        return {name: golden.read_array(value, self.directory) for name, value in held.items()}

    def case(self, case: dict, clock: Clock) -> dict[str, np.ndarray]:
        """What it answers, by name."""
        if self.kind == "decoder":
            past, past_len, ids, seen = empty_past(self.graph.inputs, 1), 0, np.array([case["prompt"]]), []
            clock.__init__()
            for token in case["ids"]:
                logits, past = self.graph.forward(ids, past, past_len)
                clock.tick()
                past_len += ids.shape[1]
                seen.append(logits[0, -1])
                ids = np.array([[token]])
            return {"logits": np.stack(seen)}
        feed = self.feed(case)
        clock.__init__()
        if self.kind == "seq2seq":
            return {"logits": follow(self.graph, feed, case["start"], len(case["ids"]), case["ids"], clock)[1]}
        if self.kind == "encoder":
            names = {i.name for i in self.graph.get_inputs()}
            answers = self.graph.run(None, {k: v for k, v in feed.items() if k in names})
            clock.tick()
            named = zip([o.name for o in self.graph.get_outputs()], answers)
            return {name: got for name, got in named if name in case["outputs"]}
        encoded = self.graph.encode(feed)
        clock.tick()
        return {"encoder_out": encoded, "logits": self.graph.search(encoded, case["ids"], clock)}

    def time(self) -> tuple[list[dict], float]:
        """Seconds by case, and the largest difference from the golden over the golden's largest."""
        found, error = [], 0.0
        for case in self.run["cases"]:
            clock = Clock()
            answers, wanted = self.case(case, clock), self.golden(case)
            error = max(error, *(distance(got, wanted[name]) for name, got in answers.items()))
            found.append({"reading": clock.reading, "steps": clock.steps})
        return found, error


def graphs_of(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs_of(attribute.g)


# Ten times the last bit of f32.
NUDGE = 1e-6


def nudged(directory: Path, run: dict, target: Path) -> dict:
    """The run with biases and norms off by a last bit, in files under `target`: what it answers is as right as before."""
    random, files = np.random.default_rng(1), {}
    for role, file in run["files"].items():
        model = onnx.load(directory / file)
        for graph in graphs_of(model.graph):
            for tensor in graph.initializer:
                if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 1 and tensor.dims[0] > 1:
                    values = numpy_helper.to_array(tensor)
                    values = values * (1 + NUDGE * random.standard_normal(values.shape))
                    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
        files[role] = str(target / f"{role}.onnx")
        onnx.save(model, files[role])
    return {**run, "files": files}


def own_error(directory: Path, head: dict, run: dict) -> float:
    """How far ONNX Runtime is from the golden; where it gave that itself, without its optimisations, or, where activations are rounded to
    bytes at run time, nudged."""
    if run["dtype"] in ("int8", "uint8"):
        with tempfile.TemporaryDirectory(dir=directory) as target:
            return Reference(directory, head, nudged(directory, run, Path(target))).time()[1]
    return Reference(directory, head, run, run["reference"] == "onnxruntime").time()[1]


# What a run of halves is called in golden.json while its answers are those of f32.
EXACT = "f16 in f32"


def widen(model: onnx.ModelProto):
    """Arithmetic in f32, on the numbers that the halves are."""
    def tensor(held):
        if held.data_type == onnx.TensorProto.FLOAT16:
            held.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(held).astype(np.float32), held.name))

    for graph in graphs_of(model.graph):
        del graph.value_info[:]
        for held in graph.initializer:
            tensor(held)
        for value in [*graph.input, *graph.output]:
            if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
                value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    tensor(attribute.t)
                if attribute.name in ("to", "dtype") and attribute.i == onnx.TensorProto.FLOAT16:
                    attribute.i = onnx.TensorProto.FLOAT


@contextlib.contextmanager
def in_f32(directory: Path, head: dict, run: dict):
    """While this lasts, golden.json has a run [`EXACT`]: the same files and ids, and what ONNX Runtime answers when it computes in f32 on the weights as
    they are stored. Gives how far its own answers in f16 are from that."""
    path, error, cases = directory / "golden.json", 0.0, []
    before = path.read_text()
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        files = {}
        for role, file in run["files"].items():
            model = onnx.load(directory / file)
            widen(model)
            files[role] = f"{scratch}/{role}.onnx"
            onnx.save_model(model, files[role], save_as_external_data=True, location=f"{role}.onnx_data")
            del model
        exact = Reference(directory, head, {**run, "files": files})
        for place, case in enumerate(run["cases"]):
            answers, wanted = exact.case(case, Clock()), exact.golden(case)
            error = max(error, *(distance(wanted[name], got) for name, got in answers.items()))
            held = {name: golden.array(got, directory, f"exact-{place}-{name}") for name, got in answers.items()}
            own = dict(case)
            if "logits" in case:
                own["steps"] = [golden.step(row) for row in answers["logits"]]
                own["logits"] = held.pop("logits")
            if held:
                own["outputs"] = held
            cases.append(own)
    try:
        path.write_text(json.dumps({**head, "runs": [{**run, "dtype": EXACT, "cases": cases}]}))
        yield error
    finally:
        path.write_text(before)


def bytes_of(directory: Path, run: dict) -> int:
    """Size of a run's files, with the weights that lie beside them."""
    paths = {p for file in run["files"].values() for p in (directory / file, directory / f"{file}_data") if p.exists()}
    return sum(p.stat().st_size for p in paths)


def runs(directory: Path) -> tuple[dict, list[dict]]:
    head = json.loads((directory / "golden.json").read_text())
    return head, head["runs"]
