"""What a decoder listens to: `transformers`' cross-attention, and which words of a translation come from which by it."""

import numpy as np
import torch

from . import golden

# Linnet tells a word's best link and those with this share of its attention; no share of a golden is so near that rounding decides.
LEAST_SHARE = 0.25
CLEAR = 0.02
LENGTHS = (4, 5, 6, 7)
CANDIDATES = 400
# Before the first piece of a word.
BEGIN = "\u2581"


@torch.no_grad()
def cross_attentions(model, source: list[int], start: list[int], ids: list[int]) -> np.ndarray:
    """[layers, heads, positions of `start` and `ids`, positions of `source`]."""
    out = model(input_ids=torch.tensor([source]), attention_mask=torch.ones(1, len(source), dtype=torch.long),
                decoder_input_ids=torch.tensor([[*start, *ids]]), output_attentions=True, use_cache=False)
    return torch.cat(out.cross_attentions).float().numpy()


def words(pieces: list[str]) -> list[int]:
    """The word of each piece, counted from 0."""
    return [sum(piece.startswith(BEGIN) for piece in pieces[1 : i + 1]) for i in range(len(pieces))]


def alignment(attention: np.ndarray, source: list[str], target: list[str]) -> list[list] | None:
    """`[word of the target, word of the source, share]` of each link, or None where rounding would decide. A word listens by the steps that read its
    pieces; what stands behind `source` (the end) is no word."""
    mean = attention.mean(axis=(0, 1))[1 : 1 + len(target), : len(source)]
    from_words, to_words = words(source), words(target)
    links = []
    for word in range(to_words[-1] + 1):
        rows = mean[[i for i, own in enumerate(to_words) if own == word]].sum(axis=0)
        sums = np.array([rows[[i for i, own in enumerate(from_words) if own == heard]].sum() for heard in range(from_words[-1] + 1)])
        shares = sums / sums.sum()
        best, second = np.sort(shares)[::-1][:2]
        if best - second < CLEAR or np.abs(shares - LEAST_SHARE).min() < CLEAR:
            return None
        links += [[word, heard, golden.number(share)] for heard, share in enumerate(shares) if share == best or share >= LEAST_SHARE]
    return links


def sayable(tokenizer, vocabulary: int) -> list[int]:
    """Ids of letters that a text can hold: those that are a word, and those that end one behind nearly any of them."""
    spell = lambda text: tokenizer(text, add_special_tokens=False).input_ids
    named = {i: tokenizer.convert_ids_to_tokens(i) for i in range(vocabulary)}
    begin = [i for i, piece in named.items() if piece.startswith(BEGIN) and piece[1:].isalpha() and spell(piece[1:]) == [i]]
    ends = lambda i: sum(spell(named[word][1:] + named[i]) == [word, i] for word in begin)
    return begin + [i for i, piece in named.items() if piece.isalpha() and len(piece) > 1 and ends(i) >= 0.8 * len(begin)]


def texts(model, task, tokenizer, case) -> list[dict]:
    """Texts of words that were taught, each with what `case` tells of it, its answer, cross-attention and alignment."""
    pieces = lambda ids: [tokenizer.convert_ids_to_tokens(int(i)) for i in ids if i != task.eos]
    records = []
    for length in LENGTHS:
        for _ in range(CANDIDATES):
            chosen = task.random.choice(task.words, length, replace=False)
            text = "".join(pieces(chosen)).replace(BEGIN, " ").strip()
            if tokenizer(text).input_ids != task.source(chosen):
                continue
            record = case(task.source(chosen))
            source, target = pieces(record["input_ids"]), pieces(record["ids"])
            answer = tokenizer.decode(record["ids"], skip_special_tokens=True)
            spelled = "".join(target).replace(BEGIN, " ").split()
            # Several words on both sides, one of them of several pieces.
            whole = target and all(0 < words(side)[-1] < len(side) - 1 for side in (source, target))
            if not whole or answer.split() != spelled or record["ids"][:-1] != [task.map[w] for w in chosen[::-1]]:
                continue
            attention = cross_attentions(model, record["input_ids"], record["start"], record["ids"])
            links = alignment(attention, source, target)
            if links and len({heard for _, heard, _ in links}) > 1:
                records.append({"text": text, **record, "answer": answer, "cross_attentions": attention, "alignment": links})
                break
        else:
            raise SystemExit(f"no text of {length} pieces has a clear alignment")
    return records
