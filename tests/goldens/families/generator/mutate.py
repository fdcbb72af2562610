"""Wrong models on purpose: a golden that does not notice them is worth nothing."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import onnx
from onnx import numpy_helper

SCALE = 1.05
SMALLEST = 256


def weights(graph) -> Iterator:
    """The matrices and kernels of a graph: initializers, or constants of an unslimmed one."""
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) >= 2 and np.prod(tensor.dims) >= SMALLEST:
            yield tensor


def scaled(model: onnx.ModelProto, index: int) -> bool:
    """Scales half of the rows of the weight of that index, so that a norm behind it does not undo it; false where there are not so many."""
    for place, tensor in enumerate(weights(model.graph)):
        if place == index:
            values = numpy_helper.to_array(tensor).copy()
            values[..., : values.shape[-1] // 2] *= np.float32(SCALE)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            return True
    return False


def graphs(graph) -> Iterator:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def comes_from_product(makers: dict, name: str, hops: int = 4) -> bool:
    node = makers.get(name)
    if node is None or hops == 0:
        return False
    return node.op_type == "MatMul" or any(comes_from_product(makers, n, hops - 1) for n in node.input)


def unmasked(model: onnx.ModelProto) -> bool:
    """Takes the first attention mask out: the `Add` (or `Where`) before a `Softmax` gives the scores as they were."""
    for graph in graphs(model.graph):
        makers = {output: node for node in graph.node for output in node.output}
        for node in graph.node:
            if node.op_type != "Softmax":
                continue
            add = makers.get(node.input[0])
            if add is not None and add.op_type == "Cast":
                add = makers.get(add.input[0])
            if add is None or add.op_type not in ("Add", "Where"):
                continue
            scores = [n for n in add.input if comes_from_product(makers, n)]
            if scores:
                node.input[0] = scores[0]
                return True
    return False


@dataclass
class Mutation:
    name: str
    # Changes a graph in place; false where it has nothing to change.
    change: Callable[[onnx.ModelProto], bool]

    def apply(self, directory: Path, run: dict, role: str, scratch: Path) -> bool:
        """Copies the directory and changes the graph of that role."""
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(directory, scratch)
        path = scratch / run["files"][role]
        model = onnx.load(path)
        if not self.change(model):
            return False
        onnx.save(model, path)
        return True


def each_weight() -> Iterator[Mutation]:
    index = 0
    while True:
        yield Mutation(f"weight {index} × {SCALE}", lambda model, index=index: scaled(model, index))
        index += 1


MASK = Mutation("no mask in one layer", unmasked)
# Where the mask matters for the goldens: a decoder that is fed id by id attends to all it has anyway.
MASK_ROLES = {"decoder": "decoder", "seq2seq": "encoder", "encoder": "model"}
