"""Decoder-only families: a seed is taken only where greedy decoding varies and no step is nearly a tie."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers

from . import export, golden
from .onnx_decoder import Decoder

NEW = 32
LENGTHS = (1, 6, 21)
CANDIDATES = 96
EOS = 2
COMMON = dict(
    vocab_size=128, hidden_size=32, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=128, initializer_range=0.25, bos_token_id=1, eos_token_id=EOS, pad_token_id=0,
)


@dataclass
class Family:
    name: str
    architecture: str
    config: dict = field(default_factory=dict)
    optimum_layout: bool = False


FAMILIES = [
    Family("llama", "Llama", COMMON, optimum_layout=True),
    Family("gpt2", "GPT2LMHead", dict(vocab_size=128, n_positions=128, n_embd=32, n_layer=2, n_head=4, n_inner=72, initializer_range=0.25,
                                      bos_token_id=1, eos_token_id=EOS, pad_token_id=0)),
]


def build(family: Family, seed: int):
    torch.manual_seed(seed)
    causal = family.architecture if family.architecture.endswith("LMHead") else family.architecture + "ForCausal"
    model_class = getattr(transformers, causal.replace("LMHead", "LMHeadModel").replace("ForCausal", "ForCausalLM"))
    config = model_class.config_class(**family.config)
    return model_class(config).eval()


def candidates(length: int, vocabulary: int) -> np.ndarray:
    """Prompts [candidates, length] of ordinary ids; the same for each family."""
    random = np.random.default_rng(1000 + length)
    if length == 1:
        return np.arange(3, vocabulary)[:, None]
    return random.integers(3, vocabulary, (CANDIDATES, length))


@torch.no_grad()
def reference(model, prompts: np.ndarray, steps: int = NEW):
    """`generate` on prompts [batch, time] → ids [batch, steps], logits [batch, steps, vocabulary]; it does not stop at the end token."""
    ids = torch.from_numpy(prompts)
    answer = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=steps, eos_token_id=-1, pad_token_id=0,
                            return_dict_in_generate=True, output_logits=True)
    return answer.sequences[:, prompts.shape[1]:].numpy(), torch.stack(answer.logits, 1).float().numpy()


def choose(greedy, vocabulary: int, require: float = golden.MIN_MARGIN):
    """The prompt of each length whose answer varies and is furthest from a tie, and one that reaches the end token; None where a length has none."""
    taken, ended = [], None
    for length in LENGTHS:
        prompts = candidates(length, vocabulary)
        ids, logits = greedy(prompts)
        best = None
        for prompt, answer, scores in zip(prompts, ids, logits):
            ends = np.flatnonzero(answer == EOS)
            steps = ends[0] + 1 if len(ends) else NEW
            margin = golden.margin(scores[:steps])
            if margin < require:
                continue
            if len(ends):
                if 3 <= ends[0] and len(set(answer[:steps])) > 3:
                    ended = prompt
            elif len(set(answer)) >= golden.MIN_DISTINCT and (best is None or margin > best[0]):
                best = (margin, prompt)
        if best is None:
            return None
        taken.append(best[1])
    return taken + ([ended] if ended is not None else [])


def cases(greedy, prompts: list) -> list:
    """Records each prompt alone, up to and with the end token."""
    out = []
    for prompt in prompts:
        ids, logits = (a[0] for a in greedy(prompt[None]))
        ends = np.flatnonzero(ids == EOS)
        steps = int(ends[0]) + 1 if len(ends) else NEW
        out.append({"prompt": prompt.tolist(), "ids": ids[:steps].tolist(), "stop": "eos" if len(ends) else "length",
                    "steps": [golden.step(s) for s in logits[:steps]]})
    return out


def generate(family: Family, out: Path):
    vocabulary = family.config["vocab_size"]
    for seed in range(1, 200):
        model = build(family, seed)
        prompts = choose(lambda p: reference(model, p), vocabulary)
        if prompts and len(prompts) > len(LENGTHS):
            break
    else:
        raise SystemExit(f"{family.name}: no seed gives varied answers")
    runs = [dict(dtype="f32", reference="transformers", files={"decoder": "onnx/model.onnx"}, cases=cases(lambda p: reference(model, p), prompts))]
    directory = out / family.name
    with tempfile.TemporaryDirectory() as scratch:
        saved, exported = Path(scratch, "saved"), Path(scratch, "exported")
        model.save_pretrained(saved)
        export.export(saved, exported, "text-generation-with-past")
        export.lay_out_transformers_js(exported, directory)
        if family.optimum_layout:
            flat = out / f"{family.name}-optimum"
            export.lay_out_flat(exported, flat)
            golden.write(flat, family.name, "decoder", seed, [{**runs[0], "files": {"decoder": "model.onnx"}}], layout="optimum")
    golden.write(directory, family.name, "decoder", seed, runs, layout="transformers.js")
    verify(directory, runs)
    export.check_sizes(directory)


def verify(directory: Path, runs: list):
    """The exported graph gives the golden's ids and logits: otherwise it is the export that is wrong."""
    for run in runs:
        decoder = Decoder(directory / run["files"]["decoder"])
        for case in run["cases"]:
            logits = decoder.forced(np.array(case["prompt"]), np.array(case["ids"]))
            for index, (row, want) in enumerate(zip(logits, case["steps"])):
                error = np.abs(row[want["top_ids"]] - np.array(want["top_logits"])).max() / want["max_abs"]
                if error > 1e-4 or row.argmax() != want["top_ids"][0]:
                    raise SystemExit(f"{directory}: {run['dtype']}, prompt of {len(case['prompt'])}, step {index}: relative error {error:.2g}")
