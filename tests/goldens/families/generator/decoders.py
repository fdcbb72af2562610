"""Decoder-only families: a seed is taken only where greedy decoding varies and no step is nearly a tie."""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import transformers

from . import compare, export, golden, quantize, vocabularies, weights
from .onnx_decoder import Decoder

NEW = 32
LENGTHS = (1, 6, 21)
CANDIDATES = 48
EOS = 2
COMMON = dict(
    vocab_size=128, hidden_size=32, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=128, initializer_range=0.25, bos_token_id=1, eos_token_id=EOS, pad_token_id=0,
)
GPT2 = dict(vocab_size=288, n_positions=128, n_embd=32, n_layer=2, n_head=4, n_inner=72, initializer_range=0.25, bos_token_id=1, eos_token_id=EOS, pad_token_id=0)


@dataclass
class Family:
    name: str
    architecture: str
    config: dict
    # dtype → options of quantize.variant, beside f32.
    variants: dict = field(default_factory=lambda: {"f16": {}, "int8": {}})
    tokenizer: Callable[[Path], None] | None = None
    chat: bool = False
    # f32 as transformers.js slims it, and beside it a directory as Optimum writes it.
    both_layouts: bool = False
    # A third directory, `<name>-external`, with the weights in a file of their own.
    external: bool = False
    # See weights.disturb.
    post_norm: float = 0.0


def qwen_tokenizer(directory: Path):
    vocabularies.byte_level(directory, 288, ["<unk>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"], eos_token="<|im_end|>", pad_token="<|endoftext|>",
                            chat_template=vocabularies.CHATML)


def gpt2_tokenizer(directory: Path):
    vocabularies.byte_level(directory, 288, ["<unk>", "<|bos|>", "<|endoftext|>"], bos_token="<|bos|>", eos_token="<|endoftext|>")


def llama_tokenizer(directory: Path):
    vocabularies.llama(directory, 320)


FAMILIES = [
    Family("llama", "LlamaForCausalLM", {**COMMON, "vocab_size": 320}, {"f16": {}, "int8": {}, "uint8": {}, "q4": {}, "q4f16": {}},
           llama_tokenizer, chat=True, both_layouts=True, external=True),
    Family("mistral", "MistralForCausalLM", {**COMMON, "sliding_window": 8}),
    Family("qwen2", "Qwen2ForCausalLM", {**COMMON, "vocab_size": 288, "tie_word_embeddings": True},
           {"f16": {}, "int8": {}, "q4": dict(block=16, symmetric=False), "q4f16": dict(block=16, symmetric=False)}, qwen_tokenizer, chat=True),
    Family("qwen3", "Qwen3ForCausalLM", {**COMMON, "head_dim": 16}),
    Family("gemma", "GemmaForCausalLM", {**COMMON, "head_dim": 16, "num_key_value_heads": 1}, post_norm=1.0),
    Family("gemma2", "Gemma2ForCausalLM", {**COMMON, "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16}, post_norm=2.0),
    # No q4f16 at this level: activations are rounded to 8 bits, and ONNX Runtime's answer changes by 0.8 of the largest logit with its level
    # of optimisation.
    Family("gemma3_text", "Gemma3ForCausalLM", {**COMMON, "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16,
                                                "layer_types": ["sliding_attention", "full_attention"]},
           {"f16": {}, "int8": {}, "q4": dict(accuracy_level=4)}, post_norm=2.0),
    Family("phi3", "Phi3ForCausalLM", {**COMMON, "original_max_position_embeddings": 128}),
    Family("gpt2", "GPT2LMHeadModel", GPT2, tokenizer=gpt2_tokenizer),
]


def build(family: Family, seed: int):
    torch.manual_seed(seed)
    model_class = getattr(transformers, family.architecture)
    return weights.disturb(model_class(model_class.config_class(**family.config)), family.post_norm).eval()


def candidates(length: int, vocabulary: int) -> list[np.ndarray]:
    """Prompts of ordinary ids; the same for each family of a size."""
    if length == 1:
        return [np.array([i]) for i in range(4, min(vocabulary, CANDIDATES + 4))]
    return list(np.random.default_rng(1000 + length).integers(4, vocabulary, (CANDIDATES, length)))


@torch.no_grad()
def reference(model, prompt: np.ndarray, steps: int = NEW):
    """`generate` on one prompt → ids [steps], logits [steps, vocabulary]; it does not stop at the end token."""
    ids = torch.from_numpy(prompt)[None]
    answer = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=steps, eos_token_id=-1, pad_token_id=0,
                            return_dict_in_generate=True, output_logits=True)
    return answer.sequences[0, len(prompt):].numpy(), torch.cat(answer.logits).float().numpy()


def case(prompt: np.ndarray, ids: np.ndarray, logits: np.ndarray) -> dict:
    """Up to and with the end token."""
    ends = np.flatnonzero(ids == EOS)
    steps = int(ends[0]) + 1 if len(ends) else NEW
    return {"prompt": prompt.tolist(), "ids": ids[:steps].tolist(), "stop": "eos" if len(ends) else "length",
            "margin": golden.number(golden.margin(logits[:steps])), "steps": [golden.step(s) for s in logits[:steps]]}


def best(greedy, prompts: list[np.ndarray], stop: str = "length", enough: float = 0.01) -> dict | None:
    """The first prompt whose answer varies and keeps `enough` distance from ties, or else the one that keeps most."""
    found = None
    for prompt in prompts:
        record = case(prompt, *greedy(prompt))
        varied = len(set(record["ids"])) >= (golden.MIN_DISTINCT if stop == "length" else 4)
        if record["stop"] == stop and varied and record["margin"] >= golden.MIN_MARGIN and (found is None or record["margin"] > found["margin"]):
            found = record
            if record["margin"] >= enough:
                break
    return found


def cases(greedy, vocabulary: int, tokenizer=None, chat: bool = False) -> list[dict] | None:
    """One for each length, one that reaches the end token where there is one, and what the tokenizer adds. None where a length has none."""
    out = [best(greedy, candidates(length, vocabulary)) for length in LENGTHS]
    if any(record is None for record in out):
        return None
    ended = best(greedy, candidates(5, vocabulary), stop="eos")
    out += [ended] if ended else []
    if tokenizer is not None:
        out += texts(greedy, tokenizer, chat)
    return out


def texts(greedy, tokenizer, chat: bool) -> list[dict]:
    """Text that the tokenizer turns into the prompt, one with characters that only bytes can write, and a chat through the template."""
    sentences = vocabularies.sentences("en")
    found = []
    for given in (sentences, [s[:20] + " \U0001f426 naïve" for s in sentences]):
        prompts = {tuple(tokenizer(text).input_ids): text for text in given}
        record = best(greedy, [np.array(p) for p in prompts])
        found.append({"text": prompts[tuple(record["prompt"])], **record})
    if chat:
        talks = [[{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": s}, {"role": "assistant", "content": "Yes."},
                  {"role": "user", "content": "Why?"}] for s in sentences]
        prompts = {tuple(tokenizer.apply_chat_template(t, add_generation_prompt=True)): t for t in talks}
        record = best(greedy, [np.array(p) for p in prompts])
        talk = prompts[tuple(record["prompt"])]
        found.append({"messages": talk, "rendered": tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False), **record})
    for record in found:
        record["answer"] = tokenizer.decode(record["ids"], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return found


def generate(family: Family, out: Path):
    with tempfile.TemporaryDirectory() as scratch:
        saved, exported = Path(scratch, "saved"), Path(scratch, "exported")
        saved.mkdir()
        tokenizer = None
        if family.tokenizer:
            family.tokenizer(saved)
            tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
        for seed in range(1, 60):
            model = build(family, seed)
            answers = cases(lambda p: reference(model, p), family.config["vocab_size"], tokenizer, family.chat)
            if answers and (seed > 3 or any(a["stop"] == "eos" for a in answers)):
                break
        else:
            raise SystemExit(f"{family.name}: no seed gives varied answers")
        model.save_pretrained(saved)
        export.export(saved, exported, "text-generation-with-past")
        export.keep_tokenizer(saved, exported)
        lay_out(family, exported, out, seed, answers)


def lay_out(family: Family, exported: Path, out: Path, seed: int, answers: list[dict]):
    """The directories of a family, each with its golden."""
    reference_run = dict(dtype="f32", reference="transformers", files={"decoder": "onnx/model.onnx"}, cases=answers)
    runs, directory = [reference_run], out / family.name
    export.lay_out_transformers_js(exported, directory)
    if family.both_layouts:
        flat = out / f"{family.name}-optimum"
        export.lay_out_flat(exported, flat)
        finish(flat, family, seed, [{**reference_run, "files": {"decoder": "model.onnx"}}], layout="optimum")
        quantize.variant(directory / "onnx" / "model.onnx", "f32")
    if family.external:
        beside = out / f"{family.name}-external"
        export.lay_out_transformers_js(exported, beside)
        quantize.external(exported / "model.onnx", beside / "onnx" / "model.onnx")
        finish(beside, family, seed, [reference_run], layout="transformers.js")
    for dtype, options in family.variants.items():
        target = quantize.variant(exported / "model.onnx", dtype, **options)
        target = target.rename(directory / "onnx" / target.name)
        decoder = Decoder(target)
        found = cases(lambda p: tuple(a[0] for a in decoder.greedy(p[None], NEW)), family.config["vocab_size"])
        if found is None:
            raise SystemExit(f"{family.name}: {dtype} gives no varied answers: choose another seed")
        runs.append(dict(dtype=dtype, reference="onnxruntime", files={"decoder": f"onnx/{target.name}"}, cases=found, **options))
    finish(directory, family, seed, runs, layout="transformers.js")


def finish(directory: Path, family: Family, seed: int, runs: list, layout: str):
    golden.write(directory, family.name, "decoder", seed, runs, layout=layout, model_type=json.loads((directory / "config.json").read_text())["model_type"])
    export.settle(directory)
    compare.insist(directory)
