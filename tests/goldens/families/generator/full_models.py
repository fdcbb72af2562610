"""Models at their true width and depth, with configurations written from the published ones and seeded weights."""

from dataclasses import dataclass, field

ALL = ("f16", "int8", "q4")
TWO = ("f16", "int8")


@dataclass
class Model:
    name: str
    # decoder | seq2seq | whisper | moonshine | encoder | zipformer
    kind: str
    architecture: str
    config: dict
    variants: tuple = ALL
    task: str = ""
    # Ids from which prompts and sources are drawn.
    words: tuple = (1000, 20000)
    options: dict = field(default_factory=dict)


def alike(width: int, depth: int, heads: int, inner: int) -> dict:
    """An encoder and a decoder of the same size, as BART's relatives name it."""
    both = dict(layers=depth, attention_heads=heads, ffn_dim=inner)
    return dict(d_model=width, **{f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in both.items()})


# `initializer_range` is larger than the published one: at that, layers add so little that a model repeats its input.
MODELS = [
    Model("minilm-l6", "encoder", "BertModel", dict(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        initializer_range=0.08), task="feature-extraction"),
    Model("distilbert-base", "encoder", "DistilBertForSequenceClassification", dict(vocab_size=30522, initializer_range=0.05), TWO,
          task="text-classification"),
    Model("bert-base", "encoder", "BertForMaskedLM", dict(vocab_size=30522, initializer_range=0.05), task="fill-mask"),
    Model("xlm-roberta-base", "encoder", "XLMRobertaForTokenClassification", dict(
        vocab_size=250002, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, num_labels=9, pad_token_id=1,
        initializer_range=0.05), TWO, task="token-classification"),
    Model("t5-small", "seq2seq", "T5ForConditionalGeneration", dict(
        vocab_size=32128, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8, relative_attention_num_buckets=32, pad_token_id=0,
        eos_token_id=1, decoder_start_token_id=0), TWO),
    Model("opus-mt-en-de", "seq2seq", "MarianMTModel", dict(
        **alike(512, 6, 8, 2048), vocab_size=58101, max_position_embeddings=512, activation_function="swish", scale_embedding=True,
        static_position_embeddings=True, pad_token_id=58100, eos_token_id=0, decoder_start_token_id=58100, num_beams=4, bad_words_ids=[[58100]],
        forced_eos_token_id=0, init_std=0.05), TWO),
    Model("bart-base", "seq2seq", "BartForConditionalGeneration", dict(
        **alike(768, 6, 12, 3072), vocab_size=50265, max_position_embeddings=1024, forced_eos_token_id=2, init_std=0.05), TWO),
    Model("m2m100-418m", "seq2seq", "M2M100ForConditionalGeneration", dict(
        **alike(1024, 12, 16, 4096), vocab_size=128112, max_position_embeddings=1024, scale_embedding=True, pad_token_id=1, bos_token_id=0,
        eos_token_id=2, decoder_start_token_id=2, num_beams=5, init_std=0.04), ("int8",)),
    Model("gpt2", "decoder", "GPT2LMHeadModel", dict(
        vocab_size=50257, n_positions=1024, n_embd=768, n_layer=12, n_head=12, bos_token_id=50256, eos_token_id=50256, initializer_range=0.05)),
    Model("smollm-135m", "decoder", "LlamaForCausalLM", dict(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
        initializer_range=0.06)),
    Model("gemma-3-270m", "decoder", "Gemma3ForCausalLM", dict(
        vocab_size=262144, hidden_size=640, intermediate_size=2048, num_hidden_layers=18, num_attention_heads=4, num_key_value_heads=1,
        head_dim=256, sliding_window=512, query_pre_attn_scalar=256, rope_theta=1e6, rope_local_base_freq=10000.0, max_position_embeddings=32768,
        bos_token_id=2, eos_token_id=1, pad_token_id=0, initializer_range=0.05,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 3), options=dict(post_norm=2.0)),
    Model("qwen2.5-0.5b", "decoder", "Qwen2ForCausalLM", dict(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2,
        max_position_embeddings=32768, rms_norm_eps=1e-6, rope_theta=1e6, tie_word_embeddings=True, bos_token_id=151643, eos_token_id=151645,
        initializer_range=0.05)),
    Model("phi-3-mini-4-layers", "decoder", "Phi3ForCausalLM", dict(
        vocab_size=32064, hidden_size=3072, intermediate_size=8192, num_hidden_layers=4, num_attention_heads=32, num_key_value_heads=32,
        max_position_embeddings=4096, original_max_position_embeddings=4096, sliding_window=2047, bos_token_id=1, eos_token_id=32000,
        pad_token_id=32000, initializer_range=0.025), ("int8", "q4")),
    Model("whisper-tiny", "whisper", "WhisperForConditionalGeneration", dict(**alike(384, 4, 6, 1536), init_std=0.06), TWO),
    Model("whisper-base", "whisper", "WhisperForConditionalGeneration", dict(**alike(512, 6, 8, 2048), init_std=0.05), TWO),
    Model("moonshine-tiny", "moonshine", "MoonshineForConditionalGeneration", dict(
        vocab_size=32768, hidden_size=288, intermediate_size=1152, encoder_num_hidden_layers=6, decoder_num_hidden_layers=6,
        encoder_num_attention_heads=8, decoder_num_attention_heads=8, partial_rotary_factor=0.9, max_position_embeddings=194,
        initializer_range=0.08), TWO),
    Model("zipformer-small", "zipformer", "", dict(
        downsampling_factor=(1, 2, 4, 8, 4, 2), num_encoder_layers=(2, 2, 2, 2, 2, 2), feedforward_dim=(512, 768, 768, 768, 768, 768),
        encoder_dim=(192, 256, 256, 256, 256, 256), encoder_unmasked_dim=(192, 192, 192, 192, 192, 192),
        num_heads=(4, 4, 4, 8, 4, 4), cnn_module_kernel=(31, 31, 15, 15, 15, 31)), ("int8",)),
]
# Dropout would make `generate` no different, but training-mode layers are a common mistake: all off.
NO_DROPOUT = {name: 0.0 for name in (
    "dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop", "dropout_rate", "attn_pdrop", "embd_pdrop",
    "resid_pdrop", "hidden_dropout_prob", "attention_probs_dropout_prob")}
