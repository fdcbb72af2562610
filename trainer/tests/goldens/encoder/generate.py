"""A golden of the encoder in docs/model.md, by an independent forward pass in numpy, float64.

    python generate.py

writes, for each of two small configurations, a directory with model.json, model.safetensors (f32) and golden.json: features
[batch, frames, mel_bins], lengths, and the log-probabilities of each row up to its length.
"""

import json
import pathlib
import struct

import numpy as np

CONFIGS = {
    "chunked4x": dict(mel_bins=80, subsampling=4, conv_channels=3, d_model=12, layers=2, heads=3, ff_mult=2,
                      conv_kernel=5, chunk_frames=3, left_chunks=1, units=7, dropout=0.1),
    "full8x": dict(mel_bins=80, subsampling=8, conv_channels=4, d_model=8, layers=1, heads=2, ff_mult=4,
                   conv_kernel=9, chunk_frames=0, left_chunks=0, units=5, dropout=0.0),
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer_norm(x, weight, bias):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


class Forward:
    """x is always one utterance without padding: [frames, width]."""

    def __init__(self, config, tensors):
        self.c, self.t = config, tensors

    def linear(self, name, x):
        return x @ self.t[name + ".weight"] + self.t[name + ".bias"]

    def norm(self, name, x):
        return layer_norm(x, self.t[name + ".weight"], self.t[name + ".bias"])

    def halve(self, name, x):
        """x [channels or 1, time, bins]: 3x3, stride 2, time padded by 2 on the left, bins by 1 and 1."""
        weight, bias = self.t[name + ".weight"], self.t[name + ".bias"]
        padded = np.pad(x, ((0, 0), (2, 0), (1, 1)))
        time, bins = (padded.shape[1] - 3) // 2 + 1, (padded.shape[2] - 3) // 2 + 1
        out = np.zeros((weight.shape[0], time, bins))
        for c in range(weight.shape[0]):
            plane = padded[c if x.shape[0] > 1 else 0]
            for t in range(time):
                for f in range(bins):
                    out[c, t, f] = (plane[2 * t:2 * t + 3, 2 * f:2 * f + 3] * weight[c, 0]).sum() + bias[c]
        return out

    def subsample(self, features):
        x = np.maximum(self.halve("sub.conv0", features[None]), 0)
        for i in range(1, self.c["subsampling"].bit_length() - 1):
            x = self.halve(f"sub.dw{i}", x)
            weight, bias = self.t[f"sub.pw{i}.weight"][:, :, 0, 0], self.t[f"sub.pw{i}.bias"]
            x = np.maximum(np.einsum("oi,itf->otf", weight, x) + bias[:, None, None], 0)
        # [channels, time, bins] to [time, channels * bins], channel-major
        return self.linear("sub.out", x.transpose(1, 0, 2).reshape(x.shape[1], -1))

    def feed_forward(self, name, x):
        x = self.linear(name + ".in", self.norm(name + ".norm", x))
        return self.linear(name + ".out", x * sigmoid(x))

    def attention(self, name, x):
        d, heads = self.c["d_model"], self.c["heads"]
        width, frames = d // heads, x.shape[0]
        qkv = self.linear(name + ".qkv", self.norm(name + ".norm", x))
        angle = np.arange(frames)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
        n, m = self.c["chunk_frames"], self.c["left_chunks"]
        out = np.zeros((frames, d))
        for h in range(heads):
            q, k, v = (qkv[:, part * d + h * width:part * d + (h + 1) * width] for part in range(3))

            def rotate(y):
                first, second = y[:, :width // 2], y[:, width // 2:]
                return np.concatenate([first * np.cos(angle) - second * np.sin(angle),
                                       second * np.cos(angle) + first * np.sin(angle)], 1)

            scores = rotate(q) @ rotate(k).T / np.sqrt(width)
            if n > 0:
                chunk = np.arange(frames) // n
                seen = (chunk[None] <= chunk[:, None]) & (chunk[None] >= chunk[:, None] - m)
                scores = np.where(seen, scores, -np.inf)
            weights = np.exp(scores - scores.max(1, keepdims=True))
            out[:, h * width:(h + 1) * width] = weights / weights.sum(1, keepdims=True) @ v
        return self.linear(name + ".out", out)

    def convolution(self, name, x):
        d, taps = self.c["d_model"], self.c["conv_kernel"]
        y = self.linear(name + ".pw1", self.norm(name + ".norm", x))
        y = y[:, :d] * sigmoid(y[:, d:])
        padded = np.pad(y, ((taps - 1, 0), (0, 0)))
        weight = self.t[name + ".dw.weight"][:, 0]
        y = np.stack([(padded[t:t + taps] * weight.T).sum(0) for t in range(y.shape[0])]) + self.t[name + ".dw.bias"]
        y = self.norm(name + ".mid_norm", y)
        return self.linear(name + ".pw2", y * sigmoid(y))

    def __call__(self, features):
        x = self.subsample(features)
        for b in range(self.c["layers"]):
            block = f"blocks.{b}"
            x = x + 0.5 * self.feed_forward(block + ".ff1", x)
            x = x + self.attention(block + ".attn", x)
            x = x + self.convolution(block + ".conv", x)
            x = x + 0.5 * self.feed_forward(block + ".ff2", x)
            x = self.norm(block + ".norm", x)
        x = self.linear("head", x)
        x = x - x.max(1, keepdims=True)
        return x - np.log(np.exp(x).sum(1, keepdims=True))


def shapes(c):
    """The table of docs/model.md."""
    channels, d, m, bins = c["conv_channels"], c["d_model"], c["ff_mult"], c["mel_bins"] // c["subsampling"]
    linear = lambda name, i, o: {name + ".weight": (i, o), name + ".bias": (o,)}
    norm = lambda name, width: {name + ".weight": (width,), name + ".bias": (width,)}
    conv = lambda name, *shape: {name + ".weight": shape, name + ".bias": (shape[0],)}
    out = conv("sub.conv0", channels, 1, 3, 3)
    for i in range(1, c["subsampling"].bit_length() - 1):
        out |= conv(f"sub.dw{i}", channels, 1, 3, 3) | conv(f"sub.pw{i}", channels, channels, 1, 1)
    out |= linear("sub.out", channels * bins, d)
    for b in range(c["layers"]):
        block = f"blocks.{b}"
        for ff in (".ff1", ".ff2"):
            out |= norm(block + ff + ".norm", d) | linear(block + ff + ".in", d, m * d) | linear(block + ff + ".out", m * d, d)
        out |= norm(block + ".attn.norm", d) | linear(block + ".attn.qkv", d, 3 * d) | linear(block + ".attn.out", d, d)
        out |= norm(block + ".conv.norm", d) | linear(block + ".conv.pw1", d, 2 * d)
        out |= conv(block + ".conv.dw", d, 1, c["conv_kernel"]) | norm(block + ".conv.mid_norm", d)
        out |= linear(block + ".conv.pw2", d, d) | norm(block + ".norm", d)
    return out | linear("head", d, c["units"])


def write_safetensors(path, tensors):
    header, blobs, offset = {}, [], 0
    for name, value in tensors.items():
        blob = value.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def main():
    here = pathlib.Path(__file__).parent
    for seed, (name, config) in enumerate(CONFIGS.items()):
        rng = np.random.default_rng(seed)
        tensors = {}
        for key, shape in shapes(config).items():
            fan = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
            value = rng.normal(size=shape) / np.sqrt(fan) if len(shape) > 1 else 0.3 * rng.normal(size=shape)
            if "norm.weight" in key:
                value = value + 1
            tensors[key] = value.astype(np.float32).astype(np.float64)
        frames, lengths = 61, [61, 42]
        features = rng.normal(size=(2, frames, config["mel_bins"])).round(3)
        for row, length in zip(features, lengths):
            row[length:] = 0
        forward = Forward(config, tensors)
        probs = [forward(features[b, :lengths[b]]) for b in range(2)]
        folder = here / name
        folder.mkdir(exist_ok=True)
        (folder / "model.json").write_text(json.dumps(config, indent=2) + "\n")
        write_safetensors(folder / "model.safetensors", tensors)
        golden = {"frames": frames, "lengths": lengths, "features": [float(v) for v in features.ravel()],
                  "log_probs": [[float(f"{v:.9g}") for v in p.ravel()] for p in probs]}
        (folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        print(name, [p.shape for p in probs])


if __name__ == "__main__":
    main()
