"""Runs a graph with ONNX Runtime: reference.py MODEL FEATURES FRAMES OUT, raw little-endian f32 files.

Graph optimisations stay basic: the extended ones turn `DequantizeLinear` and `MatMul` into products of bytes, which is
another computation than the file's.
"""

import sys

import numpy
import onnxruntime

model, features, frames, out = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
options.log_severity_level = 3
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
data = numpy.fromfile(features, "<f4").reshape(1, int(frames), -1)
session.run(["log_probs"], {"features": data})[0].astype("<f4").tofile(out)
