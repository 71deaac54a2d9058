"""Which language a text is in: enough to tell whether a model answered in the language it was asked for.

Letters of another script than the Latin one decide; Latin texts are compared by the commonest short words of each
language.
"""

import re
import unicodedata
from collections import Counter
from typing import Literal

Language = Literal["en", "de", "fr", "es", "it", "pt", "nl", "ru", "el", "ar", "hi", "ja", "zh", "ko"]

_SCRIPTS: dict[str, Language] = {
    "CYRILLIC": "ru",
    "GREEK": "el",
    "ARABIC": "ar",
    "DEVANAGARI": "hi",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh",
    "HANGUL": "ko",
}
_COMMON_WORDS: dict[Language, str] = {
    "en": "the and of to is that it you i my with for was are this be have not but they your we at on what",
    "de": "der die das und ist nicht ich ein eine zu mit auf den dem sich es für von auch wir sie im wie",
    "fr": "le la les des est et je un une que qui dans pour pas vous nous du ce il elle avec sur mon mais au",
    "es": "el la los las de que y es un una en no por con para su mi se lo del pero como más muy está yo",
    "it": "il lo gli le di che è un una e non per con mi si del della sono ma come più anche nel io ho",
    "pt": "o os as de que e é um uma em não por com para meu minha se do da no na mas como mais eu está",
    "nl": "de het een en van is niet ik je dat die in op te met voor zijn maar er aan wij mijn ook naar",
}
_COMMON = {language: frozenset(words.split()) for language, words in _COMMON_WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")
_FEWEST = 0.15
"""Share of the words that must be common ones of the language; running text has twice as many."""


def language_of(text: str) -> Language | None:
    """The language of a text; none where it is too short or strange to tell.

    Kana make a text Japanese. All Cyrillic counts as Russian and all Arabic script as Arabic.
    """
    letters = [sign for sign in text if sign.isalpha()]
    scripts = Counter(unicodedata.name(sign, "?").split()[0].split("-")[0] for sign in letters)
    if not scripts:
        return None
    foreign = Counter[Language]()
    for script, count in scripts.items():
        if language := _SCRIPTS.get(script):
            foreign[language] += count
    if foreign and sum(foreign.values()) > len(letters) / 2:
        if foreign["ja"] and foreign["ja"] + foreign["zh"] > sum(foreign.values()) / 2:
            return "ja"
        return foreign.most_common(1)[0][0]
    words = _WORD.findall(text.casefold())
    shares = {language: sum(word in common for word in words) / len(words) for language, common in _COMMON.items()}
    best = max(shares, key=lambda language: shares[language])
    return best if shares[best] >= _FEWEST and list(shares.values()).count(shares[best]) == 1 else None
