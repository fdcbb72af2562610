#!/usr/bin/env python3
"""Writes the audio files beside it and what ffmpeg hears in them.

    python3 tests/goldens/audio/generate.py

Needs ffmpeg with libmp3lame, libvorbis, libopus and libsoxr (Debian's has them) and nothing else. The signal is made here:
a sweep on the left, a beating tone on the right, faded in and out. Each `NAME.EXT` is encoded from it; each `NAME.s16` is
ffmpeg's decode of that very file, the mean of its channels, resampled by soxr to 16 kHz, as raw 16-bit little-endian PCM.
Files of one lossless signal share one golden, named in `goldens.txt` (file, golden).
"""

import array
import math
import pathlib
import subprocess
import sys
import wave

HERE = pathlib.Path(__file__).resolve().parent
SECS = 0.3

# Name, extension, rate and channels of the signal, ffmpeg's encoder options, golden (None: its own).
FILES = [
    ("wav-u8", "wav", 16000, 1, "-c:a pcm_u8", "mono-16000"),
    ("wav-s16", "wav", 16000, 1, "-c:a pcm_s16le", "mono-16000"),
    ("wav-s24-extensible", "wav", 16000, 1, "-c:a pcm_s24le", "mono-16000"),
    ("wav-s32-extensible", "wav", 16000, 1, "-c:a pcm_s32le", "mono-16000"),
    ("wav-f32", "wav", 16000, 1, "-c:a pcm_f32le", "mono-16000"),
    ("wav-f64", "wav", 16000, 1, "-c:a pcm_f64le", "mono-16000"),
    ("wav-alaw", "wav", 16000, 1, "-c:a pcm_alaw", None),
    ("wav-mulaw", "wav", 16000, 1, "-c:a pcm_mulaw", None),
    ("wav-rf64", "wav", 16000, 1, "-c:a pcm_s16le -rf64 always", "mono-16000"),
    ("wav-streamed", "wav", 16000, 1, "-c:a pcm_s16le -f wav pipe:1", "mono-16000"),
    ("wav-stereo-22050", "wav", 22050, 2, "-c:a pcm_s16le", None),
    ("flac-16", "flac", 16000, 1, "-c:a flac", "mono-16000"),
    ("flac-24-stereo-44100", "flac", 44100, 2, "-c:a flac -sample_fmt s32 -bits_per_raw_sample 24", None),
    ("flac-in-ogg", "ogg", 16000, 1, "-c:a flac", "mono-16000"),
    ("mp3-stereo-44100", "mp3", 44100, 2, "-c:a libmp3lame -b:a 64k", None),
    ("mp3-mono-22050", "mp3", 22050, 1, "-c:a libmp3lame -b:a 32k", None),
    ("mp3-id3", "mp3", 16000, 1, "-c:a libmp3lame -b:a 32k -id3v2_version 4 -metadata title=Sweep", None),
    ("vorbis-stereo-44100", "ogg", 44100, 2, "-c:a libvorbis -q:a 3 -page_duration 50000", None),
    ("vorbis-in-webm", "webm", 44100, 1, "-c:a libvorbis -q:a 3", None),
    ("opus-speech", "opus", 16000, 1, "-c:a libopus -b:a 20k -application voip", None),
    ("opus-music-stereo", "opus", 48000, 2, "-c:a libopus -b:a 64k -application audio", None),
    ("opus-surround", "opus", 48000, 6, "-c:a libopus -b:a 96k -mapping_family 1", None),
    ("opus-in-webm", "webm", 48000, 1, "-c:a libopus -b:a 24k", None),
    ("aac-stereo-44100", "m4a", 44100, 2, "-c:a aac -b:a 64k", None),
    ("aac-fast-start", "m4a", 16000, 1, "-c:a aac -b:a 32k -movflags +faststart", None),
    ("aac-adts", "aac", 16000, 1, "-c:a aac -b:a 32k", None),
]


def signal(rate, channels):
    """Interleaved 16-bit samples."""
    frames = int(SECS * rate)
    out = array.array("h")
    for i in range(frames):
        t = i / rate
        fade = min(1.0, t / 0.02, (SECS - t) / 0.02)
        sweep = math.sin(2 * math.pi * (150 * t + (3500 - 150) * t * t / (2 * SECS)))
        beat = math.sin(2 * math.pi * 700 * t) * math.sin(2 * math.pi * 8 * t)
        for c in range(channels):
            x = 0.5 * sweep if c % 2 == 0 else 0.3 * beat
            out.append(round(32767 * fade * x))
    return out


def ffmpeg(*arguments):
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-bitexact", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def decode(path, channels):
    mean = "+".join(f"{1 / channels:.9f}*c{c}" for c in range(channels))
    chain = f"pan=mono|c0={mean},aresample=16000:resampler=soxr:precision=28:osf=fltp,aformat=sample_fmts=s16"
    # ffmpeg's own Opus and Vorbis decoders stray from the reference ones: the first by as much as a third of the level in
    # speech modes, the second by half a block at the end.
    decoder = {".opus": "libopus", ".ogg": "libvorbis", ".webm": "libopus"}.get(path.suffix)
    if path.stem.startswith("vorbis"):
        decoder = "libvorbis"
    if path.stem.startswith("flac"):
        decoder = None
    return ffmpeg(*(["-c:a", decoder] if decoder else []), "-i", path, "-filter:a", chain, "-f", "s16le", "pipe:1")


def main():
    for old in HERE.iterdir():
        if old.name != pathlib.Path(__file__).name:
            old.unlink()
    source = HERE / "source.wav"
    lines, made = [], set()
    for name, extension, rate, channels, options, golden in FILES:
        samples = signal(rate, channels)
        if sys.byteorder == "big":
            samples.byteswap()
        with wave.open(str(source), "wb") as out:
            out.setnchannels(channels)
            out.setsampwidth(2)
            out.setframerate(rate)
            out.writeframes(samples.tobytes())
        path = HERE / f"{name}.{extension}"
        layout = ["-channel_layout", "5.1"] if channels == 6 else []
        options = ["-fflags", "+bitexact", "-flags:a", "+bitexact", *options.split()]
        if "pipe:1" in options:
            path.write_bytes(ffmpeg(*layout, "-i", source, *options))
        else:
            ffmpeg(*layout, "-i", source, *options, path)
        golden = golden or name
        if golden not in made:
            # A shared golden is that of the exact signal, not of the first file that shares it.
            (HERE / f"{golden}.s16").write_bytes(decode(source if golden != name else path, channels))
            made.add(golden)
        lines.append(f"{path.name} {golden}.s16\n")
    # Ten minutes in 2 KB of frames, and a header that does not say so.
    bomb = HERE / "silence.flac"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", 600, "-c:a", "flac", "-frame_size", 65535, bomb)
    content = bytearray(bomb.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    bomb.write_bytes(content)
    source.unlink()
    (HERE / "goldens.txt").write_text("".join(lines))


main()
