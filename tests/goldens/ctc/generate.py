#!/usr/bin/env python3
"""Writes cases.json: an independent CTC prefix beam search in its simplest form.

Plain Python, no packages: a dictionary from prefixes (tuples of unit ids) to probabilities, and a bonus that is
computed anew from the whole prefix each time. It shares no code and no data structure with the Rust decoder, and
it writes the language model's file itself from docs/formats.md. Run: python3 tests/goldens/ctc/generate.py
"""

import base64
import json
import math
import os
import random
import struct

BLANK = 0
NEG_INF = float("-inf")


def log_add(a, b):
    if a == NEG_INF:
        return b
    if b == NEG_INF:
        return a
    high = max(a, b)
    return high + math.log(math.exp(a - high) + math.exp(b - high))


# --- the language model ---------------------------------------------------------------------------------------

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"


class Lm:
    """Costs are whole multiples of 1/1024 nat, so that the file holds them exactly."""

    def __init__(self, rng, vocabulary, order):
        self.vocabulary, self.order = sorted(vocabulary), order
        names = [UNKNOWN, BEGIN, END] + self.vocabulary
        self.id = {name: i for i, name in enumerate(names)}
        self.cost, self.back_off = {}, {}
        for name in names:
            self.cost[(name,)] = rng.randrange(1024, 6 * 1024) + (6 * 1024 if name == UNKNOWN else 0)
        for n in range(2, order + 1):
            shorter = [g for g in self.cost if len(g) == n - 1 and g[-1] != END]
            for gram in shorter:
                for name in rng.sample(names, min(5, len(names))):
                    if name != BEGIN:
                        self.cost[gram + (name,)] = rng.randrange(100, 4 * 1024)
        for gram in self.cost:
            if len(gram) < order:
                self.back_off[gram] = rng.randrange(0, 2 * 1024)

    def log_prob(self, history, word):
        """By the definition of back-off, on names."""
        name = word if word in self.id else UNKNOWN
        history = [h if h in self.id else UNKNOWN for h in history]
        context = tuple(([BEGIN] + history)[-(self.order - 1):]) if self.order > 1 else ()
        return -self.cost_after(context, name) / 1024

    def cost_after(self, context, name):
        if context + (name,) in self.cost:
            return self.cost[context + (name,)]
        return self.back_off.get(context, 0) + self.cost_after(context[1:], name)

    def file(self):
        ids = lambda gram: [self.id[w] for w in gram]
        levels = [sorted((g for g in self.cost if len(g) == n), key=ids) for n in range(1, self.order + 1)]
        words = b"".join(bytes([len(w.encode())]) + w.encode() for w in self.vocabulary)
        counts = [len(level) for level in levels] + [0] * (5 - self.order)
        out = b"LNLM" + struct.pack("<HBB", 1, self.order, 0)
        out += struct.pack("<II5I", len(self.vocabulary), len(words), *counts) + words
        for n, level in enumerate(levels, start=1):
            if n > 1:
                out += b"".join(struct.pack("<H", self.id[g[-1]]) for g in level)
            out += b"".join(struct.pack("<H", self.cost[g]) for g in level)
            if n < self.order:
                out += b"".join(struct.pack("<H", self.back_off[g]) for g in level)
                first = [0]
                for g in level:
                    first.append(first[-1] + sum(1 for longer in levels[n] if longer[:n] == g))
                out += b"".join(struct.pack("<I", f) for f in first)
        return out


# --- text of a prefix -------------------------------------------------------------------------------------------


def spell(units, prefix):
    """Whole words, and the word at hand ('' when none is begun)."""
    words, word = [], ""
    for unit in prefix:
        name = units[unit]
        if name.startswith("▁") and word:
            words.append(word)
            word = ""
        word += name.lstrip("▁")
    return words, word


def word_bonus(case, lm, words, index):
    bonus = case["word_bonus"]
    if lm:
        word = words[index]
        if word not in lm.id and word in hot_singles(case):
            bonus += case["lm_weight"] * -math.log(len(lm.vocabulary) + 1)
        else:
            bonus += case["lm_weight"] * lm.log_prob(words[:index], word)
    return bonus


def hot_singles(case):
    return {w for phrase in case["hot"] for w in phrase.split(" ")}


def hot_matches(case, words):
    count = 0
    for phrase in set(case["hot"]):
        parts = phrase.split(" ")
        count += sum(words[i:i + len(parts)] == parts for i in range(len(words)))
    return count


def bonus(case, lm, units, prefix, final):
    words, word = spell(units, prefix)
    if final and word:
        words, word = words + [word], ""
    total = sum(word_bonus(case, lm, words, i) for i in range(len(words)))
    total += case["boost"] * hot_matches(case, words)
    if final:
        if lm and words:
            total += case["lm_weight"] * lm.log_prob(words, END)
        return total
    # Credit for the longest share of a phrase that the text ends with, from some word's beginning on. A word that has
    # just ended is followed by a blank only once the next one is begun.
    if word:
        text = words + [word]
        tails = [" ".join(text[i:]) for i in range(len(text))]
        shares = [len(t) / len(p) for t in tails for p in case["hot"] if p.startswith(t)]
    else:
        # Nothing of the next word is spelled: what was spelled of a longer phrase, its blank included.
        tails = [" ".join(words[i:]) + " " for i in range(len(words))]
        shares = [len(t) / len(p) for t in tails for p in case["hot"] if p.startswith(t)]
    if shares:
        total += case["boost"] * max(shares)
    possible = lm and (any(v.startswith(word) for v in lm.vocabulary) or any(h.startswith(word) for h in hot_singles(case)))
    if lm and word and not possible:
        total += case["lm_weight"] * lm.log_prob(words, UNKNOWN)
    return total


# --- searches -----------------------------------------------------------------------------------------------------


def beam_search(case, lm, units, frames):
    beam = {(): (0.0, NEG_INF)}
    for frame in frames:
        likely = [u for u in range(len(units)) if u != BLANK and frame[u] >= case["least_unit_logprob"]]
        likely = sorted(likely, key=lambda u: (-frame[u], u))[: case["top_units"]]
        new = {}

        def add(prefix, blank, unit):
            old = new.get(prefix, (NEG_INF, NEG_INF))
            new[prefix] = (log_add(old[0], blank), log_add(old[1], unit))

        for prefix, (p_blank, p_unit) in beam.items():
            total = log_add(p_blank, p_unit)
            add(prefix, total + frame[BLANK], NEG_INF)
            if prefix:
                add(prefix, NEG_INF, p_unit + frame[prefix[-1]])
            for unit in likely:
                before = p_blank if prefix and unit == prefix[-1] else total
                if before > NEG_INF:
                    add(prefix + (unit,), NEG_INF, before + frame[unit])
        score = {p: log_add(*new[p]) + bonus(case, lm, units, p, False) for p in new}
        best = sorted(new, key=lambda p: -score[p])[: case["beam_width"]]
        beam = {p: new[p] for p in best}
    return max((log_add(*beam[p]) + bonus(case, lm, units, p, True), p) for p in beam)


def greedy(frames):
    best = [max(range(len(f)), key=lambda u: (f[u], -u)) for f in frames]
    return [u for i, u in enumerate(best) if u != BLANK and (i == 0 or best[i - 1] != u)]


def align(frames, prefix):
    """Best path of the prefix, by trying every step in a memo of (frame, state)."""
    labels = [BLANK]
    for unit in prefix:
        labels += [unit, BLANK]
    best = {s: (frames[0][labels[s]], [s]) for s in (0, 1) if s < len(labels)}
    for frame in frames[1:]:
        new = {}
        for s in range(len(labels)):
            sources = [s, s - 1]
            if s >= 2 and labels[s] != BLANK and labels[s] != labels[s - 2]:
                sources.append(s - 2)
            reached = [best[f] for f in sources if f in best]
            if reached:
                score, path = max(reached, key=lambda r: r[0])
                new[s] = (score + frame[labels[s]], path + [s])
        best = new
    _, path = max((best[s] for s in (len(labels) - 1, len(labels) - 2) if s in best), key=lambda r: r[0])
    spans = []
    for index in range(len(prefix)):
        frames_of = [t for t, s in enumerate(path) if s == 2 * index + 1]
        top = max(frames[t][prefix[index]] for t in frames_of)
        spans.append([prefix[index], frames_of[0], frames_of[-1] + 1, top])
    return spans


# --- cases ----------------------------------------------------------------------------------------------------------

CHARACTERS = ["<blank>", "▁"] + list("abcde")
PIECES = ["<blank>", "▁", "a", "b", "c", "d", "▁a", "▁b", "▁ca", "▁dab", "ab", "cd", "▁be", "e"]


def posteriors(rng, units, vocabulary, noise):
    """Frames that say some words, unclearly."""
    target = []
    for word in rng.sample(vocabulary, rng.randrange(1, 5)):
        rest = "▁" + word
        while rest:
            fitting = [u for u in range(1, len(units)) if rest.startswith(units[u])]
            unit = rng.choice(fitting)
            target.append(unit)
            rest = rest[len(units[unit]):]
    frames = []
    for unit in target:
        for shown in [BLANK] * rng.randrange(0, 2) + [unit] * rng.randrange(1, 3) + [BLANK] * rng.randrange(0, 2):
            logits = [rng.gauss(0, noise) for _ in units]
            logits[shown] += 3
            high = max(logits)
            norm = high + math.log(sum(math.exp(x - high) for x in logits))
            frames.append([round(x - norm, 5) for x in logits])
    return frames


def main():
    rng = random.Random(20240229)
    cases = []
    for number in range(48):
        kind = "characters" if number % 2 == 0 else "bpe"
        units = CHARACTERS if kind == "characters" else PIECES
        vocabulary = sorted({"".join(rng.choice("abcde") for _ in range(rng.randrange(1, 5))) for _ in range(14)})
        # A piece vocabulary must be able to spell them: "e" cannot begin a word by itself there, but after "▁" it can.
        lm = Lm(rng, vocabulary, 1 + number % 4) if number % 3 else None
        hot = []
        if number % 4 >= 2:
            hot = [rng.choice(vocabulary), "dabba", " ".join(rng.sample(vocabulary, 2)), rng.choice(vocabulary) + " de"]
        frames = posteriors(rng, units, vocabulary + ["dabba", "de"], 0.7 + 0.4 * (number % 5))
        case = {
            "kind": kind,
            "units": units,
            "frames": frames,
            "beam_width": [2, 4, 8, 16, 32][number % 5],
            "top_units": [3, 5, 24][number % 3],
            "least_unit_logprob": [-4.0, -9.21][number % 2],
            "lm_weight": [0.3, 0.5, 1.0][number % 3],
            "word_bonus": [0.0, 0.5, 1.5][(number // 2) % 3],
            "boost": [2.0, 4.0][(number // 4) % 2],
            "hot": hot,
        }
        score, prefix = beam_search(case, lm, units, frames)
        words, word = spell(units, prefix)
        case["lm"] = base64.b64encode(lm.file()).decode() if lm else None
        case["beam_units"] = list(prefix)
        case["beam_text"] = " ".join(words + ([word] if word else []))
        case["beam_score"] = score
        case["spans"] = align(frames, list(prefix)) if prefix else []
        case["greedy_units"] = greedy(frames)
        words, word = spell(units, case["greedy_units"])
        case["greedy_text"] = " ".join(words + ([word] if word else []))
        cases.append(case)
    different = sum(c["beam_text"] != c["greedy_text"] for c in cases)
    assert different >= 12, "the search must matter"
    assert sum(bool(c["hot"]) and any(h in c["beam_text"] for h in c["hot"]) for c in cases) >= 6
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases.json")
    with open(path, "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cases) + "\n]\n")
    print(f"{len(cases)} cases, {different} of them with another text than greedy's, {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
