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


def marian(directory: Path, size: int, few_rules: bool = False) -> int:
    """source.spm (with the full nmt_nfkc, unless `few_rules`), target.spm and the vocab.json that joins them; returns the number of ids."""
    pieces = []
    for name, language in (("source.spm", "en"), ("target.spm", "de")):
        rules = {} if language == "en" and not few_rules else FEW_RULES
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


def word_piece(directory: Path, size: int, name: str = "BertTokenizerFast") -> int:
    """BERT's: tokenizer.json, vocab.txt and configuration. `name` is the class of `transformers`."""
    import transformers
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(sentences(), vocab_size=size, min_frequency=1, limit_alphabet=60, show_progress=False)
    tokenizer.save_model(str(directory))
    getattr(transformers, name)(str(directory / "vocab.txt"), model_max_length=64).save_pretrained(directory)
    return len((directory / "vocab.txt").read_text().splitlines())


# ChatML, as Qwen and SmolLM write it.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Llama 2's, with its refusal of roles out of order.
INST = (
    "{% if messages[0]['role'] == 'system' %}{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% set messages = messages[1:] %}"
    "{% else %}{% set system = '' %}{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def byte_level(directory: Path, size: int, special: list[str], **names):
    """GPT-2's and Qwen's: BPE over bytes, so that any text has ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(sentences("en") + sentences("de"), trainer)
    assert tokenizer.get_vocab_size() == size
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, clean_up_tokenization_spaces=False, **names).save_pretrained(directory)


def llama(directory: Path, size: int):
    """Llama 2's: SentencePiece BPE that falls back to bytes, converted to tokenizer.json."""
    from transformers import LlamaTokenizerFast

    sentence_piece("en", size, directory / "tokenizer.model", model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
                   add_dummy_prefix=True, remove_extra_whitespaces=False)
    LlamaTokenizerFast(str(directory / "tokenizer.model"), legacy=False, add_bos_token=True, chat_template=INST).save_pretrained(directory)


def bart(directory: Path, size: int) -> int:
    """RoBERTa's and BART's: BPE over bytes with <s>, <pad>, </s>, <unk>, <mask> first. Of the bytes only those that the sentences hold."""
    from tokenizers import ByteLevelBPETokenizer, processors, trainers
    from transformers import BartTokenizerFast

    tokenizer = ByteLevelBPETokenizer(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False)
    tokenizer._tokenizer.train_from_iterator(sentences(), trainer)
    tokenizer._tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    BartTokenizerFast(tokenizer_object=tokenizer._tokenizer, model_max_length=64, clean_up_tokenization_spaces=False).save_pretrained(directory)
    return tokenizer.get_vocab_size()


def m2m_100(directory: Path, size: int) -> int:
    """vocab.json, sentencepiece.bpe.model and configuration; a hundred language tokens follow the pieces."""
    from transformers import M2M100Tokenizer

    sentence_piece("en+de", size, directory / "sentencepiece.bpe.model", model_type="bpe", **FEW_RULES)
    model = sentencepiece.SentencePieceProcessor(model_file=str(directory / "sentencepiece.bpe.model"))
    pieces = [model.id_to_piece(i) for i in range(3, model.get_piece_size())]
    names = {name: i for i, name in enumerate(["<s>", "<pad>", "</s>", "<unk>"] + pieces)}
    (directory / "vocab.json").write_text(json.dumps(names, ensure_ascii=False, indent=0))
    tokenizer = M2M100Tokenizer(str(directory / "vocab.json"), str(directory / "sentencepiece.bpe.model"), src_lang="en", tgt_lang="de", num_madeup_words=0)
    tokenizer.save_pretrained(directory)
    return len(names) + len(tokenizer.lang_token_to_id)


def nllb(directory: Path, size: int) -> int:
    """sentencepiece.bpe.model, tokenizer.json and configuration; two hundred language tokens follow the pieces."""
    from transformers import NllbTokenizerFast

    sentence_piece("en+de", size, directory / "sentencepiece.bpe.model", model_type="bpe", **FEW_RULES)
    tokenizer = NllbTokenizerFast(str(directory / "sentencepiece.bpe.model"), src_lang="eng_Latn", tgt_lang="deu_Latn")
    tokenizer.save_pretrained(directory)
    return len(tokenizer)


def mbart_50(directory: Path, size: int) -> int:
    """sentencepiece.bpe.model, tokenizer.json and configuration; fifty language tokens follow the pieces."""
    from transformers import MBart50TokenizerFast

    sentence_piece("en+de", size, directory / "sentencepiece.bpe.model", **FEW_RULES)
    tokenizer = MBart50TokenizerFast(str(directory / "sentencepiece.bpe.model"), src_lang="en_XX", tgt_lang="de_DE")
    tokenizer.save_pretrained(directory)
    return len(tokenizer)


def roberta(directory: Path, size: int) -> int:
    """RoBERTa's own names for what BART has."""
    from transformers import PreTrainedTokenizerFast, RobertaTokenizerFast

    bart(directory, size)
    given = PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))
    RobertaTokenizerFast(tokenizer_object=given.backend_tokenizer, model_max_length=64, clean_up_tokenization_spaces=False).save_pretrained(directory)
    return size


def xlm_roberta(directory: Path, size: int) -> int:
    """sentencepiece.bpe.model, tokenizer.json: ids are the pieces' plus one, with <s>, <pad>, </s>, <unk> first and <mask> last."""
    from transformers import XLMRobertaTokenizerFast

    sentence_piece("en+de", size, directory / "sentencepiece.bpe.model", **FEW_RULES)
    tokenizer = XLMRobertaTokenizerFast(str(directory / "sentencepiece.bpe.model"), model_max_length=64)
    tokenizer.save_pretrained(directory)
    return len(tokenizer)


def mpnet(directory: Path, size: int) -> int:
    """BERT's pieces between <s> and </s>."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import MPNetTokenizerFast

    special = ["<s>", "<pad>", "</s>", "[UNK]"]
    trained = BertWordPieceTokenizer(lowercase=True, unk_token="[UNK]")
    trained.train_from_iterator(sentences(), vocab_size=size - 1, min_frequency=1, limit_alphabet=60, show_progress=False, special_tokens=special)
    pieces = sorted(trained.get_vocab(), key=trained.get_vocab().get) + ["<mask>"]
    (directory / "vocab.txt").write_text("\n".join(pieces) + "\n")
    MPNetTokenizerFast(str(directory / "vocab.txt"), model_max_length=64).save_pretrained(directory)
    return len(pieces)


def modernbert(directory: Path, size: int) -> int:
    """BPE over bytes between [CLS] and [SEP]."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    tokenizer.train_from_iterator(sentences(), trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 2)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, cls_token="[CLS]", pad_token="[PAD]", sep_token="[SEP]", unk_token="[UNK]", mask_token="[MASK]",
                            model_max_length=64, clean_up_tokenization_spaces=False, model_input_names=["input_ids", "attention_mask"]).save_pretrained(directory)
    return tokenizer.get_vocab_size()
