"""Tiny but real tokenizers, trained on the sentences in text/, which were written for this."""

import json
from pathlib import Path

import sentencepiece

TEXT = Path(__file__).parent / "text"


def sentences(language: str = "en") -> list[str]:
    return (TEXT / f"{language}.txt").read_text().splitlines()


# The full nmt_nfkc takes 240 kB: one model has it, the others a dozen rules of the same kind.
FEW_RULES = {"normalization_rule_tsv": str(TEXT / "normalization.tsv")}


def sentence_piece(languages: str, size: int, path: Path, **options):
    """A unigram model of `size` pieces, as T5, NLLB and Marian have them."""
    lines = [line for language in languages.split("+") for line in sentences(language)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(path.with_suffix("")), vocab_size=size, character_coverage=1.0,
        num_threads=1, minloglevel=2, hard_vocab_limit=True, **options)
    written = path.with_suffix(".model")
    if written != path:
        written.rename(path)
    path.with_suffix(".vocab").unlink()


def marian(directory: Path, size: int) -> int:
    """source.spm, target.spm and the vocab.json that joins them; returns the number of ids."""
    pieces = []
    for name, language in (("source.spm", "en"), ("target.spm", "de")):
        rules = {} if language == "en" else FEW_RULES
        sentence_piece(language, size, directory / name, **rules)
        model = sentencepiece.SentencePieceProcessor(model_file=str(directory / name))
        pieces += [model.id_to_piece(i) for i in range(model.get_piece_size()) if not model.is_control(i) and not model.is_unknown(i)]
    names = ["</s>", "<unk>"] + sorted(set(pieces)) + ["<pad>"]
    (directory / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}, ensure_ascii=False, indent=0))
    (directory / "tokenizer_config.json").write_text(json.dumps(
        {"source_lang": "en", "target_lang": "de", "model_max_length": 64, "tokenizer_class": "MarianTokenizer", "separate_vocabs": False}, indent=2))
    return len(names)


def t5(directory: Path, size: int, extra: int):
    """spiece.model, tokenizer.json and configuration as `T5TokenizerFast` saves them; `size` counts the `extra` sentinels too."""
    from transformers import T5TokenizerFast

    sentence_piece("en+de", size - extra, directory / "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, **FEW_RULES)
    T5TokenizerFast(str(directory / "spiece.model"), extra_ids=extra, model_max_length=64, legacy=False).save_pretrained(directory)


def word_piece(directory: Path, size: int):
    """BERT's: tokenizer.json, vocab.txt and configuration."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(sentences(), vocab_size=size, min_frequency=1, limit_alphabet=60, show_progress=False)
    tokenizer.save_model(str(directory))
    BertTokenizerFast(str(directory / "vocab.txt"), model_max_length=64).save_pretrained(directory)
    return len((directory / "vocab.txt").read_text().splitlines())
