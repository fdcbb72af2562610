"""Teaches a tiny Whisper to write down tones, in Whisper's own format: control tokens, timestamps, cut-off phrases, text before."""

import numpy as np
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

import tones

FRAME_SAMPLES = 320
POOL = 1200


class Task:
    """Makes examples of windows."""

    def __init__(self, tokenizer, extractor, multilingual: bool, seed: int):
        self.tokenizer, self.extractor, self.multilingual = tokenizer, extractor, multilingual
        self.random = np.random.default_rng(seed)
        self.window, self.pool = extractor.n_samples, []
        ids = tokenizer.get_vocab()
        self.id = lambda token: ids[f"<|{token}|>"]
        self.first_time = self.id("0.00")

    def words(self, language: str, words: list[int]) -> list[int]:
        return self.tokenizer("".join(tones.WORDS[language][w] for w in words), add_special_tokens=False).input_ids

    def time(self, sample: int) -> int:
        return self.first_time + round(sample / FRAME_SAMPLES)

    def label(self, speech, start: int, written: str, times: bool) -> list[int]:
        """What stands in the window from `start` on. Of a phrase that the window cuts off only the beginning's time is written."""
        ids = []
        for begin, end, words in speech.phrases:
            if begin < start or begin >= start + self.window:
                continue
            if end > start + self.window:
                return ids + ([self.time(begin - start)] if times and ids else self.words(written, words) if not ids else [])
            text = self.words(written, words)
            ids += [self.time(begin - start), *text, self.time(end - start)] if times else text
        return ids

    def example(self):
        random = self.random
        language = "en" if not self.multilingual or random.random() < 0.5 else "de"
        begin = [self.id("startoftranscript")]
        if random.random() < 0.06:
            sound = random.normal(0, random.choice([3e-5, 3e-4, 1e-3]), self.window).astype(np.float32)
            return sound, [], begin + [self.id("nospeech")]
        speech = tones.some_speech(language, 1.6 * self.window / tones.RATE, random)
        translate = language == "de" and random.random() < 0.3
        written = "en" if translate else language
        times = random.random() < 0.85
        # A window begins where a phrase ended or between phrases.
        starts = [0] + [end for _, end, _ in speech.phrases if end < len(speech.sound) - self.window]
        start = int(random.choice(starts)) // FRAME_SAMPLES * FRAME_SAMPLES
        sound = speech.noisy(random, 10 ** random.uniform(-4, -2.7))[start : start + self.window]
        if random.random() < 0.3:
            # The audio ends within the window, in a pause.
            ends = [end + 1600 for begin_, end, _ in speech.phrases if start <= begin_ and end + 1600 < start + self.window]
            if ends:
                cut = int(random.choice(ends))
                sound = sound[: cut - start]
                speech.phrases = [p for p in speech.phrases if p[1] <= cut]
        if self.multilingual:
            begin += [self.id(language), self.id("translate" if translate else "transcribe")]
        if not times:
            begin += [self.id("notimestamps")]
        before = []
        if random.random() < 0.4:
            other = tones.some_speech(language, 1.5, random)
            before = [self.id("startofprev"), *self.label(other, 0, written, random.random() < 0.7)][:30]
        return sound, before, begin + self.label(speech, start, written, times) + [self.id("endoftext")]

    def fresh(self):
        sound, before, ids = self.example()
        mel = self.extractor(sound, sampling_rate=tones.RATE, padding="longest", truncation=False, return_tensors="np").input_features[0]
        # As `generate` pads the last window: zeros among the features.
        mel = np.pad(mel, ((0, 0), (0, self.extractor.nb_max_frames - mel.shape[1])))
        return mel.astype(np.float32), (before + ids)[:-1], ([-100] * len(before) + ids)[1:]

    def batch(self, size: int):
        """From a pool of examples, some of which are new each time: making one takes longer than learning from it."""
        if not self.pool:
            self.pool = [self.fresh() for _ in range(POOL)]
        for place in self.random.integers(0, POOL, 2):
            self.pool[place] = self.fresh()
        features, inputs, labels = zip(*(self.pool[i] for i in self.random.integers(0, POOL, size)))
        width = max(map(len, inputs))
        pad = lambda rows, fill: torch.tensor([row + [fill] * (width - len(row)) for row in rows])
        return torch.tensor(np.stack(features)), pad(inputs, self.id("endoftext")), pad(labels, -100)


def build(tokenizer, mel_bins: int, positions: int, seed: int):
    torch.manual_seed(seed)
    ids = tokenizer.get_vocab()
    end = ids["<|endoftext|>"]
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=mel_bins, d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_source_positions=positions, max_target_positions=96,
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=ids["<|startoftranscript|>"], suppress_tokens=None,
        begin_suppress_tokens=None, dropout=0.0, attn_implementation="eager")
    return WhisperForConditionalGeneration(config)


def teach(model, task: Task, steps: int, size: int = 16, enough: float = 0.06, keep=None) -> float:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps, pct_start=0.1)
    smooth = 9.0
    for step in range(steps):
        features, inputs, labels = task.batch(size)
        logits = model(input_features=features, decoder_input_ids=inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smooth = 0.97 * smooth + 0.03 * loss.item()
        if step % 250 == 249:
            print(f"step {step + 1}: loss {smooth:.3f}", flush=True)
            if keep:
                model.save_pretrained(keep)
        if smooth < enough:
            break
    model.eval()
    return smooth
