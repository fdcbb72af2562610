"""A tiny tokenizer in the shape of Whisper's: byte-level BPE, then the control tokens, then the timestamps."""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import WhisperTokenizerFast

import tones

MERGES = 26
LANGUAGES = ("en", "de", "fr")


def save(directory: Path, positions: int, multilingual: bool) -> WhisperTokenizerFast:
    """`positions` of the encoder, each 0.02 s."""
    words = tones.WORDS["en"] + (tones.WORDS["de"] if multilingual else ())
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted({c for text in words for c, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text) for c in c})
    trainer = trainers.BpeTrainer(vocab_size=len(alphabet) + MERGES, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([word for word in words for _ in range(3)], trainer)
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{language}|>" for language in LANGUAGES), "<|translate|>", "<|transcribe|>",
               "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    bpe.add_tokens([AddedToken(f"<|{i * 0.02:.2f}|>", special=False, normalized=False) for i in range(positions + 1)])
    tokenizer = WhisperTokenizerFast(tokenizer_object=bpe, unk_token="<|endoftext|>", bos_token="<|endoftext|>", eos_token="<|endoftext|>",
                                     pad_token="<|endoftext|>")
    tokenizer.save_pretrained(directory)
    return tokenizer
