"""Short names for what flows inside a graph: half of a tiny graph is names. Inputs, outputs, weights and operators stay as they are."""

from pathlib import Path

import onnx


def graphs(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def shorten(path: Path):
    """Renames nodes and inner values, in branches alike, and drops what only readers look at."""
    model = onnx.load(path, load_external_data=False)
    kept, short = {""}, {}
    for graph in graphs(model.graph):
        kept |= {v.name for v in [*graph.input, *graph.output, *graph.initializer]} | {t.values.name for t in graph.sparse_initializer}
    for graph in graphs(model.graph):
        for node in graph.node:
            for name in node.output:
                if name not in kept:
                    short.setdefault(name, f"v{len(short)}")
    for graph in graphs(model.graph):
        for place, node in enumerate(graph.node):
            node.name, node.doc_string = f"n{place}", ""
            node.ClearField("metadata_props")
            node.input[:] = [short.get(n, n) for n in node.input]
            node.output[:] = [short.get(n, n) for n in node.output]
        for value in graph.value_info:
            value.name = short.get(value.name, value.name)
            value.ClearField("metadata_props")
    onnx.save(model, path)
