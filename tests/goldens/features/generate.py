#!/usr/bin/env python3
"""Writes kaldi.json, icefall.json, whisper.json: log-mel features of a synthesized signal by independent implementations.

Kaldi's come from `kaldi-native-fbank` (a C++ port of Kaldi's own code), icefall's too, with the options that sherpa-onnx gives it; Whisper's from its formulas in numpy, in double
precision with a dense filter matrix. The signal is made of integers by a rule that the test repeats, so that only a
few frames need to be kept. Run: pip install numpy kaldi-native-fbank && python3 tests/goldens/features/generate.py
"""

import json
import os

import kaldi_native_fbank as knf
import numpy as np

RATE, SAMPLES = 16000, 24000
HERE = os.path.dirname(os.path.abspath(__file__))


def signal():
    """A square wave that falls in pitch, under noise that grows, with a constant offset; silence in the middle. 16 bit."""
    state, phase, out = 12345, 0, []
    for i in range(SAMPLES):
        state = (1103515245 * state + 12345) % 2**31
        noise = (state >> 16) % 2001 - 1000
        phase = (phase + 900 - i // 40) % 16000
        value = (4000 if phase < 8000 else -4000) + noise * i // SAMPLES + 37
        out.append(0 if 9600 <= i < 12000 else value)
    return np.array(out, dtype=np.int64)


def kaldi(x, snip_edges=True, high_freq=0):
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "povey"
    options.frame_opts.snip_edges = snip_edges
    options.mel_opts.num_bins = 80
    options.mel_opts.low_freq = 20
    options.mel_opts.high_freq = high_freq
    options.energy_floor = 0.0
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(RATE, x.astype(np.float32).tolist())
    fbank.input_finished()
    return np.array([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


def slaney_filters(bins, rate, size):
    def to_hz(mel):
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))

    top = 15 + np.log(rate / 2 / 1000) / (np.log(6.4) / 27)
    edges = to_hz(np.linspace(0, top, bins + 2))
    freqs = np.fft.rfftfreq(size, 1 / rate)
    bank = np.zeros((bins, len(freqs)))
    for i in range(bins):
        up = (freqs - edges[i]) / (edges[i + 1] - edges[i])
        down = (edges[i + 2] - freqs) / (edges[i + 2] - edges[i + 1])
        bank[i] = np.maximum(0, np.minimum(up, down)) * 2 / (edges[i + 2] - edges[i])
    return bank


def whisper(x):
    x = np.pad(x.astype(np.float64) / 32768, 200, mode="reflect")
    window = np.hanning(401)[:-1]
    frames = np.stack([x[i : i + 400] * window for i in range(0, len(x) - 399, 160)])[:-1]
    mel = np.abs(np.fft.rfft(frames)) ** 2 @ slaney_filters(80, RATE, 400).T
    log = np.log10(np.maximum(mel, 1e-10))
    return (np.maximum(log, log.max() - 8) + 4) / 4


def write(name, made_by, frames, keep):
    rows = {str(i): [round(float(v), 6) for v in frames[i]] for i in keep}
    with open(os.path.join(HERE, name), "w") as f:
        json.dump({"made_by": made_by, "frames": len(frames), "rows": rows}, f, indent=0, separators=(",", ":"))
        f.write("\n")


def main():
    x = signal()
    keep = [0, 1, 2, 40, 57, 58, 59, 60, 65, 72, 75, 76, 100, 147]
    write("kaldi.json", f"kaldi-native-fbank {knf.__version__ if hasattr(knf, '__version__') else ''}".strip(), kaldi(x), keep)
    icefall = kaldi(x / 32768, snip_edges=False, high_freq=-400)
    write("icefall.json", "kaldi-native-fbank with sherpa-onnx's options", icefall, [0, 1, 2, 40, 59, 65, 100, 147, 148, 149])
    write("whisper.json", "numpy, double precision", whisper(x), keep + [148, 149])
    print("sum of the signal:", int(x.sum()), "of its magnitudes:", int(np.abs(x).sum()))


if __name__ == "__main__":
    main()
