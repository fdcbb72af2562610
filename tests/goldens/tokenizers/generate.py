#!/usr/bin/env python3
"""Writes the tokenizer goldens: tiny tokenizers of every family, and what `transformers` makes of our sentences.

Run: python3 tests/goldens/tokenizers/generate.py   (transformers 4.57.6, tokenizers 0.22.2, sentencepiece 0.2.x)

Each `<name>.json` holds the files of a package (texts inline; SentencePiece models stand in `models/` and are named), the
sentences with their ids, and what decoding gives. A package is read by the class that is named, from the directory as a
user has it, so reading `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` is part of it.
"""

import json
import os
import random
import shutil
import subprocess
import tempfile
from collections import Counter

import sentencepiece as spm
import tokenizers
import transformers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertTokenizer,
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    M2M100Tokenizer,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartTokenizer,
    NllbTokenizer,
    PreTrainedTokenizerFast,
    Qwen2TokenizerFast,
    RobertaTokenizer,
    T5Tokenizer,
    WhisperTokenizer,
    XLMRobertaTokenizer,
)

from corpus import ALL, CONTROL, PLAIN, TRAINING

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "models")
DECODED_WITH = ("skip", "keep", "skip_clean", "keep_clean")


def train(name, lines=TRAINING, **options):
    """A SentencePiece model in `models/`, without the trainer's own notes (they name paths)."""
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "m")
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(lines * 4),
            model_prefix=prefix,
            hard_vocab_limit=False,
            num_threads=1,
            minloglevel=2,
            **options,
        )
        model = sentencepiece_model_pb2.ModelProto()
        with open(prefix + ".model", "rb") as f:
            model.ParseFromString(f.read())
        for note in ("input", "model_prefix"):
            model.trainer_spec.ClearField(note)
        model.normalizer_spec.ClearField("normalization_rule_tsv")
        os.makedirs(MODELS, exist_ok=True)
        with open(os.path.join(MODELS, name), "wb") as f:
            f.write(model.SerializeToString(deterministic=True))
    return spm.SentencePieceProcessor(model_file=os.path.join(MODELS, name))


def rules(folder):
    """A small normalisation table of our own: longest match, deletion, one to many."""
    path = os.path.join(folder, "rules.tsv")
    table = [
        ("\u00a0", " "),
        ("\u3000", " "),
        ("\u200b", ""),
        ("\ufb01", "fi"),
        ("\u00bd", "1/2"),
        ("e\u0301", "\u00e9"),
        ("\u0300", ""),
        ("\t", " "),
        ("\n", " "),
        ("\ufeff", ""),
        ("...", "\u2026"),
    ]
    with open(path, "w") as f:
        for source, target in table:
            hexes = lambda s: " ".join(f"{ord(c):X}" for c in s)
            f.write(f"{hexes(source)}\t{hexes(target)}\n")
    return path


def sentencepiece_models():
    # As XLM-R, NLLB, mBART and T5 have it: unigram, the whole of nmt_nfkc.
    train("unigram_nmt_nfkc.model", model_type="unigram", vocab_size=500, character_coverage=0.995)
    with tempfile.TemporaryDirectory() as folder:
        table = rules(folder)
        train("source.spm", model_type="unigram", vocab_size=420, character_coverage=0.98, normalization_rule_tsv=table)
        train(
            "target.spm", lines=TRAINING[5:18], model_type="unigram", vocab_size=200, character_coverage=0.98,
            normalization_rule_tsv=table,
        )
        train("bpe_m2m.model", model_type="bpe", vocab_size=480, character_coverage=0.98, normalization_rule_tsv=table)
        train(
            "char.model", model_type="char", vocab_size=400, character_coverage=0.98, normalization_rule_tsv=table,
            user_defined_symbols=["bird", "<custom>"], control_symbols=["<2en>"],
        )  # fmt: skip
        train(
            "t5.model", model_type="unigram", vocab_size=420, character_coverage=0.98, normalization_rule_tsv=table,
            pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        )  # fmt: skip
    train(
        "llama.model", model_type="bpe", vocab_size=700, character_coverage=0.98, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
    )  # fmt: skip
    train(
        "gemma.model", model_type="bpe", vocab_size=650, character_coverage=0.98, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False, split_digits=True,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>",
        control_symbols=["<2mass>"], user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "\n\n", "\t\t", "▁▁", "▁▁▁"],
    )  # fmt: skip



def raw_sentencepiece():
    """What SentencePiece itself makes of the sentences: ids, and the bytes of the text that each piece stands for."""
    golden = {}
    for name in ("char.model", "llama.model", "unigram_nmt_nfkc.model"):
        sp = spm.SentencePieceProcessor(model_file=os.path.join(MODELS, name))
        rows = []
        for text in ALL:
            # Offsets as bytes: the Python binding counts characters otherwise.
            pieces = sp.encode(text.encode(), return_type="proto").pieces
            rows.append([n for p in pieces for n in (p.id, p.begin, p.end)])
        golden[name] = rows
    with open(os.path.join(HERE, "sentencepiece.json"), "w") as f:
        f.write("{\n" + ",\n".join(f"{json_text(k)}: {json_text(v)}" for k, v in golden.items()) + "\n}\n")


def json_text(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encode(tokenizer, text, special, split, **extra):
    try:
        return tokenizer(text, add_special_tokens=special, split_special_tokens=split, **extra)["input_ids"]
    except IndexError:  # T5 without legacy, empty text
        return None


def decode_all(tokenizer, ids):
    row = {}
    for name in DECODED_WITH:
        try:
            row[name] = tokenizer.decode(
                ids, skip_special_tokens=name.startswith("skip"), clean_up_tokenization_spaces=name.endswith("clean")
            )
        except IndexError:
            row[name] = None
    # What equals another need not be written again.
    for name, other in (("keep_clean", "keep"), ("skip_clean", "skip"), ("keep", "skip")):
        if row[name] == row[other]:
            del row[name]
    return row


def record(name, cls, files, texts=ALL, prepare=None, decode_with=None, languages=None, is_fast=False, pairs=False):
    """`files`: name in the package -> text, or ("model", name in models/)."""
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            if isinstance(content, tuple):
                shutil.copy(os.path.join(MODELS, content[1]), os.path.join(folder, file))
            else:
                with open(os.path.join(folder, file), "w") as f:
                    f.write(content)
        tokenizer = cls.from_pretrained(folder)
        if prepare:  # save what `prepare` made of it, and read that
            tokenizer = prepare(tokenizer)
            saved = os.path.join(folder, "saved")
            tokenizer.save_pretrained(saved)
            files = dict(files)
            for file in sorted(os.listdir(saved)):
                if not file.endswith((".model", ".spm")):
                    # Compact: these files are machine-written.
                    text = open(os.path.join(saved, file)).read()
                    files[file] = json_text(json.loads(text)) if file.endswith(".json") else text
            tokenizer = cls.from_pretrained(saved)

        decoding = decode_with.from_pretrained(folder) if decode_with else tokenizer
        cases = []
        for text in texts:
            case = {
                "text": ALL.index(text),
                "ids": encode(tokenizer, text, True, False),
                "bare": encode(tokenizer, text, False, False),
                "user": encode(tokenizer, text, False, True),
            }
            if case["user"] == case["bare"]:
                del case["user"]
            if case["ids"] is not None:
                case |= decode_all(decoding, case["ids"])
            if is_fast and len(cases) < len(PLAIN):
                case["offsets"] = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
            cases.append(case)

        rng = random.Random(name)
        size = len(tokenizer)
        decodings = []
        for length in (1, 2, 3, 5, 8, 13, 20, 30, 30, 40, 40, 50):
            for _ in range(1):
                ids = [rng.randrange(size) for _ in range(length)]
                decodings.append({"ids": ids} | decode_all(decoding, ids))
        golden = {
            "class": cls.__name__,
            "files": {k: {"model": v[1]} if isinstance(v, tuple) else v for k, v in files.items()},
            "size": size,
            "special": {
                key: getattr(tokenizer, key + "_token_id") for key in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
            },
            "clean_up": bool(tokenizer.clean_up_tokenization_spaces),
            "cases": cases,
            "decodings": decodings,
            "tokens": {str(i): tokenizer.convert_ids_to_tokens(i) for i in sorted(rng.sample(range(size), min(size, 40)))},
        }
        if languages:
            rows = []
            for source, target in languages:
                tokenizer.src_lang, tokenizer.tgt_lang = source, target
                for text in (PLAIN[0], PLAIN[5], "", "hello"):
                    ids = tokenizer(text)["input_ids"]
                    goal = tokenizer(text_target=text)["input_ids"]
                    rows.append({"source": source, "target": target, "text": text, "ids": ids, "goal": goal})
            golden["languages"] = rows
        if pairs:
            rows = []
            for a, b in ((PLAIN[0], PLAIN[1]), ("", "b"), (PLAIN[8], "x")):
                enc = tokenizer(a, b, return_token_type_ids=True)
                rows.append({"a": a, "b": b, "ids": enc["input_ids"]})
                if "token_type_ids" in tokenizer.model_input_names:  # else no model looks at them
                    rows[-1]["type_ids"] = enc["token_type_ids"]
            golden["pairs"] = rows
        with open(os.path.join(HERE, name + ".json"), "w") as f:
            f.write("{\n")
            rows = []
            for key, value in golden.items():
                if isinstance(value, list):
                    body = ",\n".join(json_text(v) for v in value)
                    rows.append(f"{json_text(key)}: [\n{body}\n]")
                else:
                    rows.append(f"{json_text(key)}: {json_text(value)}")
            f.write(",\n".join(rows) + "\n}\n")
    print(f"{name}: {len(cases)} sentences, {size} tokens, {os.path.getsize(os.path.join(HERE, name + '.json'))} bytes")


def pieces_of(model):
    sp = spm.SentencePieceProcessor(model_file=os.path.join(MODELS, model))
    return [sp.id_to_piece(i) for i in range(sp.get_piece_size())]


def sentencepiece_families():
    def config(cls, **more):
        return json_text({"tokenizer_class": cls} | more)

    # T5 as the first checkpoints have it (no word of `legacy`), and as a saved one with the later behaviour.
    record("t5", T5Tokenizer, {"spiece.model": ("model", "t5.model"), "config.json": json_text({"model_type": "t5"})})
    record(
        "t5_new", T5Tokenizer,
        {"spiece.model": ("model", "unigram_nmt_nfkc.model"),
         "tokenizer_config.json": config("T5Tokenizer", legacy=False, extra_ids=10)},
        prepare=lambda t: (t.add_tokens(["<custom>"]), t)[1], pairs=True,
    )  # fmt: skip

    joint = ["</s>", "<unk>"] + sorted(set(pieces_of("source.spm")[3:]) | set(pieces_of("target.spm")[3:]))
    vocab = {piece: i for i, piece in enumerate(joint + ["<pad>"])}
    marian = {"source.spm": ("model", "source.spm"), "target.spm": ("model", "target.spm")}
    record(
        "marian", MarianTokenizer,
        marian | {"vocab.json": json_text(vocab), "config.json": json_text({"model_type": "marian"}),
                  "tokenizer_config.json": json_text({"source_lang": "eng", "target_lang": "deu"})},
        pairs=True,
    )  # fmt: skip
    many = {piece: i for i, piece in enumerate(joint + [">>fra<<", ">>deu<<", ">>zho_Hans<<", "<pad>"])}
    record(
        "marian_many", MarianTokenizer,
        marian | {"vocab.json": json_text(many), "tokenizer_config.json": config("MarianTokenizer")},
    )  # fmt: skip
    sources = {p: i for i, p in enumerate(["</s>", "<unk>"] + pieces_of("source.spm")[3:] + ["<pad>"])}
    targets = {p: i for i, p in enumerate(["</s>", "<unk>"] + pieces_of("target.spm")[3:] + ["<pad>"])}
    record(
        "marian_separate", MarianTokenizer,
        marian | {"vocab.json": json_text(sources), "target_vocab.json": json_text(targets),
                  "tokenizer_config.json": config("MarianTokenizer", separate_vocabs=True)},
        texts=PLAIN,
    )  # fmt: skip

    m2m_vocab = {p: i for i, p in enumerate(["<s>", "<pad>", "</s>", "<unk>"] + pieces_of("bpe_m2m.model")[3:])}
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    codes = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
    record(
        "m2m100", M2M100Tokenizer,
        {"sentencepiece.bpe.model": ("model", "bpe_m2m.model"), "vocab.json": json_text(m2m_vocab),
         "config.json": json_text({"model_type": "m2m_100"}),
         "special_tokens_map.json": json_text({
             "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
             "additional_special_tokens": codes})},
        languages=[("en", "fr"), ("zh", "ar"), ("zu", "af")],
    )  # fmt: skip
    xlm = {"sentencepiece.bpe.model": ("model", "unigram_nmt_nfkc.model")}
    # As the published checkpoints number them: languages, then the mask. Without a word of it, 4.57.6 puts the mask first.
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as nllb_codes

    first = len(pieces_of("unigram_nmt_nfkc.model")) + 1
    numbered = {str(i): added(t) for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>"])}
    numbered |= {str(first + i): added(code) for i, code in enumerate(nllb_codes)}
    numbered[str(first + len(nllb_codes))] = added("<mask>", lstrip=True)
    record(
        "nllb", NllbTokenizer,
        xlm | {"tokenizer_config.json": config("NllbTokenizer", added_tokens_decoder=numbered)},
        languages=[("eng_Latn", "fra_Latn"), ("zho_Hans", "arb_Arab")],
    )  # fmt: skip
    few = ["eng_Latn", "fra_Latn", "deu_Latn"]
    record(
        "nllb_saved", NllbTokenizer,
        xlm | {"tokenizer_config.json": config(
            "NllbTokenizer", additional_special_tokens=few, legacy_behaviour=True, src_lang="deu_Latn")},
        prepare=lambda t: t, languages=[("eng_Latn", "deu_Latn")], texts=PLAIN,
    )  # fmt: skip
    record(
        "mbart50", MBart50Tokenizer, xlm | {"tokenizer_config.json": config("MBart50Tokenizer")},
        languages=[("en_XX", "fr_XX"), ("zh_CN", "ar_AR")],
    )  # fmt: skip
    record(
        "mbart", MBartTokenizer, xlm | {"config.json": json_text({"model_type": "mbart"})},
        languages=[("en_XX", "ro_RO")],
    )  # fmt: skip
    record("xlm_roberta", XLMRobertaTokenizer, xlm | {"config.json": json_text({"model_type": "xlm-roberta"})}, pairs=True)

    llama = {"tokenizer.model": ("model", "llama.model")}
    record("llama", LlamaTokenizer, llama | {"config.json": json_text({"model_type": "llama"})})
    record(
        "llama_new", LlamaTokenizer,
        llama | {"tokenizer_config.json": config(
            "LlamaTokenizer", legacy=False, add_bos_token=False, add_eos_token=True, pad_token="</s>",
            additional_special_tokens=["<|im_start|>", "<|im_end|>"], added_tokens_decoder={
                "0": added("<unk>"), "1": added("<s>"), "2": added("</s>"),
                "700": added("<|im_start|>"), "701": added("<|im_end|>", rstrip=True),
                "702": added("<custom>", special=False, lstrip=True),
            })},
        pairs=True,
    )  # fmt: skip
    record("gemma", GemmaTokenizer, {"tokenizer.model": ("model", "gemma.model"), "config.json": json_text({"model_type": "gemma2"})})


def added(content, special=True, lstrip=False, rstrip=False, normalized=False, single_word=False):
    return {
        "content": content, "lstrip": lstrip, "normalized": normalized, "rstrip": rstrip, "single_word": single_word,
        "special": special,
    }  # fmt: skip


def compact(tokenizer):
    return json_text(json.loads(tokenizer.to_str()))


def byte_level(size, special=(), regex=None):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]
    return model["vocab"], merges


def word_pieces(lower):
    """A WordPiece vocabulary: the common words and endings, and each letter. The crate's own trainer breaks ties by chance."""
    normalizer, cut = normalizers.BertNormalizer(lowercase=lower), pre_tokenizers.BertPreTokenizer()
    words = Counter(w for line in TRAINING for w, _ in cut.pre_tokenize_str(normalizer.normalize_str(line)))
    letters = sorted({c for w in words for c in w if c not in "!%&()*"})
    ends = Counter(w[i:] for w in words for i in range(1, len(w)) if len(w) - i <= 3)
    common = sorted((w for w, n in words.items() if len(w) > 1 and n > 1), key=lambda w: (-words[w], w))[:120]
    endings = sorted((e for e, n in ends.items() if len(e) > 1 and n > 1), key=lambda e: (-ends[e], e))[:80]
    return (
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + letters + ["##" + c for c in letters] + common
        + ["##" + e for e in endings]
    )  # fmt: skip


def other_families():
    vocab, merges = byte_level(420)
    merges_text = "#version: 0.2\n" + "\n".join(merges) + "\n"
    gpt2 = dict(vocab) | {"<|endoftext|>": len(vocab)}
    record(
        "gpt2", GPT2Tokenizer,
        {"vocab.json": json_text(gpt2), "merges.txt": merges_text, "config.json": json_text({"model_type": "gpt2"})},
    )  # fmt: skip

    head = ["<s>", "<pad>", "</s>", "<unk>"]
    roberta = {t: i for i, t in enumerate(head + list(vocab) + ["<mask>"])}
    record(
        "roberta", RobertaTokenizer,
        {"vocab.json": json_text(roberta), "merges.txt": merges_text, "config.json": json_text({"model_type": "roberta"})},
        pairs=True,
    )  # fmt: skip

    whisper_added = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|fr|>", "<|translate|>", "<|transcribe|>",
                     "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip
    times = [f"<|{i * 0.02:.2f}|>" for i in range(4)]
    record(
        "whisper", WhisperTokenizer,
        {"vocab.json": json_text(vocab), "merges.txt": merges_text,
         "added_tokens.json": json_text({t: len(vocab) + i for i, t in enumerate(whisper_added + times)}),
         "special_tokens_map.json": json_text({
             "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
             "pad_token": "<|endoftext|>", "additional_special_tokens": whisper_added}),
         "tokenizer_config.json": json_text({"tokenizer_class": "WhisperTokenizer"})},
        decode_with=transformers.WhisperTokenizerFast,  # the Python one never cleans up
    )  # fmt: skip

    for name, lower in (("bert_uncased", True), ("bert_cased", False)):
        words = word_pieces(lower)
        record(
            name, BertTokenizer,
            {"vocab.txt": "\n".join(words) + "\n", "config.json": json_text({"model_type": "bert"}),
             "tokenizer_config.json": json_text({"tokenizer_class": "BertTokenizer", "do_lower_case": lower})},
            pairs=True,
        )  # fmt: skip
    return vocab, merges


def fast_families(vocab, merges):
    """`tokenizer.json`, in the shapes that people have."""
    pairs = [tuple(m.split(" ")) for m in merges]

    # Qwen2: NFC, a split by regular expression, tokens that are added but not special.
    qwen = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    qwen.normalizer = normalizers.NFC()
    split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    qwen.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(split), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    qwen.decoder = decoders.ByteLevel()
    qwen.post_processor = processors.ByteLevel(trim_offsets=False)
    qwen.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    qwen.add_tokens([tokenizers.AddedToken(t, normalized=False) for t in ("<think>", "</think>", "<tool_call>", "</tool_call>")])
    record(
        "fast_qwen2", Qwen2TokenizerFast,
        {"tokenizer.json": compact(qwen),
         "tokenizer_config.json": json_text({
             "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None,
             "unk_token": None, "clean_up_tokenization_spaces": False,
             "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})},
        is_fast=True,
    )  # fmt: skip

    # Llama 3: whole words first, a beginning by template, clean-up of spaces in the configuration.
    llama3 = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=pairs, ignore_merges=True))
    llama3.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(split.replace(r"|\p{N}|", r"|\p{N}{1,3}|")), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    llama3.decoder = decoders.ByteLevel()
    llama3.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    begin = llama3.token_to_id("<|begin_of_text|>")
    llama3.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single="<|begin_of_text|>:0 $A:0", pair="<|begin_of_text|>:0 $A:0 <|begin_of_text|>:1 $B:1",
            special_tokens=[("<|begin_of_text|>", begin)]),
    ])  # fmt: skip
    record(
        "fast_llama3", PreTrainedTokenizerFast,
        {"tokenizer.json": compact(llama3),
         "tokenizer_config.json": json_text({
             "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>",
             "clean_up_tokenization_spaces": True, "model_input_names": ["input_ids", "attention_mask"]})},
        is_fast=True, pairs=True,
    )  # fmt: skip

    # Llama 2 and Mistral: BPE over words with a mark, byte fall-back, a decoder of four steps.
    def saved_fast(model, cls, **more):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(os.path.join(MODELS, model), os.path.join(folder, "tokenizer.model"))
            with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
                json.dump({"tokenizer_class": cls.__name__} | more, f)
            tokenizer = cls.from_pretrained(folder)
            tokenizer.save_pretrained(folder)
            read = lambda name: json_text(json.load(open(os.path.join(folder, name))))
            return {"tokenizer.json": read("tokenizer.json"), "tokenizer_config.json": read("tokenizer_config.json")}

    record("fast_llama2", transformers.LlamaTokenizerFast,
           saved_fast("llama.model", transformers.LlamaTokenizerFast, add_eos_token=True), is_fast=True, pairs=True)  # fmt: skip
    record("fast_llama2_new", transformers.LlamaTokenizerFast,
           saved_fast("llama.model", transformers.LlamaTokenizerFast, legacy=False), texts=ALL[10:35], is_fast=True)  # fmt: skip
    record("fast_gemma", transformers.GemmaTokenizerFast, saved_fast("gemma.model", transformers.GemmaTokenizerFast), is_fast=True)

    # Unigram with a mark for spaces, as converted XLM-R has it, without its normaliser (which alone has 300 kB).
    sp = spm.SentencePieceProcessor(model_file=os.path.join(MODELS, "source.spm"))
    scores = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    scores += [(sp.id_to_piece(i), sp.get_score(i)) for i in range(3, sp.get_piece_size())]
    unigram = tokenizers.Tokenizer(models.Unigram(scores + [("<mask>", 0.0)], unk_id=3))
    unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    unigram.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", tokenizers.AddedToken("<mask>", lstrip=True, special=True)])
    unigram.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    record(
        "fast_xlm_roberta", transformers.XLMRobertaTokenizerFast,
        {"tokenizer.json": compact(unigram), "tokenizer_config.json": json_text({"tokenizer_class": "XLMRobertaTokenizer"})},
        is_fast=True, pairs=True,
    )  # fmt: skip

    # BERT whose configuration corrects what tokenizer.json says of case.
    words = json.load(open(os.path.join(HERE, "bert_uncased.json")))["files"]["vocab.txt"].split("\n")[:-1]
    bert = tokenizers.Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    bert.normalizer = normalizers.BertNormalizer(lowercase=False)
    bert.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bert.decoder = decoders.WordPiece()
    bert.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    bert.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", words.index("[CLS]")), ("[SEP]", words.index("[SEP]"))],
    )  # fmt: skip
    record(
        "fast_bert", transformers.BertTokenizerFast,
        {"tokenizer.json": compact(bert),
         "tokenizer_config.json": json_text({"tokenizer_class": "BertTokenizer", "do_lower_case": True})},
        is_fast=True, pairs=True,
    )  # fmt: skip


def real_whisper():
    """The real one of the shared data, which is no part of the repository: its answers alone are recorded."""
    shared = os.environ.get("LINNET_SHARED_DATA", os.path.join(HERE, "../../../../shared/data"))
    archive = os.path.join(shared, "tokenizers/whisper.tar.gz")
    if not os.path.exists(archive):
        print(f"no {archive}: whisper_base.json stays as it is")
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-xzf", archive, "-C", folder, "tokenizers/whisper/hf-whisper-base"], check=True)
        tokenizer = transformers.WhisperTokenizerFast.from_pretrained(os.path.join(folder, "tokenizers/whisper/hf-whisper-base"))
        # As its own configuration has it: cleaned up.
        decoded = lambda ids: {k: tokenizer.decode(ids, skip_special_tokens=k == "skip") for k in ("skip", "keep")}
        rows = []
        for text in PLAIN + CONTROL[10:11]:
            ids = tokenizer(text)["input_ids"]
            rows.append({"text": text, "ids": ids} | decoded(ids))
        ids = [50258, 50259, 50359, 50364, 2425, 11, 1002, 13, 50464, 50464, 286, 764, 257, 1333, 50564, 50257]
        rows.append({"text": None, "ids": ids} | decoded(ids))
    golden = {"size": len(tokenizer), "eos": tokenizer.eos_token_id, "rows": rows}
    with open(os.path.join(HERE, "whisper_base.json"), "w") as f:
        f.write(json_text(golden) + "\n")


def main():
    with open(os.path.join(HERE, "sentences.json"), "w") as f:
        json.dump(ALL, f, indent=0)
        f.write("\n")
    sentencepiece_models()
    raw_sentencepiece()
    sentencepiece_families()
    vocab, merges = other_families()
    fast_families(vocab, merges)
    real_whisper()
    total = sum(os.path.getsize(os.path.join(d, f)) for d in (HERE, MODELS) for f in os.listdir(d) if os.path.isfile(os.path.join(d, f)))
    print(f"{total} bytes in all")


if __name__ == "__main__":
    main()
