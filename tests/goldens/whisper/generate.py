"""Tiny Whisper models that hear tones, exported by Optimum, and what `transformers` writes of clips longer than their windows.

    pip install -r ../families/requirements.txt
    python generate.py              # both models; each takes a quarter of an hour of one core to teach
    python generate.py --saved DIR  # keeps what was taught in DIR, or takes it from there

`multilingual` has a merged decoder that gives its cross-attention (as transformers.js' `_timestamped` exports do); `english` has 128 mel bins, two
decoders (as Optimum writes them) and neither languages nor attention.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, GenerationConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

import teach
import tones
import vocabulary

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "families"))
from generator import export  # noqa: E402

POSITIONS = 150
LEAST_MARGIN = 1e-3
# Never reached, so that they are measured and change nothing.
MEASURED = dict(compression_ratio_threshold=100.0, logprob_threshold=-100.0, no_speech_threshold=1.1)


def taught(name: str, saved: Path):
    directory = saved / name
    multilingual = name == "multilingual"
    bins = 80 if multilingual else 128
    if not (directory / "model.safetensors").exists():
        directory.mkdir(parents=True, exist_ok=True)
        tokenizer = vocabulary.save(directory, POSITIONS, multilingual)
        extractor = WhisperFeatureExtractor(feature_size=bins, chunk_length=POSITIONS // 50)
        model = teach.build(tokenizer, bins, POSITIONS, 1)
        print(name, "loss", teach.teach(model, teach.Task(tokenizer, extractor, multilingual, 1), 2500))
        model.save_pretrained(directory)
        extractor.save_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = WhisperForConditionalGeneration.from_pretrained(directory, attn_implementation="eager").eval()
    configure(model, tokenizer, multilingual)
    model.save_pretrained(directory)
    return directory, tokenizer, WhisperFeatureExtractor.from_pretrained(directory), model


def configure(model, tokenizer, multilingual: bool):
    """A generation_config.json as OpenAI's models have it."""
    ids = tokenizer.get_vocab()
    of = lambda token: ids[f"<|{token}|>"]
    options = dict(
        max_length=model.config.max_target_positions, no_timestamps_token_id=of("notimestamps"), max_initial_timestamp_index=50,
        suppress_tokens=[of(t) for t in ("translate", "transcribe", "startoflm", "startofprev", "nospeech")], begin_suppress_tokens=[of("endoftext")],
        prev_sot_token_id=of("startofprev"), is_multilingual=multilingual, return_timestamps=False, alignment_heads=[[0, 1], [1, 0], [1, 2]],
        decoder_start_token_id=of("startoftranscript"), eos_token_id=of("endoftext"), pad_token_id=of("endoftext"), bos_token_id=of("endoftext"))
    if multilingual:
        options["lang_to_id"] = {f"<|{tag}|>": of(tag) for tag in vocabulary.LANGUAGES}
        options["task_to_id"] = {task: of(task) for task in ("translate", "transcribe")}
    model.generation_config = GenerationConfig(**options)


def clip(language: str, plan: list, seed: int) -> bytes:
    """Phrases and pauses: a list of word indices is a phrase, a number is a pause in seconds."""
    random = np.random.default_rng(seed)
    speech = tones.Speech(language)
    for part in plan:
        speech.pause(part) if isinstance(part, float) else speech.phrase(part, random)
    return tones.mu_law(speech.noisy(random))


CLIPS = {
    # Nine seconds with words across every border of a window, and four seconds of silence.
    "en": ("en", [0.3, [0, 1], 0.4, [2, 3, 4], 0.5, [5], 0.3, [6, 0, 1], 0.6, [2], 0.3, [7, 4], 4.2, [3, 3], 0.4, [1, 6], 0.3, [0], 0.4]),
    "de": ("de", [0.2, [0, 1, 2], 0.5, [3], 0.4, [4, 5], 0.3, [6, 7, 0], 0.4, [2, 1], 0.5, [5], 0.2]),
    # One word again and again.
    "stutter": ("en", [0.2] + [part for _ in range(6) for part in ([1, 1], 0.25)]),
    "short": ("en", [0.2, [0, 1], 0.4, [2], 0.2]),
}


class Watch:
    """Keeps what `generate` measures of each window."""

    def __init__(self, model):
        self.windows, self.margin = [], float("inf")
        inner = model._need_fallback

        def watched(seek_sequence, seek_outputs, index, logits_processor, generation_config, vocab_size, temperature):
            scores = seek_outputs[index]["scores"]
            for score in scores:
                best = torch.topk(score.float(), 2)[0]
                self.margin = min(self.margin, (best[0] - best[1]).item())
            no_speech = [p.no_speech_prob for p in logits_processor if hasattr(p, "no_speech_prob")][0]
            result = inner(seek_sequence, seek_outputs, index, logits_processor, generation_config, vocab_size, temperature)
            self.windows.append(dict(
                tokens=seek_sequence.tolist(), compression_ratio=model._retrieve_compression_ratio(seek_sequence, vocab_size),
                avg_logprob=float(model._retrieve_avg_logprobs(scores, seek_sequence, temperature)), no_speech=float(no_speech[index]), skip=result[1]))
            return result

        model._need_fallback = watched
        self.forget = lambda: setattr(model, "_need_fallback", inner)


@torch.no_grad()
def case(name: str, model, tokenizer, extractor, sound: np.ndarray, clip_name: str, prompt: str = "", **options) -> dict:
    inputs = extractor(sound, sampling_rate=tones.RATE, truncation=False, padding="longest", return_attention_mask=True, return_tensors="pt")
    given = {**MEASURED, **options}
    if prompt:
        given["prompt_ids"] = torch.tensor(tokenizer.get_prompt_ids(prompt).tolist())
    features = inputs.input_features
    if features.shape[-1] < extractor.nb_max_frames:
        inputs.attention_mask = None
    watch = Watch(model)
    try:
        out = model.generate(features, attention_mask=inputs.attention_mask, return_timestamps=True, return_segments=True, temperature=(0.0,), **given)
    finally:
        watch.forget()
    record = dict(name=name, clip=clip_name, prompt=prompt, options=options, margin=watch.margin, windows=watch.windows, segments=[])
    beams = options.get("num_beams", 1)
    if beams == 1 and watch.margin < LEAST_MARGIN:
        raise SystemExit(f"{name}: two tokens are as good to {watch.margin}; choose other clips")
    for segment in out["segments"][0]:
        tokens = segment["tokens"].tolist()
        own = dict(start=float(segment["start"]), end=float(segment["end"]), tokens=tokens, text=tokenizer.decode(tokens, skip_special_tokens=True))
        if "token_timestamps" in segment:
            own["token_times"] = [round(float(t), 6) for t in segment["token_timestamps"]]
        record["segments"].append(own)
    if model.generation_config.is_multilingual and "language" not in options:
        record["language"] = tokenizer.convert_ids_to_tokens(int(model.detect_language(features[..., :extractor.nb_max_frames])[0])).strip("<|>")
    print(f"{name}: {len(record['windows'])} windows, margin {watch.margin:.3f}:", " /".join(s["text"] for s in record["segments"]))
    return record


def write(name: str, saved: Path):
    from optimum.exporters.onnx import main_export

    directory, tokenizer, extractor, model = taught(name, saved)
    out = HERE / name
    with tempfile.TemporaryDirectory() as temporary:
        exported = Path(temporary)
        if name == "multilingual":
            export.export_with_attention(directory, exported, "automatic-speech-recognition-with-past", "WhisperOnnxConfig", nb_max_frames=2 * POSITIONS)
            export.lay_out_transformers_js(exported, out)
        else:
            main_export(str(directory), str(exported), task="automatic-speech-recognition-with-past", device="cpu", do_validation=False,
                        nb_max_frames=2 * POSITIONS)
            (exported / "decoder_model_merged.onnx").unlink(missing_ok=True)
            export.lay_out_flat(exported, out)
    for file in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        shutil.copyfile(directory / file, out / file)
    for extra in ("vocab.json", "merges.txt", "normalizer.json", "added_tokens.json", "special_tokens_map.json"):
        (out / extra).unlink(missing_ok=True)
    export.settle(out)

    sounds = {}
    for clip_name in CLIPS if name == "multilingual" else ("en", "short"):
        data = clip(*CLIPS[clip_name], seed=3)
        (HERE / f"{clip_name}.wav").write_bytes(tones.wav(data))
        sounds[clip_name] = tones.of_mu_law(data)

    def run(case_name, clip_name, **options):
        return case(case_name, model, tokenizer, extractor, sounds[clip_name], clip_name, **options)

    if name == "multilingual":
        cases = [
            run("greedy", "en", task="transcribe", return_token_timestamps=True),
            run("with the text before in mind", "en", task="transcribe", condition_on_prev_tokens=True),
            run("after a prompt", "en", task="transcribe", language="en", prompt="red door."),
            run("after a prompt and with the text before in mind", "en", task="transcribe", language="en", prompt="red door.",
                condition_on_prev_tokens=True),
            run("silence is passed over", "en", task="transcribe", language="en", logprob_threshold=-0.05, no_speech_threshold=0.3),
            run("another language", "de", task="transcribe"),
            run("translated", "de", task="translate"),
            run("with a beam", "de", task="transcribe", language="de", num_beams=3),
            run("again and again", "stutter", task="transcribe", language="en"),
            run("shorter than a window", "short", task="transcribe", language="en", return_token_timestamps=True),
        ]
    else:
        cases = [
            run("greedy", "en"),
            run("with the text before in mind", "en", condition_on_prev_tokens=True),
            run("with a beam", "en", num_beams=4),
            run("shorter than a window", "short"),
        ]
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in cases)
    (out / "golden.json").write_text(f'{{"format": 1, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--saved", type=Path)
    given = arguments.parse_args()
    export.quiet()
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.names or ("multilingual", "english"):
            write(name, given.saved or Path(temporary))
