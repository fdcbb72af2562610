"""Greedy decoding on ONNX Runtime with the cache that the graph itself declares: the reference for every type but f32."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}


def session(path: Path, as_written: bool = False) -> ort.InferenceSession:
    """`as_written` computes what the file says: ONNX Runtime's optimisations merge quantizations, which rounds otherwise."""
    options = ort.SessionOptions()
    if as_written:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def empty_past(inputs: dict, batch: int) -> dict:
    """Caches of length 0, [batch, heads, 0, head_dim]."""
    past = {}
    for name, value in inputs.items():
        if name.startswith("past_key_values."):
            heads, width = value.shape[1], value.shape[3]
            past[name] = np.zeros((batch, heads, 0, width), dtype=TYPES[value.type])
    return past


class Decoder:
    """A decoder-only export: `input_ids` and cache in, `logits` and cache out."""

    def __init__(self, path: Path, as_written: bool = False):
        self.session = session(path, as_written)
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.outputs = [o.name for o in self.session.get_outputs()]

    def forward(self, ids: np.ndarray, past: dict, past_len: int, mask: np.ndarray | None = None):
        """ids [batch, time] → logits [batch, time, vocabulary] and the next cache."""
        batch, time = ids.shape
        feed = {"input_ids": ids.astype(np.int64)}
        if "attention_mask" in self.inputs:
            feed["attention_mask"] = np.ones((batch, past_len + time), np.int64) if mask is None else mask
        if "position_ids" in self.inputs:
            feed["position_ids"] = np.tile(np.arange(past_len, past_len + time, dtype=np.int64), (batch, 1))
        if "num_logits_to_keep" in self.inputs:
            feed["num_logits_to_keep"] = np.array(0, np.int64)
        feed.update(past)
        answers = dict(zip(self.outputs, self.session.run(None, feed)))
        logits = answers["logits"].astype(np.float32)
        return logits, {n.replace("present", "past_key_values"): v for n, v in answers.items() if n.startswith("present")}

    def greedy(self, prompt: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """prompt [batch, time] → ids [batch, steps], logits [batch, steps, vocabulary]."""
        past, past_len, ids = empty_past(self.inputs, prompt.shape[0]), 0, prompt
        chosen, seen = [], []
        for _ in range(steps):
            logits, past = self.forward(ids, past, past_len)
            past_len += ids.shape[1]
            seen.append(logits[:, -1])
            ids = logits[:, -1].argmax(-1)[:, None]
            chosen.append(ids[:, 0])
        return np.stack(chosen, 1), np.stack(seen, 1)

    def forced(self, prompt: np.ndarray, answer: np.ndarray) -> np.ndarray:
        """Logits [steps, vocabulary] where the ids of `answer` [steps] are fed whatever the graph prefers."""
        past, past_len, ids, seen = empty_past(self.inputs, 1), 0, prompt[None], []
        for token in answer:
            logits, past = self.forward(ids, past, past_len)
            past_len += ids.shape[1]
            seen.append(logits[0, -1])
            ids = np.array([[token]])
        return np.stack(seen)
