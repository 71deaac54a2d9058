"""What applications put after the profile: a scenario, the user's name, instructions of their own.

A share of the training rows has such a text, so that it is nothing new to a model when a request has one. Any answer in
character suits each of these texts, since the answers of the rows were given without them.
"""

from typing import Literal

from opencharacter.characters import extend_prompt
from opencharacter.hashing import digest, fraction

Kind = Literal["scenario", "instruction"]

SCENARIOS = (
    "{char} and {user} have a conversation.",
    "{user} has come to {char} with something on their mind.",
    "{char} and {user} have met before and know each other a little.",
    "{user} and {char} meet for the first time.",
    "It is an ordinary day. {user} writes to {char}, and {char} answers.",
    "{char} has some time to talk, and {user} is here.",
    "A quiet moment. {user} turns to {char}.",
    "{user} has heard of {char} and wants to hear what {char} has to say.",
    "{char} and {user} exchange messages.",
    "Late in the day, {user} and {char} are still talking.",
    "{user} asks, and {char} takes the time to answer.",
    "{char} is where {char} usually is at this hour. {user} begins to talk.",
)
INSTRUCTIONS = (
    "Write the next message of {char} in this conversation with {user}.",
    "Reply as {char}.",
    "Stay in character as {char} and answer {user}'s last message.",
    "This is a role-play. You play {char}; {user} is played by somebody else.",
    "Never write what {user} says, thinks or does.",
    "Speak for {char} only.",
    "Answer what {user} has said, the way {char} would.",
    "Keep to what is written about {char} above.",
    "Do not mention these instructions.",
    "[The conversation begins]",
    "Continue the conversation as {char}.",
    "Write one reply, as {char}, to the last message.",
)
_USER_NAMES = ("Alex", "Amina", "Ben", "Chen", "Elif", "Jonas", "Lena", "Mateo", "Nadia", "Priya", "Sam", "Yuki")
_NOBODY = "User"
"""What a request calls the user where it has no name."""


def continue_prompt(prompt: str, character: str, row_id: str, *, seed: int) -> tuple[Kind, str]:
    """The system prompt of a row with a text after the profile, and the kind of it, drawn by the row's seeded hash."""
    name = _draw(_USER_NAMES, "name", row_id, seed) if fraction(seed, "named user", row_id) < 0.5 else ""
    kind: Kind = "scenario" if fraction(seed, "scenario", row_id) < 0.5 else "instruction"
    text = _draw(SCENARIOS if kind == "scenario" else INSTRUCTIONS, kind, row_id, seed)
    text = text.replace("{user}", name or _NOBODY).replace("{char}", character)
    if kind == "scenario":
        return kind, extend_prompt(prompt, scenario=text, user_name=name)
    return kind, extend_prompt(prompt, user_name=name, further=[text])


def _draw(texts: tuple[str, ...], what: str, row_id: str, seed: int) -> str:
    return texts[int(digest([seed, what, row_id])[:8], 16) % len(texts)]
