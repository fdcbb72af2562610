"""Golden logits of the text models, by transformers (4.57): generate.py, in this directory.

Makes `MarianMTModel` and `LlamaForCausalLM` of tiny width with seeded weights, and writes for each
- transformers.safetensors: its weights by the names that `transformers` gives them,
- model.json, model.safetensors: the same in the trainer's layout,
- golden.json: token ids of a padded batch, and the logits of what is no padding.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, MarianConfig, MarianMTModel

HERE = pathlib.Path(__file__).parent


def seeded(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "embed_positions" in name:
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            norm = "norm" in name and name.endswith("weight")
            tensor.copy_(1 + 0.2 * noise if norm else 0.3 * noise)
    return model.eval()


def turned(state, names):
    """Matrices `[out, in]` side by side as one `[in, out]`."""
    return torch.cat([state[f"{name}.weight"].T for name in names], 1).contiguous()


def marian():
    config = MarianConfig(
        vocab_size=23, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=32, activation_function="swish",
        scale_embedding=True, static_position_embeddings=True, share_encoder_decoder_embeddings=True,
        pad_token_id=2, eos_token_id=0, decoder_start_token_id=2, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
    )
    model = seeded(MarianMTModel(config), 1)
    state = model.state_dict()
    own = {"shared.weight": state["model.shared.weight"], "logits.bias": state["final_logits_bias"][0]}

    def linear(to, names):
        own[f"{to}.weight"] = turned(state, names)
        own[f"{to}.bias"] = torch.cat([state[f"{name}.bias"] for name in names])

    def norm(to, name):
        own[f"{to}.weight"], own[f"{to}.bias"] = state[f"{name}.weight"], state[f"{name}.bias"]

    for side, attentions in [("encoder", [("self", "self_attn")]), ("decoder", [("self", "self_attn"), ("cross", "encoder_attn")])]:
        for i in range(2):
            to, name = f"{side}.{i}", f"model.{side}.layers.{i}"
            for short, long in attentions:
                linear(f"{to}.{short}.q", [f"{name}.{long}.q_proj"])
                linear(f"{to}.{short}.kv", [f"{name}.{long}.k_proj", f"{name}.{long}.v_proj"])
                linear(f"{to}.{short}.out", [f"{name}.{long}.out_proj"])
                norm(f"{to}.{short}.norm", f"{name}.{long}_layer_norm")
            linear(f"{to}.ff.in", [f"{name}.fc1"])
            linear(f"{to}.ff.out", [f"{name}.fc2"])
            norm(f"{to}.ff.norm", f"{name}.final_layer_norm")
    sources = [[5, 9, 3, 17, 22, 8, 0], [4, 4, 11, 0], [20, 0]]
    inputs = [[2, 7, 7, 13], [2, 6, 5, 19, 12, 3], [2]]
    logits = []
    with torch.no_grad():
        for source, fed in zip(sources, inputs):
            out = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([fed]))
            logits.append(out.logits[0].flatten().tolist())
    shape = {
        "method": "seq2seq", "vocab": 23, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "heads": 4, "ffn": 24,
        "positions": 32, "dropout": 0.0, "eos": 0, "pad": 2,
    }
    theirs = {
        name: tensor for name, tensor in state.items()
        if name not in ("lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
    }
    write("marian", shape, own, theirs, {"sources": sources, "inputs": inputs, "logits": logits})


def llama():
    config = LlamaConfig(
        vocab_size=23, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24,
        max_position_embeddings=32, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )
    model = seeded(LlamaForCausalLM(config), 2)
    state = model.state_dict()
    own = {"tokens.weight": state["model.embed_tokens.weight"], "norm.weight": state["model.norm.weight"]}
    for i in range(2):
        to, name = f"layers.{i}", f"model.layers.{i}"
        parts = {
            "q": ["self_attn.q_proj"], "kv": ["self_attn.k_proj", "self_attn.v_proj"], "out": ["self_attn.o_proj"],
            "gate_up": ["mlp.gate_proj", "mlp.up_proj"], "down": ["mlp.down_proj"],
        }
        for part, names in parts.items():
            own[f"{to}.{part}.weight"] = turned(state, [f"{name}.{n}" for n in names])
        own[f"{to}.attn_norm.weight"] = state[f"{name}.input_layernorm.weight"]
        own[f"{to}.ff_norm.weight"] = state[f"{name}.post_attention_layernorm.weight"]
    inputs = [[1, 9, 3, 17, 22, 8, 4], [1, 4, 11], [1]]
    with torch.no_grad():
        logits = [model(input_ids=torch.tensor([fed])).logits[0].flatten().tolist() for fed in inputs]
    shape = {
        "method": "causal-lm", "vocab": 23, "d_model": 16, "layers": 2, "heads": 4, "kv_heads": 2, "ffn": 24, "positions": 32,
        "rope_theta": 10000.0, "norm_epsilon": 1e-5, "dropout": 0.0, "bos": 1, "eos": 2, "pad": 0,
    }
    theirs = {name: tensor for name, tensor in state.items() if name != "lm_head.weight"}
    write("llama", shape, own, theirs, {"inputs": inputs, "logits": logits})


def write(name, shape, own, theirs, golden):
    directory = HERE / name
    directory.mkdir(exist_ok=True)
    (directory / "model.json").write_text(json.dumps(shape, indent=2) + "\n")
    (directory / "golden.json").write_text(json.dumps(golden) + "\n")
    whole = lambda tensors: {key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}
    save_file(whole(own), directory / "model.safetensors")
    save_file(whole(theirs), directory / "transformers.safetensors")


marian()
llama()
