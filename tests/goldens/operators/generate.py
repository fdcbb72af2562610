#!/usr/bin/env python3
"""Operators that ONNX Runtime's optimizer and quantizers put into exports, each alone in a graph, with what ONNX Runtime answers.

`python generate.py` writes `cases.json`: of each the model (base64), its inputs and the answers. Needs onnx, onnxruntime and numpy as
`../families/requirements.txt` has them."""

import base64
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

HERE = Path(__file__).parent
MS = "com.microsoft"
TYPES = {np.dtype("float32"): T.FLOAT, np.dtype("float16"): T.FLOAT16, np.dtype("int64"): T.INT64, np.dtype("int32"): T.INT32,
         np.dtype("uint8"): T.UINT8, np.dtype("int8"): T.INT8}
random = np.random.default_rng(1)
CASES = []


def noise(*shape, scale=1.0):
    return (random.standard_normal(shape) * scale).astype(np.float32)


class Given:
    """An input of a node: a value that the caller hands in, or a weight. `free` names the axes of free size."""

    def __init__(self, value, weight=False, free="batch length"):
        self.value, self.weight = np.asarray(value), weight
        names = dict(zip((0, 1), free.split())) if isinstance(free, str) else free
        self.free = names


def weight(value):
    return Given(value, weight=True)


def case(name, op, inputs, outputs, domain=MS, opset=17, **attributes):
    """`inputs`: a list of Given or None, by place; `outputs`: how many, or a list of names with "" for those that are absent."""
    names = [f"out{i}" for i in range(outputs)] if isinstance(outputs, int) else outputs
    node = helper.make_node(op, ["" if i is None else f"in{n}" for n, i in enumerate(inputs)], names, domain=domain, **attributes)
    graph(name, [node], {f"in{n}": i for n, i in enumerate(inputs) if i is not None}, [n for n in names if n], opset)


def graph(name, nodes, inputs, outputs, opset=17):
    def shape(key, given):
        return [given.free.get(axis, size) for axis, size in enumerate(given.value.shape)]

    values = [helper.make_tensor_value_info(k, TYPES[g.value.dtype], shape(k, g)) for k, g in inputs.items() if not g.weight]
    model = helper.make_model(
        helper.make_graph(nodes, name, values, [helper.make_empty_tensor_value_info(o) for o in outputs],
                          [numpy_helper.from_array(g.value, k) for k, g in inputs.items() if g.weight]),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)], ir_version=9)
    feed = {k: g.value for k, g in inputs.items() if not g.weight}
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        answers = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(outputs, feed)
    except Exception as error:
        print(f"{name}: ONNX Runtime refuses it: {str(error)[:300]}")
        return
    array = lambda a: {"type": str(a.dtype), "shape": list(a.shape), "values": [float(f"{v:.6g}") if a.dtype.kind == "f" else int(v) for v in a.ravel()]}
    CASES.append({"name": name, "model": base64.b64encode(model.SerializeToString()).decode(), "inputs": {k: array(v) for k, v in feed.items()}, "outputs": {k: array(v) for k, v in zip(outputs, answers)}})


def group_query():
    width = 16

    def one(name, past, length, packed=False, rotary=False, bias=False, positions=False, batch=2, several=1, **attributes):
        heads, groups = 2 * several, several
        sizes = [heads, groups, groups]
        parts = [noise(batch, length, n * width) for n in sizes]
        qkv = [Given(np.concatenate(parts, -1)), None, None] if packed else [Given(p) for p in parts]
        cache = [Given(noise(batch, groups, past, width), free={0: "batch", 2: "past"}) for _ in range(2)]
        total = past + length
        inputs = qkv + cache + [Given(np.full(batch, total - 1, np.int32), free="batch"), Given(np.array(total, np.int32))]
        if rotary:
            angle = np.outer(np.arange(32), 1 / 100 ** (np.arange(width // 2) / 8)).astype(np.float32)
            inputs += [weight(np.cos(angle)), weight(np.sin(angle))]
            attributes["do_rotary"] = 1
        if positions or bias:
            inputs += [None] * (9 - len(inputs))
            inputs.append(Given(np.tile(np.arange(past, total), (batch, 1)).astype(np.int64)) if positions else None)
        if bias:
            inputs.append(Given(noise(1, 1, length, total), free={2: "length", 3: "total"}))
        case(f"gqa_{name}", "GroupQueryAttention", inputs, 3, num_heads=heads, kv_num_heads=groups, **attributes)

    one("prompt", 0, 5)
    one("step", 6, 1)
    one("chunk", 6, 3, batch=1)
    one("rotary_prompt", 0, 5, rotary=True)
    one("rotary_step", 6, 1, rotary=True)
    one("rotary_chunk", 6, 3, rotary=True, batch=1)
    one("rotary_interleaved", 6, 1, rotary=True, rotary_interleaved=1)
    one("several_groups", 3, 1, rotary=True, several=2)
    one("packed", 0, 4, packed=True)
    one("packed_rotary_step", 5, 1, packed=True, rotary=True)
    one("window_prompt", 0, 9, local_window_size=3)
    one("window_step", 9, 1, local_window_size=3)
    one("window_chunk", 7, 4, local_window_size=3, batch=1)
    one("softcap", 4, 1, softcap=2.0)
    one("scale", 4, 1, scale=0.5)
    one("bias", 3, 1, bias=True)
    one("positions", 3, 1, rotary=True, positions=True)


def multi_head():
    heads, width, batch, queries, keys = 2, 4, 2, 3, 5
    hidden = heads * width

    def one(name, inputs, outputs=1, **attributes):
        case(f"mha_{name}", "MultiHeadAttention", inputs, outputs, num_heads=heads, **attributes)

    q, k, v = Given(noise(batch, queries, hidden)), *(Given(noise(batch, keys, hidden), free="batch keys") for _ in range(2))
    one("plain", [q, k, v])
    one("bias", [q, k, v, weight(noise(3 * hidden))])
    one("scale", [q, k, v], scale=0.2)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    one("mask", [q, k, v, None, Given(mask, free="batch keys")])
    one("mask_of_queries", [q, k, v, None, Given(np.stack([mask, mask[::-1], mask], 1), free={0: "batch", 1: "length", 2: "keys"})])
    one("attention_bias", [q, k, v, None, None, Given(noise(batch, heads, queries, keys), free={0: "batch", 2: "length", 3: "keys"})])
    one("attention_bias_for_all", [q, k, v, None, None, Given(noise(1, 1, queries, keys), free={2: "length", 3: "keys"})])
    by_head = lambda n: Given(noise(batch, heads, n, width), free={0: "batch", 2: "keys"})
    one("cross", [q, by_head(keys), by_head(keys), None])
    one("causal", [q, Given(noise(batch, queries, hidden)), Given(noise(batch, queries, hidden))], unidirectional=1)
    one("past", [Given(noise(batch, 1, hidden)), Given(noise(batch, 1, hidden)), Given(noise(batch, 1, hidden)), None, None, None, by_head(4), by_head(4)], 3)
    one("past_bias", [Given(noise(batch, 1, hidden)), Given(noise(batch, 1, hidden)), Given(noise(batch, 1, hidden)), weight(noise(3 * hidden)), None,
                      Given(noise(1, 1, 1, 5), free={2: "length", 3: "total"}), by_head(4), by_head(4)], 3)
    one("present", [Given(noise(batch, queries, hidden)), Given(noise(batch, queries, hidden)), Given(noise(batch, queries, hidden))], 3)


def attention():
    heads, width, batch, length = 2, 8, 2, 5
    hidden = heads * width

    def one(name, more=(), outputs=1, length=length, sizes=(hidden, hidden, hidden), **attributes):
        inputs = [Given(noise(batch, length, 8)), weight(noise(8, sum(sizes), scale=0.3)), weight(noise(sum(sizes))), *more]
        case(f"attention_{name}", "Attention", inputs, outputs, num_heads=heads, **attributes)

    one("plain")
    one("causal", unidirectional=1)
    one("mask", [Given(np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32))])
    one("sizes", sizes=(8, 8, 16), qkv_hidden_sizes=[8, 8, 16])
    one("past", [None, Given(noise(2, batch, heads, 4, width), free={1: "batch", 3: "past"})], 2, length=1, unidirectional=1)
    one("prompt", [None, Given(noise(2, batch, heads, 0, width), free={1: "batch", 3: "past"})], 2, unidirectional=1)
    one("bias", [None, None, Given(noise(batch, heads, length, length), free={0: "batch", 2: "length", 3: "length"})])


def rotary():
    heads, width, batch, length = 2, 8, 2, 3
    angle = np.outer(np.arange(16), 1 / 10 ** (np.arange(width // 2) / 4)).astype(np.float32)
    tables = [weight(np.cos(angle)), weight(np.sin(angle))]
    numbers = Given(np.array([[0, 1, 2], [5, 6, 7]], np.int64))
    flat, by_head = Given(noise(batch, length, heads * width)), Given(noise(batch, heads, length, width), free={0: "batch", 2: "length"})
    case("rotary_flat", "RotaryEmbedding", [flat, numbers, *tables], 1)
    case("rotary_by_head", "RotaryEmbedding", [by_head, numbers, *tables], 1)
    case("rotary_interleaved", "RotaryEmbedding", [flat, numbers, *tables], 1, interleaved=1)
    case("rotary_from", "RotaryEmbedding", [flat, Given(np.array([4], np.int64), free=""), *tables], 1)
    partial = [weight(np.cos(angle[:, :2])), weight(np.sin(angle[:, :2]))]
    case("rotary_partial", "RotaryEmbedding", [flat, numbers, *partial], 1, rotary_embedding_dim=4, num_heads=heads)


def norms():
    x, skip = Given(noise(2, 3, 16)), Given(noise(2, 3, 16))
    gamma, beta, bias = weight(noise(16)), weight(noise(16)), weight(noise(16))
    case("skip_layer_norm", "SkipLayerNormalization", [x, skip, gamma, beta, bias], 1, epsilon=1e-5)
    case("skip_layer_norm_bias_alone", "SkipLayerNormalization", [x, skip, gamma, None, bias], ["out0", "", "", "sum"], epsilon=1e-5)
    case("skip_simplified", "SkipSimplifiedLayerNormalization", [x, skip, gamma], ["out0", "", "", "sum"], epsilon=1e-6)
    case("skip_simplified_bias", "SkipSimplifiedLayerNormalization", [x, skip, gamma, bias], ["out0", "", "", "sum"], epsilon=1e-6)
    case("simplified", "SimplifiedLayerNormalization", [x, gamma], 1, domain="", axis=-1, epsilon=1e-6)
    ids, kinds = Given(np.array([[1, 2, 3], [4, 5, 0]], np.int32)), Given(np.array([[0, 0, 1], [0, 1, 1]], np.int32))
    tables = [weight(noise(8, 16)), weight(noise(4, 16)), weight(noise(2, 16)), gamma, beta]
    mask = Given(np.array([[1, 1, 1], [1, 1, 0]], np.int32))
    case("embed_layer_norm", "EmbedLayerNormalization", [ids, kinds, *tables, mask], ["out0", "mask"], epsilon=1e-5)
    case("embed_layer_norm_without_kinds", "EmbedLayerNormalization", [ids, None, *tables[:2], None, gamma, beta], ["out0", "mask", "sum"], epsilon=1e-5)


def activations():
    x, bias = Given(noise(2, 3, 16, scale=3)), weight(noise(16))
    case("bias_gelu", "BiasGelu", [x, bias], 1)
    case("fast_gelu", "FastGelu", [x], 1)
    case("fast_gelu_bias", "FastGelu", [x, bias], 1)
    case("quick_gelu", "QuickGelu", [x], 1)
    case("gelu", "Gelu", [x], 1)


def blocks():
    rows = 6

    def packed(codes, bits):
        if bits == 8:
            return codes.astype(np.uint8)
        codes = np.concatenate([codes, np.zeros((*codes.shape[:-1], codes.shape[-1] % 2), codes.dtype)], -1)
        return (codes[..., ::2] | codes[..., 1::2] << 4).astype(np.uint8)

    for bits, block, columns, zeros, bias in [(4, 32, 64, "", False), (4, 32, 64, "codes", True), (4, 16, 40, "codes", False), (4, 128, 256, "", False),
                                              (4, 64, 96, "codes", False), (8, 32, 64, "", False), (8, 32, 96, "codes", True), (4, 32, 64, "floats", False)]:
        count = -(-columns // block)
        codes = packed(random.integers(0, 1 << bits, (rows, count, block)), bits)
        inputs = [Given(noise(2, 3, columns)), weight(codes), weight(noise(rows, count, scale=0.1))]
        if zeros == "codes":
            inputs.append(weight(packed(random.integers(0, 1 << bits, (rows, count)), bits)))
        elif zeros == "floats":
            inputs.append(weight(noise(rows, count, scale=3) + 8))
        if bias:
            inputs += [None] * (5 - len(inputs)) + [weight(noise(rows))]
        case(f"matmul_{bits}_bits_of_{block}{'_' + zeros if zeros else ''}{'_bias' if bias else ''}", "MatMulNBits", inputs, 1,
             K=columns, N=rows, bits=bits, block_size=block)
    ids = Given(np.array([[0, 5, 2], [3, 3, 1]], np.int64))
    for bits, block, columns, zeros in [(4, 32, 64, False), (4, 16, 64, True), (8, 32, 64, True), (4, 128, 128, False)]:
        count = columns // block
        inputs = [weight(packed(random.integers(0, 1 << bits, (rows, columns)), bits)), ids, weight(noise(rows, count, scale=0.1))]
        if zeros:
            inputs.append(weight(packed(random.integers(0, 1 << bits, (rows, count)), bits)))
        case(f"gather_{bits}_bits_of_{block}{'_zeros' if zeros else ''}", "GatherBlockQuantized", inputs, 1, bits=bits, block_size=block, gather_axis=0, quantize_axis=1)


def bytes_():
    x, columns, rows = noise(2, 3, 16), 16, 6
    for signed in (False, True):
        kind = np.int8 if signed else np.uint8
        codes = random.integers(-128 if signed else 0, 128 if signed else 256, (columns, rows)).astype(kind)
        for per_channel in (False, True):
            count = rows if per_channel else 1
            zero = random.integers(-20 if signed else 100, 20 if signed else 150, count).astype(kind)
            scale = noise(count, scale=0.05)
            shaped = (lambda a: a) if per_channel else (lambda a: a[0])
            tag = f"{'i8' if signed else 'u8'}{'_by_channel' if per_channel else ''}"
            quantize = helper.make_node("DynamicQuantizeLinear", ["x"], ["codes", "scale", "zero"])
            product = helper.make_node("MatMulInteger", ["codes", "weights", "zero", "weights_zero"], ["sums"])
            graph(f"matmul_integer_{tag}", [quantize, product], {"x": Given(x), "weights": weight(codes), "weights_zero": weight(shaped(zero))}, ["sums"])
            case(f"dynamic_matmul_{tag}", "DynamicQuantizeMatMul", [Given(x), weight(codes), weight(shaped(scale)), weight(shaped(zero)), weight(noise(rows))], 1)
            to_float = helper.make_node("MatMulIntegerToFloat", ["codes", "weights", "scale", "weights_scale", "zero", "weights_zero", "bias"], ["out0"], domain=MS)
            graph(f"matmul_to_float_{tag}", [quantize, to_float],
                  {"x": Given(x), "weights": weight(codes), "weights_scale": weight(shaped(scale)), "weights_zero": weight(shaped(zero)), "bias": weight(noise(rows))}, ["out0"])
            dequantize = helper.make_node("DequantizeLinear", ["weights", "weights_scale", "weights_zero"], ["wide"], axis=1)
            graph(f"dequantized_{tag}", [dequantize, helper.make_node("MatMul", ["x", "wide"], ["out0"])],
                  {"x": Given(x), "weights": weight(codes), "weights_scale": weight(shaped(scale)), "weights_zero": weight(shaped(zero))}, ["out0"])
            by_row = helper.make_node("DequantizeLinear", ["weights", "weights_scale", "weights_zero"], ["wide"], axis=0)
            turn = helper.make_node("Transpose", ["wide"], ["turned"], perm=[1, 0])
            graph(f"dequantized_rows_{tag}", [by_row, turn, helper.make_node("MatMul", ["x", "turned"], ["out0"])],
                  {"x": Given(x), "weights": weight(np.ascontiguousarray(codes.T)), "weights_scale": weight(shaped(scale)), "weights_zero": weight(shaped(zero))}, ["out0"])
    case("fused_matmul", "FusedMatMul", [Given(noise(2, 3, 16)), Given(noise(2, 5, 16), free="batch keys")], 1, transB=1, alpha=0.5)
    case("fused_gemm", "FusedGemm", [Given(noise(3, 16), free="batch"), weight(noise(16, 6)), weight(noise(6))], 1, activation="Relu")
    case("fused_conv", "FusedConv", [Given(noise(1, 3, 8, 8), free=""), weight(noise(4, 3, 3, 3)), weight(noise(4))], 1, activation="Relu", pads=[1, 1, 1, 1])


def recurrent():
    size, hidden = 6, 4
    for directions in (1, 2):
        quantized = lambda *shape: random.integers(0, 256, shape).astype(np.uint8)
        inputs = [Given(noise(5, 1, size), free="length"), weight(quantized(directions, size, 4 * hidden)), weight(quantized(directions, hidden, 4 * hidden)),
                  weight(noise(directions, 8 * hidden)), None, None, None, None,
                  weight(np.full(directions, 0.01, np.float32)), weight(np.full(directions, 128, np.uint8)),
                  weight(np.full(directions, 0.01, np.float32)), weight(np.full(directions, 128, np.uint8))]
        case(f"dynamic_lstm_{directions}", "DynamicQuantizeLSTM", inputs, 3, hidden_size=hidden, direction="bidirectional" if directions == 2 else "forward")


def main():
    for part in (group_query, multi_head, attention, rotary, norms, activations, blocks, bytes_, recurrent):
        part()
    (HERE / "cases.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in CASES) + "\n]\n")
    print(len(CASES), "cases")


if __name__ == "__main__":
    main()
