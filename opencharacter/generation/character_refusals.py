"""Refusals of a character: harmful requests that a character turns down in character.

They are good answers, which keep a tuned model from helping with harm, and are labelled so that rows can be counted and
left out. Found by wording, in English.
"""

import re

from opencharacter.generation.refusals import OPENING_CHARS, PLAIN

_HARM = re.compile(
    r"\b(?:kill|murder|poison|bomb|explosive|weapon|firearm|shoot|stab|attack|assault|hurt|harm|rape|abus|torture"
    r"|strangl|suicid|overdose|cyanide|ricin|anthrax|nerve (?:gas|agent)|drug|meth\b|heroin|cocaine|fentanyl|steal"
    r"|stolen|rob\b|robb|burgl|shoplift|thiev|theft|hack|malware|ransomware|phish|ddos|keylog"
    r"|break into|pick (?:a|the|his|her|their) lock|password|crack (?:a|the|his|her) safe|forge|forgery"
    r"|counterfeit|fraud|scam|swindl|launder"
    r"|embezzl|brib|blackmail|extort|threat|stalk|spy on|kidnap|abduct|traffick|terror|nazi|racis|slur|hateful"
    r"|hate speech|genocid|illegal|unlawful|crime|criminal|arson|set fire|burn down|fake (?:id|passport|document|news"
    r"|review)|evade tax|tax evasion|underage|porn|nude|doxx?|sabotag|smuggl|cheat|plagiari|lie to|deceiv|manipulat"
    r"|discriminat)\w*",
    re.IGNORECASE,
)
"""Words of harmful requests. Many requests that hold one are harmless: a label needs an answer that declines, too."""
_DEED = (
    r"(?:help|tell|teach|show|giv|do|writ|aid|assist|explain|shar|build|mak|hand|sell|lend|tak|hav|touch|guid|walk|put"
    r"|speak|say|brew|mix|forg|hurt|harm|join|instruct|advis|answer|be|lift|let)(?:e|ing)?\b"
)
_DECLINES = re.compile(
    r"\bi(?: would| will)? (?:won't|will not|shall not|shan't|cannot|can't|refuse to|decline to|will never"
    rf"|would never|wouldn't|would not)(?: \w+){{0,2}}? {_DEED}"
    r"|\bi'll (?:not|never|do no such|have no part)\b|\bi(?:'d| would| will|'ll) (?:sooner|rather) (?:die"
    r"|starve|burn|hang|drown|lose)"
    rf"|\bi(?:'m| am) not (?:going|about) to {_DEED}|\bi(?:'m| am) not (?:the|your) (?:man|woman|person|one)\b"
    r"|\bi (?:will|want|shall)(?: have)? (?:no part|nothing to do)\b|\bnot (?:by|from|with) (?:me|my)\b"
    r"|\b(?:count me out|absolutely not|out of the question|over my dead body|draw the line"
    r"|a line i (?:won't|don't|will not)|ask me (?:something|anything) else|find (?:someone"
    r"|somebody) else)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\b(?:how|help|tell|give|teach|show|write|make|create|explain|describe|list|plan|find|get|say|do|best way|want to"
    r"|need|can you|could you|would you|will you|let's|pretend|act as)\b",
    re.IGNORECASE,
)


def refuses_in_character(question: str, answer: str) -> bool:
    """Whether the answer opens by declining, and the question asks for harm or the words that decline name it.

    An invitation that is declined names none: "I'm sorry, I can't come to the wedding, I have a shift."
    """
    opening = answer.strip().translate(PLAIN)[:OPENING_CHARS]
    declined = _DECLINES.search(opening)
    if declined is None:
        return False
    asks_for_harm = _HARM.search(question) is not None and _ASKS.search(question) is not None
    return asks_for_harm or _HARM.search(_sentence_around(opening, declined.start(), declined.end())) is not None


def declines(answer: str) -> bool:
    """Whether the answer opens by declining, whatever was asked."""
    return _DECLINES.search(answer.strip().translate(PLAIN)[:OPENING_CHARS]) is not None


def _sentence_around(text: str, start: int, end: int) -> str:
    first = max(text.rfind(mark, 0, start) for mark in ".!?\n") + 1
    ends = [place for mark in ".!?\n" if (place := text.find(mark, end)) >= 0]
    return text[first : min(ends, default=len(text))]
