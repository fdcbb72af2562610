"""A Zipformer transducer of published size, of icefall's own code (`ICEFALL` names its `egs/librispeech/ASR/zipformer`), as it exports it."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from . import golden
from .onnx_decoder import session

BLANK, CONTEXT, VOCABULARY, JOINER = 0, 2, 500, 512
PARTS = ("encoder", "decoder", "joiner")
SPEECH = Path(__file__).resolve().parents[2] / "speech"


class Transducer:
    """`files` names `encoder`, `decoder` and `joiner`; at most one id a frame."""

    def __init__(self, directory: Path, files: dict, as_written: bool = False):
        self.encoder, self.decoder, self.joiner = (session(directory / files[part], as_written) for part in PARTS)

    def encode(self, feed: dict) -> np.ndarray:
        return self.encoder.run(["encoder_out"], feed)[0]

    def search(self, encoded: np.ndarray, forced: list[int] | None = None, clock=None) -> np.ndarray:
        """Logits [frames, vocabulary] where the ids of `forced`, one a frame, are written, or what is likeliest."""
        written, expected, seen = [-1] * (CONTEXT - 1) + [BLANK], None, []
        for place, frame in enumerate(encoded[0]):
            if expected is None:
                expected = self.decoder.run(None, {"y": np.array([written[-CONTEXT:]], np.int64)})[0]
            logits = self.joiner.run(None, {"encoder_out": frame[None], "decoder_out": expected})[0][0]
            if clock:
                clock.tick()
            seen.append(logits)
            best = int(forced[place] if forced else logits.argmax())
            if best != BLANK:
                written.append(best)
                expected = None
        return np.stack(seen)


def features(samples: np.ndarray) -> np.ndarray:
    """Kaldi's log-mel as sherpa-onnx computes it for a transducer: [1, frames, 80]."""
    import kaldi_native_fbank as knf

    options = knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.snip_edges = 0.0, False
    options.mel_opts.num_bins, options.mel_opts.high_freq = 80, -400.0
    made = knf.OnlineFbank(options)
    made.accept_waveform(16_000, samples.tolist())
    made.input_finished()
    return np.stack([made.get_frame(i) for i in range(made.num_frames_ready)])[None]


def build(model, seed: int):
    """As the tiny one is built, with the sizes of `model`."""
    from decoder import Decoder
    from joiner import Joiner
    from scaling_converter import convert_scaled_to_non_scaled
    from subsampling import Conv2dSubsampling
    from zipformer import Zipformer2

    torch.manual_seed(seed)
    widths = model.config["encoder_dim"]
    encoder = Zipformer2(
        output_downsampling_factor=2, query_head_dim=(32,), pos_head_dim=(4,), value_head_dim=(12,), pos_dim=48, dropout=0.0, warmup_batches=1.0,
        causal=False, **model.config)
    embed = Conv2dSubsampling(80, widths[0], dropout=0.0)
    decoder = Decoder(VOCABULARY, 512, blank_id=BLANK, context_size=CONTEXT)
    joiner = Joiner(encoder_dim=max(widths), decoder_dim=512, joiner_dim=JOINER, vocab_size=VOCABULARY)
    parts = torch.nn.ModuleDict(dict(encoder=encoder, embed=embed, decoder=decoder, joiner=joiner)).eval()
    with torch.no_grad():
        for name, weight in parts.named_parameters():
            if name.startswith(("decoder", "joiner")):
                weight.mul_(4.0)
    convert_scaled_to_non_scaled(parts, inplace=True, is_onnx=True)
    return parts


@torch.no_grad()
def make(model, writer, samples: np.ndarray):
    sys.path.insert(0, os.environ.get("ICEFALL", "icefall/egs/librispeech/ASR/zipformer"))
    # What exports the tiny one; its file has the name of the recipe's own module.
    found = importlib.util.spec_from_file_location("tiny_zipformer", SPEECH / "zipformer.py")
    tiny = importlib.util.module_from_spec(found)
    found.loader.exec_module(tiny)
    tiny.CONTEXT, tiny.VOCABULARY, tiny.JOINER = CONTEXT, VOCABULARY, JOINER
    directory = writer.directory
    directory.mkdir(parents=True)
    padding = tiny.stubs()
    parts = build(model, 1)
    tiny.export(parts, padding, directory)
    heard = features(samples)
    feed = {"x": heard, "x_lens": np.array([heard.shape[1]], np.int64)}
    encoder = session(directory / "encoder.onnx")
    bias, logits = parts["joiner"].output_linear.bias, None
    for _ in range(20):
        tiny.export_joiner(parts, directory)
        graphs = Transducer(directory, {part: f"{part}.onnx" for part in PARTS})
        encoded = encoder.run(["encoder_out"], feed)[0]
        logits = graphs.search(encoded)
        share = float((logits.argmax(-1) != BLANK).mean())
        if 0.3 < share < 0.7:
            break
        bias[BLANK] += (share - 0.5) * 4
    given = {"x": writer.array(heard), "x_lens": [int(heard.shape[1])]}

    def add(dtype: str, suffix: str):
        files = {part: f"{part}{'' if part == 'decoder' else suffix}.onnx" for part in PARTS}
        graphs = Transducer(directory, files)
        encoded = graphs.encode(feed)
        logits = graphs.search(encoded)
        writer.add(dtype, files, [{"inputs": given, "outputs": {"encoder_out": encoded}, "ids": logits.argmax(-1).tolist(), "logits": logits}],
                   reference="onnxruntime")

    def variant(dtype: str):
        for part in ("encoder", "joiner"):
            source, target = directory / f"{part}.onnx", directory / f"{part}.int8.onnx"
            quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8)
        add(dtype, ".int8")

    add("f32", "")
    writer.variants(variant)
    writer.write("transducer", "sherpa-onnx")
