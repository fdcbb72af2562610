#!/usr/bin/env python3
"""Writes cases.json: word and character errors as `jiwer` counts them.

Few different words and characters, so that many alignments have the same number of edits: the counts then show which
one is picked. Run: pip install jiwer && python3 tests/goldens/wer/generate.py
"""

import json
import os
import random

import jiwer


def counts(out):
    reference = out.substitutions + out.deletions + out.hits
    return [out.substitutions, out.deletions, out.insertions, reference]


def main():
    rng = random.Random(7)
    words = ["a", "b", "the", "then", "cat", "can't", "é"]
    pairs = [("turn on the light in the kitchen", "turn the light on in a kitten"), ("one", "one"), ("one two", "")]
    for i in range(237):
        some = words[: rng.randint(1, len(words))]
        reference = [rng.choice(some) for _ in range(rng.randint(1, 12))]
        if i % 2:
            heard = [rng.choice(some) for _ in range(rng.randint(0, 12))]
        else:
            heard = []
            for word in reference:
                roll = rng.random()
                heard += [] if roll < 0.15 else [rng.choice(some)] if roll < 0.3 else [word, word] if roll < 0.4 else [word]
        pairs.append((" ".join(reference), " ".join(heard)))
    cases = []
    for reference, heard in pairs:
        cases.append(
            {
                "reference": reference,
                "heard": heard,
                "words": counts(jiwer.process_words(reference, heard)),
                "chars": counts(jiwer.process_characters(reference, heard)),
            }
        )
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases.json")
    with open(path, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
