"""The variants that transformers.js's conversion makes of an f32 graph, with the same tools and options, and a few more."""

from pathlib import Path

import onnx
import onnxslim
from onnxruntime.quantization import QuantFormat, QuantizationMode, QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.registry import IntegerOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers import float16
from optimum.onnx import merge_decoders

SUFFIXES = {"f32": "", "f16": "_fp16", "int8": "_quantized", "uint8": "_uint8", "q4": "_q4", "q4f16": "_q4f16"}


def slim(source: Path) -> onnx.ModelProto:
    """Folds constants and removes what is not used."""
    return onnxslim.slim(str(source))


def operators(graph) -> set[str]:
    found = set()
    for node in graph.node:
        found.add(node.op_type)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= operators(attribute.g)
    return found


def name_branches_apart(model: onnx.ModelProto):
    """Renames what the branches of an `If` give: the conversion to f16 uses the outer names for its casts."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                given = {o.name: f"{o.name}_{attribute.name}" for o in attribute.g.output}
                for inner in attribute.g.node:
                    inner.input[:] = [given.get(n, n) for n in inner.input]
                    inner.output[:] = [given.get(n, n) for n in inner.output]
                for value in [*attribute.g.output, *attribute.g.value_info]:
                    value.name = given.get(value.name, value.name)


def half(model: onnx.ModelProto, keep_io: bool = True) -> onnx.ModelProto:
    """Weights and arithmetic in f16; inputs and outputs, the cache among them, stay f32 unless `keep_io` is false."""
    name_branches_apart(model)
    return onnxslim.slim(float16.convert_float_to_float16(model, keep_io_types=keep_io))


def dynamic(model: onnx.ModelProto, unsigned: bool | None = None, per_channel: bool = False) -> onnx.ModelProto:
    """8-bit weights, activations quantized at run time; unsigned weights where the graph holds a convolution."""
    if unsigned is None:
        unsigned = "Conv" in operators(model.graph)
    quantizer = ONNXQuantizer(
        model, per_channel, per_channel, mode=QuantizationMode.IntegerOps, static=False,
        weight_qType=QuantType.QUInt8 if unsigned else QuantType.QInt8, activation_qType=QuantType.QUInt8, tensors_range=None,
        nodes_to_quantize=[], nodes_to_exclude=[], op_types_to_quantize=set(IntegerOpsRegistry),
        extra_options=dict(EnableSubgraph=True, MatMulConstBOnly=True))
    quantizer.quantize_model()
    return quantizer.model.model


def four_bits(model: onnx.ModelProto, block: int = 32, symmetric: bool = True, accuracy_level: int | None = None) -> onnx.ModelProto:
    """MatMulNBits; zero points unless `symmetric`."""
    quantizer = MatMulNBitsQuantizer(model, block_size=block, is_symmetric=symmetric, accuracy_level=accuracy_level)
    quantizer.process()
    return quantizer.model.model


class Feeds(CalibrationDataReader):
    def __init__(self, feeds: list[dict]):
        self.left = list(feeds)

    def get_next(self):
        return self.left.pop() if self.left else None


def static(source: Path, target: Path, feeds: list[dict]):
    """QuantizeLinear and DequantizeLinear around each product, calibrated on `feeds`; weights signed, per channel."""
    ready = target.with_suffix(".ready.onnx")
    quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    quantize_static(str(ready), str(target), Feeds(feeds), quant_format=QuantFormat.QDQ, op_types_to_quantize=["MatMul", "Gemm", "Add"],
                    per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    ready.unlink()


def external(source: Path, target: Path):
    """The same graph with its weights in `<name>_data` beside it."""
    onnx.save_model(onnx.load(source), str(target), save_as_external_data=True, all_tensors_to_one_file=True,
                    location=f"{target.name}_data", size_threshold=512)


# A protobuf holds 2 GB at most: larger graphs keep their weights beside them, and are not slimmed, which would need them inside.
LARGEST_BYTES = 1_800_000_000


def bytes_of(path: Path) -> int:
    return sum(p.stat().st_size for p in path.parent.glob(f"{path.name}*"))


def variant(source: Path, dtype: str, target_directory: Path | None = None, **options) -> Path:
    """Writes `source`'s variant, beside it or in another directory, under transformers.js's name."""
    target = (target_directory or source.parent) / (source.stem + SUFFIXES[dtype] + ".onnx")
    large = bytes_of(source) > LARGEST_BYTES
    model = onnx.load(source) if large else slim(source)
    if dtype == "f16":
        model = half(model, **options)
    elif dtype in ("int8", "uint8"):
        model = dynamic(model, unsigned=True if dtype == "uint8" else None, **options)
    elif dtype in ("q4", "q4f16"):
        model = four_bits(model, **options)
        model = half(model) if dtype == "q4f16" else model
    if model.ByteSize() > LARGEST_BYTES:
        onnx.save_model(model, str(target), save_as_external_data=True, all_tensors_to_one_file=True, location=f"{target.name}_data")
    else:
        onnx.save(model, target)
    return target


def merged(directory: Path, dtype: str, **options) -> Path:
    """Writes `decoder_model_merged` of a type. The f16 ones are merged after the conversion, which cannot look into an `If`."""
    target = directory / f"decoder_model_merged{SUFFIXES[dtype]}.onnx"
    if dtype in ("f16", "q4f16"):
        pair = [directory / "decoder_model.onnx", directory / "decoder_with_past_model.onnx"]
        ready = [onnx.load(variant(path, dtype, **options)) for path in pair]
        merge_decoders(*ready, save_path=target, strict=False)
    else:
        variant(directory / "decoder_model_merged.onnx", dtype, **options)
    return target
