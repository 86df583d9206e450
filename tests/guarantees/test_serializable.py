"""Random programs of requests at once: what is stored is what some order of the saved ones would have stored."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from tests.kit import Jar

from hardtack import SessionManager, StoreEngine
from hardtack.stores.memory import MemoryStore

KEYS = "abcdef"
ROUNDS = 2_000


def set_number(data: Any, one: str, other: str, number: int) -> None:
    data[one] = number


def delete(data: Any, one: str, other: str, number: int) -> None:
    if one in data:
        del data[one]


def copy(data: Any, one: str, other: str, number: int) -> None:
    if one in data:
        data[other] = deepcopy(data[one])


def increment(data: Any, one: str, other: str, number: int) -> None:
    found = data.get(one, 0)
    data[one] = (found if type(found) is int else 0) + 1


def set_if_equal(data: Any, one: str, other: str, number: int) -> None:
    if data.get(one) == number:
        data[other] = number + 10


def join_names(data: Any, one: str, other: str, number: int) -> None:
    data[other] = "".join(sorted(data))


def count(data: Any, one: str, other: str, number: int) -> None:
    data[other] = len(data)


def take(data: Any, one: str, other: str, number: int) -> None:
    data[other] = data.pop(one, None)


def set_default(data: Any, one: str, other: str, number: int) -> None:
    data.setdefault(one, number)


def append(data: Any, one: str, other: str, number: int) -> None:
    found = data.get(one)
    if type(found) is list:
        found.append(number)
    else:
        data[one] = [number]


BASIC: list[Callable[[Any, str, str, int], None]] = [set_number, delete, copy, increment, set_if_equal]
ALL = [*BASIC, join_names, count, take, set_default, append]


def random_program(chance: random.Random, steps: list[Callable[..., None]]) -> list[Callable[[Any], None]]:
    """One to three steps, as functions of the data."""

    def bound() -> Callable[[Any], None]:
        step, one, other, number = chance.choice(steps), chance.choice(KEYS), chance.choice(KEYS), chance.randint(0, 3)
        return lambda data: step(data, one, other, number)

    return [bound() for _ in range(chance.randint(1, 3))]


def run_at_once(
    sessions: SessionManager, header: str, programs: list[list[Callable[[Any], None]]], schedule: list[int]
) -> list[int]:
    """Run the requests step by step as the schedule says: load, each step, commit. Returns who was told that it is saved."""
    running: list[Any] = [None] * len(programs)
    position, saved = [0] * len(programs), []
    for number in schedule:
        if running[number] is None:
            running[number] = sessions.open(header)
            assert running[number].subject is None  # which loads it
        elif position[number] < len(programs[number]):
            programs[number][position[number]](running[number])
            position[number] += 1
        else:
            changes = sessions.commit(running[number])
            sessions.finish(running[number])
            if not changes.dropped:
                saved.append(number)
    return saved


def some_order_explains(
    found: dict[str, Any], start: dict[str, Any], programs: list[list[Callable[[Any], None]]], saved: list[int]
) -> bool:
    """Whether the requests that were saved, one after the other in some order, leave what was found."""
    for order in itertools.permutations(saved):
        data = deepcopy(start)
        for number in order:
            for step in programs[number]:
                step(data)
        if data == found:
            return True
    return False


@pytest.mark.parametrize(("steps", "most_dropped"), [(BASIC, 0.2), (ALL, 0.35)], ids=["basic", "iterating"])
@pytest.mark.slow
def test_some_order_explains_what_is_stored(steps: list[Callable[..., None]], most_dropped: float) -> None:
    """In every round; and of the requests not more are dropped than the model of the rules drops."""
    chance = random.Random(20_261_127)
    dropped = requests = 0
    for number in range(ROUNDS):
        sessions, jar = SessionManager(StoreEngine(MemoryStore())), Jar()
        session = sessions.open()
        start = {"z": 1, **{name: chance.choice([0, 1, 2, [1], "x"]) for name in KEYS if chance.random() < 0.6}}
        session.update(deepcopy(start))
        jar.take(sessions.commit(session))
        programs = [random_program(chance, steps) for _ in range(chance.choice([2, 3]))]
        schedule = [index for index, program in enumerate(programs) for _ in range(len(program) + 2)]
        chance.shuffle(schedule)

        saved = run_at_once(sessions, jar.header, programs, schedule)

        found = dict(sessions.open(jar.header))
        assert some_order_explains(found, start, programs, saved), (number, start, schedule, saved, found)
        requests += len(programs)
        dropped += len(programs) - len(saved)
    assert saved_some(dropped, requests)
    assert dropped / requests < most_dropped


def saved_some(dropped: int, requests: int) -> bool:
    """Whether there were conflicts at all, so that the rounds have shown something."""
    return 0 < dropped < requests


def test_six_requests_that_only_write_are_all_kept() -> None:
    """Background requests that blindly write one key each, all loaded before any is saved."""
    sessions, jar = SessionManager(StoreEngine(MemoryStore())), Jar()
    session = sessions.open()
    session["z"] = 1
    jar.take(sessions.commit(session))
    running = [sessions.open(jar.header) for _ in range(6)]
    for number, each in enumerate(running):
        each[f"last_seen_{number}"] = number
        each["last_seen"] = number

    results = [sessions.commit(each) for each in running]

    assert [changes.dropped for changes in results] == [""] * 6
    blind = {f"last_seen_{number}": number for number in range(6)}
    assert dict(sessions.open(jar.header)) == {"z": 1, "last_seen": 5, **blind}


def test_a_second_factor_is_not_torn() -> None:
    """What one request asks before it grants is what holds when it is saved: no order lets the second factor be left out."""
    sessions, jar = SessionManager(StoreEngine(MemoryStore())), Jar()
    session = sessions.open()
    session.update({"user": "alice", "mfa_passed": True})
    jar.take(sessions.commit(session))
    granting, resetting = sessions.open(jar.header), sessions.open(jar.header)
    if granting["mfa_passed"]:
        granting["admin"] = True
    resetting["mfa_passed"] = False

    sessions.commit(resetting)
    granted = sessions.commit(granting)

    assert granted.dropped == "stale"
    assert dict(sessions.open(jar.header)) == {"user": "alice", "mfa_passed": False}


def test_a_checkout_beside_an_addition_to_a_declared_cart() -> None:
    """The order has what was ordered, and the cart what came late."""
    sessions, jar = SessionManager(StoreEngine(MemoryStore(), merge=("cart",))), Jar()
    session = sessions.open()
    session["cart"] = ["bread"]
    jar.take(sessions.commit(session))
    ordering, adding = sessions.open(jar.header), sessions.open(jar.header)
    ordering["order"] = list(ordering["cart"])
    ordering["cart"] = []
    adding["cart"].append("milk")

    sessions.commit(adding)
    sessions.commit(ordering)

    assert dict(sessions.open(jar.header)) == {"cart": ["milk"], "order": ["bread"]}
