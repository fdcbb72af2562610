#!/usr/bin/env python3
"""Writes processors.json, searches.json and configs.json: what `transformers` itself makes of scores, of a toy model's
logits, and of configuration files.

Processors and warpers come from `GenerationMixin._get_logits_processor`, so that their order is the reference's, too.
Searches are `generate` on a model whose logits are a hash of the last two ids, the position and the token; the same rule
stands in src/task/model/fake.rs (`hashed_logit`). Packages: tests/goldens/families/requirements.txt.
Run: python3 tests/goldens/decode/generate.py
"""

import json
import math
import os
import random
import warnings

import torch
from transformers import CONFIG_MAPPING, GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils import logging

warnings.filterwarnings("ignore")
logging.set_verbosity_error()
HERE = os.path.dirname(os.path.abspath(__file__))
MASK = 0xFFFFFFFF


# --- a model whose logits are a hash --------------------------------------------------------------------------


def hashed_logit(seed, ids, token):
    last = ids[-1] if ids else 0
    before = ids[-2] if len(ids) > 1 else 0
    h = (seed * 0x9E3779B1 + last * 0x85EBCA77 + before * 0xC2B2AE3D + len(ids) * 0x27D4EB2F + token * 0x165667B1) & MASK
    h ^= h >> 15
    h = h * 0x2C1B3C6D & MASK
    h ^= h >> 12
    h = h * 0x297A2D39 & MASK
    h ^= h >> 15
    return (h & 0xFFFF) / 8192.0 - 4.0


class ToyConfig(PretrainedConfig):
    model_type = "toy"

    def __init__(self, vocab_size=32, seed=1, end_bias=0.0, ends=(), **kwargs):
        self.vocab_size, self.seed, self.end_bias, self.ends = vocab_size, seed, end_bias, list(ends)
        super().__init__(**kwargs)


class Toy(PreTrainedModel, GenerationMixin):
    config_class = ToyConfig

    def __init__(self, config):
        super().__init__(config)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def prepare_inputs_for_generation(self, input_ids, **kwargs):
        return {"input_ids": input_ids}

    def forward(self, input_ids, **kwargs):
        rows = []
        for row in input_ids.tolist():
            logits = [hashed_logit(self.config.seed, row, t) for t in range(self.config.vocab_size)]
            for end in self.config.ends:
                logits[end] += self.config.end_bias
            rows.append([logits])
        return CausalLMOutput(logits=torch.tensor(rows, dtype=torch.float32))


def toy(**config):
    model = Toy(ToyConfig(**config))
    model.eval()
    return model


# --- processors -----------------------------------------------------------------------------------------------


def number(x):
    """JSON has no infinity: null is minus infinity."""
    return None if x == -math.inf else x


def processed(rng, name, config, ids, prompt, heard=None, vocabulary=24, max_length=100, spread=4.0):
    # All different, so that no rule about equal ones is needed, and short to write.
    scores = [x * spread / 1024 for x in rng.sample(range(-1024, 1024), vocabulary)]
    model = toy(vocab_size=vocabulary)
    generation = GenerationConfig(**config)
    model._prepare_special_tokens(generation, device="cpu")
    generation.max_length = max_length
    chain = model._get_logits_processor(
        generation_config=generation,
        input_ids_seq_length=prompt,
        encoder_input_ids=torch.tensor([heard if heard is not None else ids[:prompt]]),
        device="cpu",
    )
    out = chain(torch.tensor([ids]), torch.tensor([scores], dtype=torch.float32))[0].tolist()
    return {
        "name": name,
        "config": config,
        "ids": ids,
        "prompt": prompt,
        "heard": heard,
        "max_new_tokens": max_length - prompt,
        "scores": scores,
        "expected": [number(x) for x in out],
    }


def processors():
    rng = random.Random(4)
    cases = []

    def add(name, config, ids, prompt=3, **kwargs):
        for repeat in range(3):
            cases.append(processed(rng, f"{name} {repeat}", config, ids, prompt, **kwargs))

    ids = [5, 9, 2, 7, 5, 9, 1, 5]
    add("repetition penalty", {"repetition_penalty": 1.3}, ids)
    add("repetition reward", {"repetition_penalty": 0.7}, ids)
    add("encoder repetition penalty", {"encoder_repetition_penalty": 1.5}, ids, heard=[3, 3, 4, 22])
    add("no repeat 1", {"no_repeat_ngram_size": 1}, ids)
    add("no repeat 2", {"no_repeat_ngram_size": 2}, ids)
    add("no repeat 3", {"no_repeat_ngram_size": 3}, [5, 9, 2, 7, 5, 9])
    add("no repeat longer than history", {"no_repeat_ngram_size": 9}, ids[:4])
    add("encoder no repeat", {"encoder_no_repeat_ngram_size": 2}, ids, heard=[8, 5, 3, 5, 4, 11])
    add("bad words", {"bad_words_ids": [[4], [5, 6], [1, 5, 8], [23], [7, 5, 9, 1, 5, 12, 1]], "eos_token_id": 23}, ids)
    add("bias", {"sequence_bias": [[[4], 2.5], [[5, 6], -3.0], [[1, 5, 6], 1.25], [[2, 9, 1, 5, 6], 7.0]]}, ids)
    add("bias as long as history", {"sequence_bias": [[[9, 5, 6], 1.0], [[3, 5, 6], 1.0]]}, [9, 5], prompt=1)
    add("min length", {"min_length": 9, "eos_token_id": [3, 4]}, ids)
    add("min length reached", {"min_length": 8, "eos_token_id": [3, 4]}, ids)
    add("min new tokens", {"min_new_tokens": 6, "eos_token_id": 3}, ids)
    add("min new tokens reached", {"min_new_tokens": 5, "eos_token_id": 3}, ids)
    add("forced bos", {"forced_bos_token_id": 11, "eos_token_id": 3}, [2], prompt=1)
    add("forced bos over", {"forced_bos_token_id": 11, "eos_token_id": 3}, [2, 11], prompt=1)
    add("forced eos", {"forced_eos_token_id": 3, "eos_token_id": 3}, ids, max_length=9)
    add("forced eos of two", {"forced_eos_token_id": [3, 4], "eos_token_id": 3}, ids, max_length=9)
    add("forced eos not yet", {"forced_eos_token_id": 3, "eos_token_id": 3}, ids, max_length=10)
    add("decay", {"exponential_decay_length_penalty": [2, 1.2], "eos_token_id": [3, 4]}, ids)
    add("decay not yet", {"exponential_decay_length_penalty": [5, 1.2], "eos_token_id": 3}, ids)
    add("suppress", {"suppress_tokens": [1, 2, 23]}, ids)
    add("begin suppress", {"begin_suppress_tokens": [1, 2]}, ids[:3])
    add("begin suppress over", {"begin_suppress_tokens": [1, 2]}, ids[:4])
    add("begin suppress behind forced", {"begin_suppress_tokens": [1], "forced_bos_token_id": 7}, [2, 7], prompt=1)
    add("normalize", {"renormalize_logits": True}, ids)
    add("remove invalid", {"remove_invalid_values": True, "suppress_tokens": [1]}, ids)
    everything = {
        "repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "bad_words_ids": [[4], [5, 6]], "min_length": 3,
        "eos_token_id": [3, 8], "suppress_tokens": [17], "sequence_bias": [[[12], 2.0], [[5, 13], -2.0]],
        "exponential_decay_length_penalty": [1, 1.1], "renormalize_logits": True,
    }
    add("everything", everything, ids)

    wide = {"vocabulary": 96}
    sample = {"do_sample": True, "top_k": 0}
    add("temperature", {**sample, "temperature": 0.7}, ids, **wide)
    add("top k", {**sample, "top_k": 5}, ids, **wide)
    add("top k of many", {**sample, "top_k": 80}, ids, **wide)
    add("top k beyond", {**sample, "top_k": 500}, ids, **wide)
    for p in [0.0, 0.1, 0.5, 0.9, 0.95, 0.999]:
        add(f"top p {p}", {**sample, "top_p": p}, ids, **wide)
    for p in [0.0, 0.05, 0.3, 1.0]:
        add(f"min p {p}", {**sample, "min_p": p}, ids, **wide)
    for p in [0.05, 0.2, 0.9, 0.99]:
        add(f"typical {p}", {**sample, "typical_p": p}, ids, **wide)
    add("epsilon", {**sample, "epsilon_cutoff": 0.02}, ids, **wide)
    add("eta", {**sample, "eta_cutoff": 0.05}, ids, **wide)
    add("default top k", {"do_sample": True}, ids, **wide)
    add("with all", {"do_sample": True, "temperature": 1.3, "top_k": 40, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.8,
                     "repetition_penalty": 1.1, "epsilon_cutoff": 0.001}, ids, **wide)
    add("beams keep two", {**sample, "top_p": 0.01, "num_beams": 3, "eos_token_id": [3, 4]}, ids, **wide)
    add("beams keep two, min p", {**sample, "min_p": 1.0, "num_beams": 3}, ids, **wide)
    add("beams keep top k", {**sample, "top_k": 1, "num_beams": 3, "eos_token_id": [3, 4]}, ids, **wide)
    add("beams keep typical", {**sample, "typical_p": 0.01, "num_beams": 3, "eos_token_id": 4}, ids, **wide)
    add("beams keep epsilon", {**sample, "epsilon_cutoff": 0.9, "num_beams": 2, "eos_token_id": 4}, ids, **wide)
    add("narrow scores", {**sample, "top_p": 0.7, "temperature": 0.3}, ids, vocabulary=32, spread=0.5)
    return cases


# --- searches -------------------------------------------------------------------------------------------------


def searched(name, model, prompt, most, **config):
    out = toy(**model).generate(
        torch.tensor([prompt]),
        max_new_tokens=most,
        use_cache=False,
        output_scores=True,
        return_dict_in_generate=True,
        pad_token_id=0,
        **config,
    )
    ends = config.get("eos_token_id", [])
    ends = ends if isinstance(ends, list) else [ends]
    rows = []
    for row in out.sequences.tolist():
        row = row[len(prompt):]
        # Behind the end there is padding.
        cut = next((i + 1 for i, t in enumerate(row) if t in ends), len(row))
        rows.append(row[:cut])
    scores = out.sequences_scores.tolist() if "sequences_scores" in out and out.sequences_scores is not None else None
    return {"name": name, "model": model, "prompt": prompt, "max_new_tokens": most, "config": config,
            "expected": rows, "scores": scores}


def searches():
    cases = []
    ends = [3, 5]
    for seed in range(1, 9):
        for bias in [0.0, 1.5, 3.0]:
            model = {"vocab_size": 32, "seed": seed, "end_bias": bias, "ends": ends}
            for beams in [2, 4, 5]:
                for early in [True, False, "never"]:
                    for penalty in [1.0, 0.0, -1.0, 2.0]:
                        if (seed + beams + len(cases)) % 4:
                            # A quarter of all combinations, evenly taken.
                            cases.append(None)
                            continue
                        cases.append(searched(
                            f"beams {beams} seed {seed} bias {bias} early {early} penalty {penalty}", model, [1, 7], 12,
                            num_beams=beams, num_return_sequences=min(beams, 1 + seed % 4), early_stopping=early,
                            length_penalty=penalty, eos_token_id=ends,
                        ))
    cases = [case for case in cases if case is not None]
    model = {"vocab_size": 32, "seed": 11, "end_bias": 2.0, "ends": [3]}
    more = {
        "no end": {"num_beams": 3},
        "one end": {"num_beams": 3, "eos_token_id": 3, "num_return_sequences": 3},
        "forced end": {"num_beams": 3, "eos_token_id": 3, "forced_eos_token_id": 3, "min_new_tokens": 9},
        "least": {"num_beams": 4, "eos_token_id": 3, "min_new_tokens": 5},
        "no repeat": {"num_beams": 4, "eos_token_id": 3, "no_repeat_ngram_size": 2},
        "repetition": {"num_beams": 4, "eos_token_id": 3, "repetition_penalty": 1.4},
        "bad words": {"num_beams": 4, "eos_token_id": 3, "bad_words_ids": [[9], [14, 2], [30]]},
        "normalized": {"num_beams": 4, "eos_token_id": 3, "suppress_tokens": [1, 2, 4, 8, 16], "renormalize_logits": True},
        "greedy": {"eos_token_id": 3},
        "greedy no end": {},
        "greedy forced end": {"eos_token_id": 3, "forced_eos_token_id": 3, "min_new_tokens": 9},
        "greedy no repeat": {"no_repeat_ngram_size": 1},
        "greedy everything": {"eos_token_id": 3, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "min_new_tokens": 4,
                              "bad_words_ids": [[9], [14, 2]], "suppress_tokens": [1, 2]},
    }
    for name, config in more.items():
        for seed in [11, 12, 13]:
            cases.append(searched(f"{name} seed {seed}", {**model, "seed": seed}, [4, 4, 6], 10, **config))
    for seed in [21, 22]:
        cases.append(searched(f"forced begin seed {seed}", {**model, "seed": seed}, [6], 8, num_beams=4, eos_token_id=3,
                              forced_bos_token_id=19, begin_suppress_tokens=[3], num_return_sequences=2))
    return cases


# --- configurations -------------------------------------------------------------------------------------------

KEYS = [
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "max_length", "max_new_tokens", "min_length",
    "num_beams", "early_stopping", "length_penalty", "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p",
    "repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "renormalize_logits",
]


def configured(file, values):
    if file == "generation_config.json":
        read = GenerationConfig.from_dict(dict(values))
    else:
        cls = CONFIG_MAPPING[values["model_type"]]
        read = GenerationConfig.from_model_config(cls.from_dict(dict(values)))
    return {"file": file, "values": values, "expected": {key: getattr(read, key) for key in KEYS}}


def configs():
    known = [
        "bart", "bloom", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj",
        "granite", "led", "llama", "longt5", "m2m_100", "marian", "mbart", "mistral", "mixtral", "moonshine", "mt5", "olmo2",
        "opt", "pegasus", "phi", "phi3", "qwen2", "qwen3", "smollm3", "starcoder2", "t5", "umt5", "whisper", "xglm",
    ]
    cases = [configured("config.json", {"model_type": name}) for name in known]
    cases += [configured("config.json", values) for values in [
        {"model_type": "gpt2", "bos_token_id": None, "eos_token_id": 7},
        {"model_type": "llama", "eos_token_id": [2, 9], "pad_token_id": -1},
        {"model_type": "t5", "decoder_start_token_id": 0, "num_beams": 4, "max_length": 300, "early_stopping": True},
        {"model_type": "bart", "forced_bos_token_id": 0, "no_repeat_ngram_size": 3, "length_penalty": 2.0, "min_length": 56},
        {"model_type": "marian", "pad_token_id": 40, "decoder_start_token_id": 40, "eos_token_id": 0, "num_beams": 6},
        {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "eos_token_id": 99}},
    ]]
    cases += [configured("generation_config.json", values) for values in [
        {},
        {"eos_token_id": [1, 106], "do_sample": True, "top_k": 64, "top_p": 0.95, "bos_token_id": 2, "pad_token_id": 0},
        {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": 2},
        {"num_beams": 4, "early_stopping": "never", "length_penalty": 0.8, "max_new_tokens": 60},
        {"top_k": None, "do_sample": True, "min_p": 0.1, "typical_p": 0.5},
        {"suppress_tokens": [1, 2], "begin_suppress_tokens": [220, 50256], "decoder_start_token_id": 50257,
         "forced_bos_token_id": 4, "forced_eos_token_id": 0, "max_length": 448},
        {"repetition_penalty": 1.05, "no_repeat_ngram_size": 3, "encoder_no_repeat_ngram_size": 4,
         "renormalize_logits": True, "eos_token_id": None},
    ]]
    return cases


def write(name, cases):
    with open(os.path.join(HERE, name), "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")
    print(f"{name}: {len(cases)} cases")


if __name__ == "__main__":
    write("processors.json", processors())
    write("configs.json", configs())
    write("searches.json", searches())
