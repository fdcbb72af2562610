"""What the tiny models are taught to hear: each word is a tone, each language a timbre."""

import numpy as np

RATE = 16_000
# One pitch for each word, Hz, far enough apart for 80 mel bins.
PITCHES = (300, 450, 650, 900, 1250, 1700, 2400, 3300)
WORDS = {
    "en": (" linnet", " sings", " at", " dawn,", " can't", " red", " door.", " (so)"),
    "de": (" Hänfling", " singt", " früh,", " ist", " rot", " Tür.", " wir", " für"),
}


def tone(language: str, pitch: int, samples: int) -> np.ndarray:
    """English is a sine; German has a third and a fifth harmonic."""
    time = np.arange(samples) / RATE
    wave = np.sin(2 * np.pi * pitch * time)
    if language == "de":
        wave = 0.7 * wave + 0.35 * np.sin(6 * np.pi * pitch * time) * (3 * pitch < RATE / 2) + 0.2 * np.sin(2 * np.pi * 2.5 * pitch * time)
    edge = np.minimum(1.0, np.minimum(np.arange(samples), np.arange(samples)[::-1]) / 160)
    return 0.3 * wave * edge


class Speech:
    """Phrases of words with their times, in samples, and their sound."""

    def __init__(self, language: str):
        self.language, self.phrases, self.sound = language, [], np.zeros(0)

    def pause(self, secs: float):
        self.sound = np.concatenate([self.sound, np.zeros(int(secs * RATE))])
        return self

    def phrase(self, words: list[int], random: np.random.Generator):
        """Words by index, with short gaps between."""
        start = len(self.sound)
        for i, word in enumerate(words):
            if i:
                self.pause(random.uniform(0.04, 0.08))
            samples = int(random.uniform(0.16, 0.28) * RATE)
            self.sound = np.concatenate([self.sound, tone(self.language, PITCHES[word], samples)])
        self.phrases.append((start, len(self.sound), list(words)))
        return self

    def noisy(self, random: np.random.Generator, level: float = 1e-3) -> np.ndarray:
        """As it would be recorded."""
        return (self.sound + random.normal(0, level, len(self.sound))).astype(np.float32)


def some_speech(language: str, secs: float, random: np.random.Generator) -> Speech:
    """At least `secs` of phrases of one to three words between pauses."""
    speech = Speech(language).pause(random.uniform(0.0, 0.5))
    while len(speech.sound) < secs * RATE:
        speech.phrase(list(random.integers(0, len(PITCHES), random.integers(1, 4))), random)
        speech.pause(random.uniform(0.2, 0.7))
    return speech


def mu_law(samples: np.ndarray) -> bytes:
    """G.711, which keeps a clip small and gives exactly the same samples to everybody who decodes it."""
    value = np.clip(np.round(samples * 32768), -32635, 32635).astype(np.int32)
    sign = np.where(value < 0, 0x80, 0)
    magnitude = np.abs(value) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 15
    return (~(sign | exponent << 4 | mantissa) & 0xFF).astype(np.uint8).tobytes()


def of_mu_law(data: bytes) -> np.ndarray:
    """Samples in [-1, 1]."""
    value = ~np.frombuffer(data, np.uint8).astype(np.int32) & 0xFF
    magnitude = (((value & 15) << 3) + 132 << (value >> 4 & 7)) - 132
    return (np.where(value & 0x80, -magnitude, magnitude) / 32768).astype(np.float32)


def wav(data: bytes) -> bytes:
    """A WAV file of µ-law samples."""
    fmt = (7).to_bytes(2, "little") + (1).to_bytes(2, "little") + RATE.to_bytes(4, "little") * 2 + (1).to_bytes(2, "little") + (8).to_bytes(2, "little") + b"\0\0"
    chunks = b"fmt " + len(fmt).to_bytes(4, "little") + fmt
    chunks += b"fact" + (4).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    chunks += b"data" + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2)
    return b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WAVE" + chunks
