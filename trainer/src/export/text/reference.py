"""Runs a package's graphs with ONNX Runtime, greedily: reference.py DIR JSON, where JSON is {"prompt": [ids], "most": count}.

Prints {"ids": [...], "logprob": mean, "margin": least}: the ids written, beyond the end where it comes sooner, the mean of their
log-probabilities, and the least distance between the best and the second logit. Graph optimisations stay basic: the extended ones turn `DequantizeLinear` and `MatMul`
into products of bytes, which is another computation than the file's.
"""

import json
import pathlib
import sys

import numpy
import onnxruntime

directory, asked = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
config = json.loads((directory / "config.json").read_text())
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
options.log_severity_level = 3


def session(stem):
    path = next(directory.glob(f"onnx/{stem}.onnx"), None) or next(directory.glob(f"onnx/{stem}_quantized.onnx"))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(graph, feeds):
    names = [output.name for output in graph.get_outputs()]
    known = {value.name for value in graph.get_inputs()}
    return dict(zip(names, graph.run(names, {name: value for name, value in feeds.items() if name in known})))


def ids64(values):
    return numpy.array([values], "int64")


written, logprobs, margins = [], [], []


def take(logits):
    last = logits[0, -1].astype("float64")
    best = int(last.argmax())
    top = numpy.sort(last)[-2:]
    margins.append(float(top[1] - top[0]))
    logprobs.append(float(last[best] - top[1] - numpy.log(numpy.exp(last - top[1]).sum())))
    written.append(best)
    return best


prompt = asked["prompt"]
if config["model_type"] == "marian":
    mask = numpy.ones((1, len(prompt)), "int64")
    encoded = run(session("encoder_model"), {"input_ids": ids64(prompt), "attention_mask": mask})["last_hidden_state"]
    feeds = {"encoder_attention_mask": mask, "encoder_hidden_states": encoded}
    out = run(session("decoder_model"), feeds | {"input_ids": ids64([config["decoder_start_token_id"]])})
    later = session("decoder_with_past_model")
    past = {}
    while take(out["logits"]) is not None and len(written) < asked["most"]:
        past |= {n.replace("present", "past_key_values"): v for n, v in out.items() if n != "logits"}
        out = run(later, past | {"encoder_attention_mask": mask, "input_ids": ids64(written[-1:])})
else:
    graph = session("model")
    heads, width = config["num_key_value_heads"], config["head_dim"]
    past = {
        f"past_key_values.{i}.{what}": numpy.zeros((1, heads, 0, width), "float32")
        for i in range(config["num_hidden_layers"])
        for what in ("key", "value")
    }
    fed, at = prompt, 0
    while True:
        positions = ids64(list(range(at, at + len(fed))))
        at += len(fed)
        mask = numpy.ones((1, at), "int64")
        out = run(graph, past | {"input_ids": ids64(fed), "attention_mask": mask, "position_ids": positions})
        take(out["logits"])
        if len(written) >= asked["most"]:
            break
        past = {n.replace("present", "past_key_values"): v for n, v in out.items() if n != "logits"}
        fed = written[-1:]
print(json.dumps({"ids": written, "logprob": float(numpy.mean(logprobs)), "margin": min(margins)}))
