"""Runs one run of a golden file on ONNX Runtime and compares, in the way that README.md asks of any engine."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import golden
from .onnx_decoder import Decoder, session
from .onnx_seq2seq import Seq2Seq

# Of the step's greatest |logit|. ONNX Runtime against itself on the same file still differs between processors.
TOLERANCE = {"f32": 2e-4}
OTHER_TOLERANCE = 1e-2


@dataclass
class Result:
    steps: int
    ids_equal: int
    error: float
    tolerance: float

    @property
    def within(self) -> bool:
        return self.error <= self.tolerance and self.ids_equal == self.steps

    def __str__(self):
        return f"ids {self.ids_equal}/{self.steps}, greatest relative error {self.error:.1e}{'' if self.within else ' FAILED'}"


def run(directory: Path, head: dict, given: dict) -> Result:
    tolerance = TOLERANCE.get(given["dtype"], OTHER_TOLERANCE)
    result = Result(0, 0, 0.0, tolerance)
    {"decoder": decoder, "seq2seq": seq2seq, "encoder": encoder}[head["kind"]](directory, head, given, result)
    return result


def steps(result: Result, logits: np.ndarray, record: dict):
    """Each step's eight best, its greatest, and whether the best is the golden's."""
    for index, (row, want) in enumerate(zip(logits, record["steps"])):
        error = np.abs(row[want["top_ids"]] - np.array(want["top_logits"])).max()
        error = max(error, abs(np.abs(row[np.isfinite(row)]).max() - want["max_abs"])) / want["max_abs"]
        result.error = max(result.error, float(error))
        forced = index == 0 and "forced_bos_token_id" in record
        result.steps += 1
        result.ids_equal += bool(forced or row.argmax() == want["top_ids"][0])


def decoder(directory: Path, head: dict, given: dict, result: Result):
    model = Decoder(directory / given["files"]["decoder"])
    for record in given["cases"]:
        steps(result, model.forced(np.array(record["prompt"]), np.array(record["ids"])), record)


def seq2seq(directory: Path, head: dict, given: dict, result: Result):
    model = Seq2Seq(directory, given["files"])
    for record in given["cases"]:
        source = np.array([record["input_ids"]])
        mask = np.array([record["attention_mask"]]) if "attention_mask" in record else np.ones_like(source)
        logits, listened = model.forced_with_attention({"input_ids": source, "attention_mask": mask}, mask, record["start"], record["ids"])
        steps(result, logits, record)
        if "cross_attentions" in record:
            # The golden holds the step that reads the last id, too.
            want = golden.read_array(record["cross_attentions"], directory)[:, :, :-1]
            result.error = max(result.error, float(np.abs(listened - want).max()))


def encoded(graph, inputs: dict) -> dict:
    """Every output of a graph by name, from lists of ids."""
    names = {i.name for i in graph.get_inputs()}
    return dict(zip([o.name for o in graph.get_outputs()], graph.run(None, {k: np.array(v, dtype=np.int64) for k, v in inputs.items() if k in names})))


def encoder(directory: Path, head: dict, given: dict, result: Result):
    graph = session(directory / given["files"]["model"], as_written=given["dtype"] == "qdq")
    for record in given["cases"]:
        got = encoded(graph, record["inputs"])
        for name, want in record["outputs"].items():
            # An output of transformers that Optimum leaves out (a pooler's) has nothing to be compared with.
            if name in got:
                want = golden.read_array(want, directory)
                result.error = max(result.error, float(np.abs(got[name] - want).max() / np.abs(want).max()))
                result.steps += 1
                result.ids_equal += 1


def insist(directory: Path):
    """After an export: the graphs give the golden, or else it is the export that is wrong."""
    head = json.loads((directory / "golden.json").read_text())
    for given in head["runs"]:
        result = run(directory, head, given)
        if not result.within:
            raise SystemExit(f"{directory}, {given['files']}: {result}")
