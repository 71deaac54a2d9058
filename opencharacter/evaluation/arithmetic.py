"""Arithmetic questions made by seed: nobody can have learned them by heart, and another draw makes others.

Each is asked in character and without a character. The last number of the answer is checked.
"""

import random
from collections.abc import Callable, Sequence

from opencharacter.hashing import seed64
from opencharacter.records.evaluation import Check, Item
from opencharacter.records.models import Turn

IN_CHARACTER = "in_character"
PLAIN = "plain"
_END = "End your answer with the number."
_GOODS = ("apples", "bricks", "candles", "letters", "eggs", "buttons", "lemons", "tiles", "loaves", "seashells")
_PEOPLE = ("Amara", "Bent", "Chiyo", "Dario", "Edda", "Farid", "Greta", "Hamid", "Ines", "Jonas", "Kofi", "Lena")

_Draw = random.Random
_Made = tuple[str, float]


def _stock(draw: _Draw) -> _Made:
    start, gone, came = draw.randint(120, 480), draw.randint(15, 90), draw.randint(20, 140)
    goods = draw.choice(_GOODS)
    text = (
        f"A storehouse holds {start} {goods}. {gone} are sold and {came} are delivered. How many {goods} are there now?"
    )
    return text, start - gone + came


def _packing(draw: _Draw) -> _Made:
    size, boxes, left = draw.randint(6, 24), draw.randint(11, 39), draw.randint(1, 5)
    goods = draw.choice(_GOODS)
    text = f"{size * boxes + left} {goods} are packed into boxes of {size}. How many boxes are full?"
    return text, boxes


def _discount(draw: _Draw) -> _Made:
    price, share = draw.randint(4, 30) * 20, draw.choice((5, 10, 15, 20, 25, 30, 40))
    text = f"A coat costs {price} crowns and is sold {share} per cent cheaper. How many crowns does it cost then?"
    return text, price * (100 - share) // 100


def _journey(draw: _Draw) -> _Made:
    hour, minute, minutes = draw.randint(6, 12), draw.randint(0, 11) * 5, draw.randint(11, 47) * 5
    end = hour * 60 + minute + minutes
    text = (
        f"A train leaves at {hour}:{minute:02} and travels for {minutes} minutes. How many minutes past the full hour"
        " is it when it arrives?"
    )
    return text, end % 60


def _wages(draw: _Draw) -> _Made:
    who, pay, hours, rent = draw.choice(_PEOPLE), draw.randint(11, 29), draw.randint(6, 38), draw.randint(20, 60)
    text = f"{who} earns {pay} coins an hour, works {hours} hours and pays {rent} coins for the room. What is left?"
    return text, pay * hours - rent


def _mean(draw: _Draw) -> _Made:
    middle, one, other = draw.randint(20, 70), draw.randint(1, 9), draw.randint(1, 9)
    numbers = [middle - one, middle + one, middle - other, middle + other, middle]
    draw.shuffle(numbers)
    return f"What is the average of {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}?", middle


def _sequence(draw: _Draw) -> _Made:
    start, step = draw.randint(2, 40), draw.randint(3, 17)
    numbers = [start + step * place for place in range(5)]
    return f"Which number comes next: {', '.join(map(str, numbers[:-1]))}?", numbers[-1]


def _fence(draw: _Draw) -> _Made:
    length, width = draw.randint(12, 60), draw.randint(5, 30)
    return f"A garden is {length} metres long and {width} metres wide. How long is the fence around it, in metres?", (
        2 * (length + width)
    )


def _change(draw: _Draw) -> _Made:
    who, count, price = draw.choice(_PEOPLE), draw.randint(3, 9), draw.randint(4, 19)
    paid = (count * price // 50 + 1) * 50
    goods = draw.choice(_GOODS)
    text = (
        f"{who} buys {count} bags of {goods} at {price} coins each and pays with {paid} coins. How much is the change?"
    )
    return text, paid - count * price


def _ages(draw: _Draw) -> _Made:
    first, second = draw.sample(_PEOPLE, 2)
    age, more, years = draw.randint(7, 40), draw.randint(2, 30), draw.randint(3, 15)
    text = f"{first} is {age} years old and {second} is {more} years older. How old will {second} be in {years} years?"
    return text, age + more + years


_KINDS: tuple[Callable[[_Draw], _Made], ...] = (
    _stock,
    _packing,
    _discount,
    _journey,
    _wages,
    _mean,
    _sequence,
    _fence,
    _change,
    _ages,
)


def arithmetic_items(suite: str, characters: Sequence[str], *, count: int, draw: int = 0) -> list[Item]:
    """Two items for each of `count` questions: in character, where the suite has characters, and without one.

    Args:
        suite: The suite's name.
        characters: Ids of those who are asked, in turn.
        count: Number of questions.
        draw: Another number makes other questions.
    """
    items: list[Item] = []
    asked: set[str] = set()
    for number in range(count):
        kind, attempt = _KINDS[number % len(_KINDS)], 0
        while True:
            text, value = kind(random.Random(seed64("arithmetic", draw, number, attempt)))
            if text not in asked:
                break
            attempt += 1
        asked.add(text)
        item = Item(
            id=f"arithmetic-{draw}-{number + 1:02}-{PLAIN}",
            suite=suite,
            task=PLAIN,
            character_id=characters[number % len(characters)] if characters else None,
            session_id=f"arithmetic-{draw}-{number + 1:02}",
            view="none",
            turns=[Turn(role="user", content=f"{text} {_END}")],
            checks=[Check.model_validate({"kind": "number", "value": value})],
            tags=["arithmetic"],
            source="made by seed",
            license="CC0-1.0",
        )
        if characters:
            name = item.id.replace(PLAIN, IN_CHARACTER.replace("_", "-"))
            items.append(item.model_copy(update={"id": name, "task": IN_CHARACTER, "view": None}))
        items.append(item)
    return items
