//! The JSON files beside a text model's graphs, as `transformers` and Optimum write them.

use serde_json::{Value, json};

use crate::data::text::{BEGIN, END, PAD, UNKNOWN};
use crate::model::causal::CausalConfig;
use crate::model::seq2seq::Seq2SeqConfig;

/// `config.json`, `generation_config.json` and `tokenizer_config.json`.
pub struct Configs {
    /// What fixes the model.
    pub model: Value,
    /// How text is generated where a request says nothing else.
    pub generation: Value,
    /// What the tokenizer's special tokens are.
    pub tokenizer: Value,
}

/// Of a `MarianMTModel`.
pub fn marian(config: &Seq2SeqConfig) -> Configs {
    let Seq2SeqConfig { eos, pad, .. } = *config;
    let model = json!({
        "activation_dropout": 0.0,
        "activation_function": "swish",
        "architectures": ["MarianMTModel"],
        "attention_dropout": 0.0,
        "bad_words_ids": [[pad]],
        "d_model": config.d_model,
        "decoder_attention_heads": config.heads,
        "decoder_ffn_dim": config.ffn,
        "decoder_layerdrop": 0.0,
        "decoder_layers": config.decoder_layers,
        "decoder_start_token_id": pad,
        "decoder_vocab_size": config.vocab,
        "dropout": config.dropout,
        "encoder_attention_heads": config.heads,
        "encoder_ffn_dim": config.ffn,
        "encoder_layerdrop": 0.0,
        "encoder_layers": config.encoder_layers,
        "eos_token_id": eos,
        "forced_eos_token_id": eos,
        "init_std": 0.02,
        "is_encoder_decoder": true,
        "max_length": config.positions,
        "max_position_embeddings": config.positions,
        "model_type": "marian",
        "num_beams": 4,
        "num_hidden_layers": config.encoder_layers,
        "pad_token_id": pad,
        "scale_embedding": true,
        "share_encoder_decoder_embeddings": true,
        "static_position_embeddings": true,
        "torch_dtype": "float32",
        "use_cache": true,
        "vocab_size": config.vocab,
    });
    let generation = json!({
        "bad_words_ids": [[pad]],
        "decoder_start_token_id": pad,
        "eos_token_id": eos,
        "max_length": config.positions,
        "num_beams": 4,
        "pad_token_id": pad,
        "renormalize_logits": true,
    });
    let tokenizer = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "unk_token": UNKNOWN,
        "pad_token": PAD,
        "model_max_length": config.positions,
        "clean_up_tokenization_spaces": false,
    });
    Configs { model, generation, tokenizer }
}

/// Of a `LlamaForCausalLM`.
pub fn llama(config: &CausalConfig) -> Configs {
    let CausalConfig { bos, eos, pad, .. } = *config;
    let model = json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "head_dim": config.head(),
        "hidden_act": "silu",
        "hidden_size": config.d_model,
        "initializer_range": 0.02,
        "intermediate_size": config.ffn,
        "max_position_embeddings": config.positions,
        "mlp_bias": false,
        "model_type": "llama",
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.kv_heads,
        "pad_token_id": pad,
        "pretraining_tp": 1,
        "rms_norm_eps": exact(config.norm_epsilon),
        "rope_scaling": null,
        "rope_theta": exact(config.rope_theta),
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
        "use_cache": true,
        "vocab_size": config.vocab,
    });
    let generation = json!({
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "do_sample": true,
        "temperature": 0.8,
        "top_p": 0.95,
    });
    let tokenizer = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": config.positions,
        "clean_up_tokenization_spaces": false,
    });
    Configs { model, generation, tokenizer }
}

/// The shortest decimal number that is this float, and not the double that it is equal to.
fn exact(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, |value| json!(value))
}
