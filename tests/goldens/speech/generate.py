"""Tiny speech models that hear tones, exported by Optimum, and what `transformers` hears with them.

    pip install -r ../families/requirements.txt
    python generate.py              # all, or: python generate.py moonshine wav2vec2 hubert wavlm
    python generate.py --saved DIR  # keeps what was taught in DIR, or takes it from there

Each is taught for some minutes to write down the tones of `../whisper/tones.py`; the clips are those of `../whisper`, which writes them.
`zipformer` has a script of its own.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "families"), str(HERE.parent / "whisper")]
import tones  # noqa: E402
from generator import export  # noqa: E402

LEAST_MARGIN = 1e-3
CLIPS = ("short", "en")
POOL = 400
# What a tone is called: short enough for a frame of 20 ms and a letter each.
SPELLED = ("LIN", "SO", "AT", "DAWN", "CAN'T", "RED", "DOOR", "OX")


def clip(name: str) -> np.ndarray:
    data = (HERE.parent / "whisper" / f"{name}.wav").read_bytes()
    return tones.of_mu_law(data[data.index(b"data") + 8:])


class Pool:
    """Examples, some of which are new each time: making one takes as long as learning from it."""

    def __init__(self, make):
        self.make, self.examples = make, [make() for _ in range(POOL)]

    def batch(self, random, size: int):
        for place in random.integers(0, POOL, 2):
            self.examples[place] = self.make()
        # Of like length, so that little is padded.
        order = sorted(random.integers(0, POOL, size), key=lambda i: len(self.examples[i][0]))
        return [self.examples[i] for i in order]


def normalized(sound: np.ndarray) -> np.ndarray:
    return ((sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)).astype(np.float32)


def learn(model, batch, steps: int, rate: float, enough: float, keep: Path | None):
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    smooth = None
    for step in range(steps):
        loss = batch()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {smooth:.3f}", flush=True)
            if keep:
                model.save_pretrained(keep)
        if smooth < enough:
            break
    model.eval()


# CTC

def ctc_vocabulary(directory: Path):
    letters = sorted({c for word in SPELLED for c in word})
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *letters])}
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(directory / "vocab.json"), bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
                                                  word_delimiter_token="|")
    tokenizer.save_pretrained(directory)
    return tokenizer, vocabulary


CTC = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, conv_dim=(16,) * 7, num_feat_extract_layers=7,
           num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0,
           activation_dropout=0.0, final_dropout=0.0, layerdrop=0.0, mask_time_prob=0.0, apply_spec_augment=False, ctc_zero_infinity=True,
           ctc_loss_reduction="mean", do_stable_layer_norm=False, feat_extract_norm="group")


def ctc_model(name: str, vocabulary: int):
    torch.manual_seed(1)
    kind = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[name]
    config = getattr(transformers, f"{kind}Config")(vocab_size=vocabulary, pad_token_id=0, bos_token_id=1, eos_token_id=2, **CTC)
    return getattr(transformers, f"{kind}ForCTC")(config)


def teach_ctc(name: str, directory: Path):
    tokenizer, vocabulary = ctc_vocabulary(directory)
    model = ctc_model(name, len(vocabulary))
    if (directory / "model.safetensors").exists():
        model = type(model).from_pretrained(directory)
    elif name != "wav2vec2":
        # The three are of nearly one shape: what one has learned is a beginning for the others.
        taught = transformers.Wav2Vec2ForCTC.from_pretrained(directory.parent / "wav2vec2").state_dict()
        model.load_state_dict({key.replace("wav2vec2.", f"{name}."): value for key, value in taught.items()}, strict=False)
    random = np.random.default_rng(1)

    def example():
        speech = tones.some_speech("en", random.uniform(0.8, 2.0), random)
        words = [SPELLED[w] for _, _, words in speech.phrases for w in words]
        return normalized(speech.noisy(random, 10 ** random.uniform(-4, -2.7))), [vocabulary[c] for c in "|".join(words)]

    pool = Pool(example)

    def batch():
        examples = pool.batch(random, 6)
        # All of one length, so that no mask is needed.
        length = min(len(sound) for sound, _ in examples)
        examples = [e for e in examples if len(e[0]) < 1.15 * length] or examples[:1]
        width = max(len(sound) for sound, _ in examples)
        sounds = torch.tensor(np.stack([np.pad(sound, (0, width - len(sound))) for sound, _ in examples]))
        targets = max(len(ids) for _, ids in examples)
        labels = torch.tensor([ids + [-100] * (targets - len(ids)) for _, ids in examples])
        return model(sounds, labels=labels).loss

    learn(model, batch, 1200, 4e-3, 0.12, directory)
    model.save_pretrained(directory)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(directory)


@torch.no_grad()
def ctc_case(model, tokenizer, name: str) -> dict:
    sound = clip(name)
    logits = model(torch.tensor(normalized(sound))[None]).logits[0]
    log_probs = logits.log_softmax(-1)
    path = logits.argmax(-1)
    best = logits.topk(2).values
    decoded = tokenizer.decode(path, output_word_offsets=True)
    margin = (best[:, 0] - best[:, 1]).min().item()
    record = {"clip": name, "path": path.tolist(), "text": decoded.text, "mean_best": log_probs.max(-1).values.mean().item(), "margin": margin,
              "words": [[w["word"], round(w["start_offset"] * 0.02, 2), round(w["end_offset"] * 0.02, 2)] for w in decoded.word_offsets]}
    print(record["text"], record["mean_best"], margin)
    if margin < LEAST_MARGIN or len(set(record["path"])) < 8:
        raise SystemExit(f"{name}: two units are as good to {margin}, or too few are heard")
    return record


def write_ctc(name: str, saved: Path):
    from optimum.exporters.onnx import main_export

    directory, out = saved / name, HERE / name
    if not (directory / "preprocessor_config.json").exists():
        directory.mkdir(parents=True, exist_ok=True)
        teach_ctc(name, directory)
    model = getattr(transformers, type(ctc_model(name, 8)).__name__).from_pretrained(directory).eval()
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(directory)
    with tempfile.TemporaryDirectory() as temporary:
        main_export(str(directory), temporary, task="automatic-speech-recognition", device="cpu", do_validation=False)
        export.keep_tokenizer(directory, Path(temporary))
        export.lay_out_flat(Path(temporary), out)
    export.settle(out)
    finish(out, [ctc_case(model, tokenizer, clip_name) for clip_name in CLIPS])


# Moonshine

def moonshine_tokenizer(directory: Path):
    """A BPE with a mark for blanks and bytes, as Llama's."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers

    words = tones.WORDS["en"]
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(vocab_size=56, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    bpe.train_from_iterator([word.strip() for word in words for _ in range(4)], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
                                                     clean_up_tokenization_spaces=False)
    tokenizer.save_pretrained(directory)
    return tokenizer


def teach_moonshine(directory: Path):
    tokenizer = moonshine_tokenizer(directory)
    torch.manual_seed(1)
    config = transformers.MoonshineConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, encoder_num_hidden_layers=1, decoder_num_hidden_layers=1,
        encoder_num_attention_heads=4, decoder_num_attention_heads=4, max_position_embeddings=194, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        decoder_start_token_id=1, attention_dropout=0.0)
    model = transformers.MoonshineForConditionalGeneration(config)
    if (directory / "model.safetensors").exists():
        model = transformers.MoonshineForConditionalGeneration.from_pretrained(directory)
    random = np.random.default_rng(1)

    def example():
        speech = tones.some_speech("en", random.uniform(0.8, 2.4), random)
        text = "".join(tones.WORDS["en"][w] for _, _, words in speech.phrases for w in words).strip()
        return speech.noisy(random, 10 ** random.uniform(-4, -2.7)), tokenizer(text, add_special_tokens=False).input_ids + [2]

    pool = Pool(example)

    def batch():
        examples = pool.batch(random, 8)
        width = max(len(sound) for sound, _ in examples)
        sounds = torch.tensor(np.stack([np.pad(sound, (0, width - len(sound))) for sound, _ in examples]))
        mask = torch.tensor([[1] * len(sound) + [0] * (width - len(sound)) for sound, _ in examples])
        targets = max(len(ids) for _, ids in examples)
        labels = torch.tensor([ids + [-100] * (targets - len(ids)) for _, ids in examples])
        inputs = torch.tensor([[1] + ids[:-1] + [2] * (targets - len(ids)) for _, ids in examples])
        logits = model(input_values=sounds, attention_mask=mask, decoder_input_ids=inputs).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)

    learn(model, batch, 2000, 4e-3, 0.08, directory)
    model.generation_config = transformers.GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2, decoder_start_token_id=1, max_length=194)
    model.save_pretrained(directory)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(directory)


@torch.no_grad()
def moonshine_case(model, tokenizer, name: str) -> dict:
    sound = torch.tensor(clip(name))[None]
    # As the documentation of `transformers` bounds it.
    most = int(sound.shape[1] * 6.5 / 16_000)
    out = model.generate(input_values=sound, attention_mask=torch.ones_like(sound, dtype=torch.long), max_length=most, do_sample=False,
                         return_dict_in_generate=True, output_logits=True)
    ids = out.sequences[0, 1:].tolist()
    log_probs = torch.cat(out.logits).log_softmax(-1)
    best = torch.cat(out.logits).topk(2).values
    margin = (best[:, 0] - best[:, 1]).min().item()
    record = {"clip": name, "ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True), "margin": margin,
              "avg_logprob": float(np.mean([log_probs[i, id].item() for i, id in enumerate(ids)]))}
    print(record)
    if margin < LEAST_MARGIN:
        raise SystemExit(f"{name}: two tokens are as good to {margin}")
    return record


def write_moonshine(saved: Path):
    from optimum.exporters.onnx import main_export

    directory, out = saved / "moonshine", HERE / "moonshine"
    if not (directory / "preprocessor_config.json").exists():
        directory.mkdir(parents=True, exist_ok=True)
        teach_moonshine(directory)
    model = transformers.MoonshineForConditionalGeneration.from_pretrained(directory).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    with tempfile.TemporaryDirectory() as temporary:
        main_export(str(directory), temporary, task="automatic-speech-recognition-with-past", device="cpu", do_validation=False)
        export.keep_tokenizer(directory, Path(temporary))
        export.lay_out_transformers_js(Path(temporary), out)
    export.settle(out)
    finish(out, [moonshine_case(model, tokenizer, clip_name) for clip_name in CLIPS])


def finish(out: Path, cases: list):
    for extra in ("special_tokens_map.json",):
        (out / extra).unlink(missing_ok=True)
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in cases)
    (out / "golden.json").write_text(f'{{"format": 1, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--saved", type=Path)
    given = arguments.parse_args()
    export.quiet()
    with tempfile.TemporaryDirectory() as temporary:
        # wav2vec2 first: the other two begin with what it has learned.
        for name in given.names or ("moonshine", "wav2vec2", "hubert", "wavlm"):
            saved = given.saved or Path(temporary)
            write_moonshine(saved) if name == "moonshine" else write_ctc(name, saved)
