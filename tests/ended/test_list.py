"""EndedSessions: what ends, what goes on, and for whom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from tests.ended.kit import KEY, OTHER_KEY, Events, eventually, new_id

from hardtack import Keyring
from hardtack.ended import EndedSessions, follower
from hardtack.ended.channels import memory
from hardtack.ended.channels.memory import MemoryChannel
from hardtack.ended.entries import All, Codec, Limits, Session
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.events import EntriesSkipped, LimitsRaised

Make = Callable[..., Any]
SECOND = 1_000_000


@pytest.fixture
def channel() -> MemoryChannel:
    """A channel that several lists of the test share."""
    return MemoryChannel()


@pytest.fixture
def ended(make_list: Make, channel: MemoryChannel) -> Any:
    """A list that is followed."""
    ended = make_list(channel)
    ended.start()
    return ended


def test_a_session_that_was_ended(ended: Any) -> None:
    """Is known by its id, with what became of it, and when; others go on."""
    handle = new_id()
    before = time.time()

    ended.end_session(handle)

    found = ended.check(handle, "alice")
    assert (found.kind, found.cause) == ("ended", "session")
    assert abs(found.at - before) < 2
    assert 0 <= found.age < 2
    assert ended.check(new_id(), "alice") is None


def test_a_changed_id(ended: Any) -> None:
    """Its session goes on under another one."""
    handle = new_id()

    ended.end_session(handle, "changed", brief=True)

    assert ended.check(handle).kind == "changed"


def test_an_end_counts_more_than_a_change(ended: Any) -> None:
    """In whichever order they came."""
    first, second = new_id(), new_id()

    ended.end_session(first, "changed")
    ended.end_session(first, "ended")
    ended.end_session(second, "ended")
    ended.end_session(second, "changed")

    assert [ended.check(first).kind, ended.check(second).kind] == ["ended", "ended"]


def test_an_end_with_a_subject_ends_what_matches_both(ended: Any) -> None:
    """A user who names another's id ends nothing; who acts as her is hers too."""
    handle = new_id()

    ended.end_session(handle, subject="alice")

    assert ended.check(handle, "bob") is None
    assert ended.check(handle) is None
    assert ended.check(handle, "bob", actor="alice").kind == "ended"
    assert ended.check(handle, "alice").kind == "ended"


def test_all_sessions_of_a_user(ended: Any) -> None:
    """Those drawn before, hers or by one who acts as her; not another's, and not what logs in afterwards."""
    drawn = ended.draw_time()

    ended.end_subject("alice")

    assert ended.check(new_id(), "alice", drawn=drawn).cause == "subject"
    assert ended.check(new_id(), "bob", actor="alice", drawn=drawn).cause == "subject"
    assert ended.check(new_id(), "bob", drawn=drawn) is None
    assert ended.check(new_id(), drawn=drawn) is None
    assert ended.check(new_id(), "alice", drawn=ended.draw_time()) is None
    assert ended.check(new_id(), "alice").cause == "subject"  # a cookie that does not say when it was drawn is older


@pytest.mark.parametrize("many", [False, True])
def test_a_session_that_is_kept(many: bool, ended: Any) -> None:
    """It goes on, and so does its next id; the next end without it ends it."""
    kept, drawn = new_id(), ended.draw_time()

    ended.end_subject("alice", keep=[new_id(), kept] if many else kept)

    assert ended.check(kept, "alice", drawn=drawn) is None
    assert ended.check(new_id(), "alice", drawn=ended.draw_after(drawn, "alice")) is None
    assert ended.check(new_id(), "alice", drawn=drawn).cause == "subject"

    ended.end_subject("alice")

    assert ended.check(kept, "alice", drawn=drawn).cause == "subject"


def test_the_sessions_of_a_login_at_a_provider(ended: Any) -> None:
    """By issuer and sid."""
    drawn = ended.draw_time()

    ended.end_provider("https://op.example", "sid1")

    assert ended.check(new_id(), "alice", drawn=drawn, sid=("https://op.example", "sid1")).cause == "provider"
    assert ended.check(new_id(), "alice", drawn=drawn, sid=("https://op.example", "sid2")) is None
    assert ended.check(new_id(), "alice", drawn=drawn, sid=("https://other.example", "sid1")) is None
    assert ended.check(new_id(), "alice", drawn=ended.draw_time(), sid=("https://op.example", "sid1")) is None
    assert ended.check(new_id(), "alice", drawn=drawn) is None


def test_everybody(ended: Any) -> None:
    """Anonymous sessions too; not who comes afterwards."""
    drawn = ended.draw_time()

    ended.end_everything()

    assert ended.check(new_id(), "alice", drawn=drawn).cause == "all"
    assert ended.check(new_id(), drawn=drawn).cause == "all"
    assert ended.check(new_id(), "alice", drawn=ended.draw_time()) is None


def test_an_id_that_is_derived_of_a_kept_one(ended: Any) -> None:
    """It goes on as well, whenever it is derived; not after an end that spares the first no more."""
    kept, other, drawn = new_id(), new_id(), ended.draw_time()

    ended.end_subject("alice", keep=kept)

    def derived(id: bytes) -> Any:
        return ended.check(new_id(), "alice", "bob", drawn=ended.draw_beside(drawn, id, "alice", "bob"))

    assert derived(kept) is None
    assert derived(other).cause == "subject"

    ended.end_subject("alice")

    assert derived(kept).cause == "subject"


def test_times_of_ids_only_rise(ended: Any) -> None:
    """At least the previous plus one, whatever the clock says."""
    ahead = ended.draw_time() + 3600 * SECOND

    assert ended.draw_time(ahead) == ahead + 1
    assert ended.draw_after(ahead) == ahead + 1
    assert ended.draw_after(0) < ended.draw_time() < ended.draw_time(ended.draw_time())


def test_a_login_reads_what_another_process_has_ended(make_list: Make, channel: MemoryChannel) -> None:
    """A login right after an end lives, one right before it is dead, whatever is still on its way."""
    one, two = make_list(channel), make_list(channel)
    one.start()
    two.start()

    for _ in range(50):
        before = two.draw_time()
        one.end_subject("alice")
        after = two.draw_time()
        assert two.check(new_id(), "alice", drawn=before).cause == "subject"
        assert two.check(new_id(), "alice", drawn=after) is None
        assert one.check(new_id(), "alice", drawn=after) is None


def test_an_id_that_is_drawn_without_asking_does_not_pass_an_end_by(make_list: Make, channel: MemoryChannel) -> None:
    """A step-up in a process that has not heard yet must not come out with a session that the end does not reach."""
    one, two = make_list(channel), make_list(channel)
    one.start()
    two.start()
    drawn = two.draw_time()
    stepped_up = two.draw_after(drawn)

    one.end_subject("alice")

    assert one.check(new_id(), "alice", drawn=stepped_up).cause == "subject"


def test_what_this_process_told_since_is_no_reason_to_pass_an_end_by(make_list: Make, channel: MemoryChannel) -> None:
    """Who changes an id tells it, which is later than an end that this process has not read yet."""
    one, two = make_list(channel), make_list(channel)
    one.start()
    two.start()
    drawn = two.draw_time()
    two.close()
    one.end_subject("alice")

    two.end_session(new_id(), "changed")
    stepped_up = two.draw_after(drawn, "alice", "bob")

    assert one.check(new_id(), "alice", drawn=stepped_up).cause == "subject"


def test_what_is_taken_once(ended: Any) -> None:
    """The first who takes it gets it; others see that it is gone."""
    name = new_id()

    assert [ended.take(name) for _ in range(3)] == [True, False, False]
    assert ended.check(name)


def test_two_threads_that_take_it_at_once(make_list: Make) -> None:
    """While the channel is being told, nobody else gets it."""
    name, second = new_id(), list[Any]()

    class Slow(MemoryChannel):
        def append(self, make: Any, keep: Any) -> None:
            if not second:
                second.append(None)
                second.append(slow.take(name))
            super().append(make, keep)

    slow = make_list(Slow())

    assert slow.take(name)
    assert second == [None, False]


def test_a_clock_that_goes_back_spares_nobody(ended: Any, channel: MemoryChannel, monkeypatch: Any) -> None:
    """As after a fail-over to a server that is behind: who logged in by the old clock is older than an end by the new."""
    drawn = ended.draw_time()
    real = memory._now
    monkeypatch.setattr(memory, "_now", lambda: real() - 30 * SECOND)

    ended.end_subject("alice")

    assert ended.check(new_id(), "alice", drawn=drawn).cause == "subject"
    assert ended.check(new_id(), "alice", drawn=ended.draw_time()) is None


def test_what_was_ended_under_the_old_key_stays_ended(make_list: Make, channel: MemoryChannel) -> None:
    """The key is changed in three deploys; names are looked up under each key."""
    old = make_list(channel)
    old.start()
    handle, drawn = new_id(), old.draw_time()
    old.end_session(handle, subject="alice")
    old.end_subject("bob")
    old.end_provider("op", "1")

    new = make_list(channel, key=Keyring(OTHER_KEY, accept=[KEY]))
    new.start()

    assert new.check(handle, "alice").cause == "session"
    assert new.check(new_id(), "bob", drawn=drawn).cause == "subject"
    assert new.check(new_id(), drawn=drawn, sid=("op", "1")).cause == "provider"


def test_a_key_that_is_added_while_it_runs(ended: Any, make_list: Make, channel: MemoryChannel) -> None:
    """As in a key file: what others write under it is found, also for a name that was looked up before."""
    ended.end_subject("carol")
    assert ended.check(new_id(), "alice", drawn=1) is None
    both = Keyring(KEY, accept=[OTHER_KEY])
    ended._get_codec().keys = both

    make_list(channel, key=Keyring(OTHER_KEY, accept=[KEY])).end_subject("alice")

    eventually(lambda: ended.check(new_id(), "alice", drawn=1))


def test_the_identity_follows_the_key(make_list: Make, channel: MemoryChannel, monkeypatch: Any) -> None:
    """Before the old key is dropped, the channel is signed with the new one, by a process that lives with both."""
    make_list(channel).start()
    new = Keyring(OTHER_KEY, accept=[KEY])
    make_list(channel, key=new).start()
    before = channel.read("", 0).origin
    monkeypatch.setattr(follower, "_RESIGN", 0)

    make_list(channel, key=new).start()

    after = channel.read("", 0).origin
    assert before is not None
    assert after is not None
    assert (before[2:7], after[2:7]) == (KEY.id, OTHER_KEY.id)
    assert before[15:-16] == after[15:-16]
    dropped = make_list(channel, key=OTHER_KEY)
    dropped.start()


def test_many_names_are_hashed(ended: Any, monkeypatch: Any) -> None:
    """The hashes that are remembered do not fill the memory."""
    monkeypatch.setattr("hardtack.ended.list._MAX_HASHES", 10)
    ended.end_subject("user7")

    found = [ended.check(new_id(), f"user{number}") for number in range(25)]

    assert [number for number, each in enumerate(found) if each] == [7]
    assert len(ended._hashes) <= 10


# --- limits


def limits(channel: MemoryChannel, purpose: str) -> list[Any]:
    """The limits that stand in the channel."""
    codec = Codec(Keyring(KEY), purpose)
    return [entry for entry in map(codec.open, channel.read("", 0).entries) if isinstance(entry, Limits)]


def test_the_limits_are_told(ended: Any, channel: MemoryChannel, purpose: str) -> None:
    """Once for all processes that have the same."""
    assert [each[1:] for each in limits(channel, purpose)] == [(86400, 7200, 60)]
    assert ended.stats().life == 7200 + 60 + 60


def test_limits_are_told_again_before_they_are_forgotten(make_list: Make, channel: MemoryChannel, purpose: str) -> None:
    """By any process that has them."""
    codec = Codec(Keyring(KEY), purpose)
    old = Limits(int(time.time() - 4000) * SECOND, 86400, 7200, 60)
    make_list(channel, idle=3600).start()
    channel.append(lambda now: [codec.seal(old)], None)

    make_list(channel).start()

    assert len([each for each in limits(channel, purpose) if each[1:] == old[1:]]) == 2


def test_longer_limits_end_what_would_come_back(make_list: Make, channel: MemoryChannel) -> None:
    """Entries that others forgot by shorter limits could matter again: what was not seen within those ends; others go on."""
    short = make_list(channel, idle=600)
    short.start()
    now = int(time.time())

    long = make_list(channel, idle=7200)
    long.start()

    def knows(each: Any) -> bool:
        return bool(each.stats().life == 7200 + 120)

    assert long.told.of(LimitsRaised) == [LimitsRaised(600 + 120, 7200 + 120)]
    for each in (short, long):
        eventually(partial(each.check, new_id(), "alice", drawn=1, seen=now - 730))
        assert each.check(new_id(), "alice", drawn=1, seen=now - 600) is None
        assert each.check(new_id(), "alice", drawn=now * SECOND) is None
        eventually(partial(knows, each))  # by the entry after the one that ended them


def test_shorter_limits_end_nobody(make_list: Make, channel: MemoryChannel) -> None:
    """And entries are kept for as long as the others need them."""
    make_list(channel, idle=7200).start()
    short = make_list(channel, idle=600)

    short.start()

    assert short.check(new_id(), "alice", drawn=1, seen=1) is None
    assert short.stats().life == 7200 + 120


def test_limits_can_be_raised_later(ended: Any) -> None:
    """As `accept=` does, when the sessions of another system are taken over; shorter ones change nothing."""
    ended.tell_limits(86400, 60)
    ended.tell_limits(86400 * 30, None)
    ended.start()

    assert ended.stats().life == 86400 * 30


# --- settings


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_stale": "4 seconds"}, "max_stale=4 is too short"),
        ({"max_stale": "soon"}, "max_stale='soon'"),
        ({"on_stale": "maybe"}, "on_stale='maybe'"),
        ({"key": "htk1_x"}, "not a Key"),
    ],
)
def test_wrong_settings(options: dict[str, Any], problem: str) -> None:
    """Are refused where they are given."""
    with pytest.raises(ConfigError, match=problem):
        EndedSessions.from_url("memory://", **options)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "must be text"),
        (None, "must be text"),
        ("kraken://user:hunter2@deep", "begins with 'kraken'"),
        ("hunter2", "has no scheme"),
    ],
)
def test_a_url_that_names_no_channel(url: Any, problem: str) -> None:
    """Is refused at once, and no password is shown."""
    with pytest.raises(ConfigError, match=problem) as error:
        EndedSessions.from_url(url)

    assert "hunter2" not in str(error.value)


def test_a_channel_is_opened_by_a_function() -> None:
    """An object of a channel would go over a fork."""
    with pytest.raises(ConfigError, match="from_url"):
        EndedSessions("memory://")  # type: ignore[arg-type]


def test_a_list_without_a_manager() -> None:
    """Says what is missing."""
    with pytest.raises(ConfigError, match="no manager yet"):
        EndedSessions.from_url("memory://").end_everything()


def test_a_list_without_a_key() -> None:
    """An engine of another system's format may have none."""
    with pytest.raises(ConfigError, match="needs a key"):
        EndedSessions.from_url("memory://").bind(None, "", 60, None)


def test_a_list_belongs_to_one_manager() -> None:
    """Binding it again the same way changes nothing; another purpose or key is another list."""
    ended = EndedSessions.from_url("memory://", max_stale=30)

    ended.bind(KEY, "shop", 60, None)
    ended.bind(Keyring(KEY), "shop", 60, None)

    assert ended.max_stale == 30
    for key, purpose in ((KEY, "forum"), (OTHER_KEY, "shop"), (Keyring(KEY, accept=[OTHER_KEY]), "shop")):
        with pytest.raises(ConfigError, match="another manager"):
            ended.bind(key, purpose, 60, None)


def test_a_command_tells_no_limits(make_list: Make, channel: MemoryChannel, purpose: str) -> None:
    """Nothing lives in it."""
    command = EndedSessions(lambda purpose: channel, key=KEY)
    command.bind(None, purpose, None, None)

    command.start()
    command.end_everything()
    command.close()

    assert limits(channel, purpose) == []


def test_what_is_no_id(ended: Any) -> None:
    """A text, or fewer than 8 bytes: the program is wrong, and must not believe that something ended."""
    for wrong in ("text", b"short"):
        with pytest.raises(ValueError, match="raw id"):
            ended.end_session(wrong)
    with pytest.raises(ValueError, match="kind"):
        ended.end_session(new_id(), "over")


def test_too_many_kept(ended: Any) -> None:
    """An entry has room for a thousand."""
    with pytest.raises(ValueError, match="1001 ids"):
        ended.end_subject("alice", keep=[new_id() for _ in range(1001)])


# --- the list of a process


def test_what_the_list_is_like(make_list: Make, channel: MemoryChannel) -> None:
    """How many entries, how old, and what waits."""
    ended = make_list(channel)
    assert ended.stats() == (0, 0, 0, None, 0, 0)
    ended.start()
    ended.end_session(new_id())
    ended.end_subject("alice", keep=new_id())
    ended.end_provider("op", "1")

    stats = ended.stats()

    assert (stats.sessions, stats.subjects, stats.providers, stats.waiting) == (1, 1, 1, 0)
    assert 0 <= stats.age < 2


def test_a_closed_list_can_be_used_again(make_list: Make, channel: MemoryChannel) -> None:
    """As a test client may do."""
    ended = make_list(channel)
    ended.close()
    handle = new_id()
    ended.end_session(handle)
    ended.start()
    ended.close()

    assert ended.ensure_fresh()
    assert ended.check(handle)


def test_a_listener_that_fails_stops_nothing(channel: MemoryChannel, make_list: Make, caplog: Any) -> None:
    """Its error is logged."""
    make_list(channel, idle=600, purpose="").start()

    def listen(event: Any) -> None:
        raise RuntimeError("out of paper")

    ended = EndedSessions(lambda purpose: channel, key=KEY)
    ended.bind(None, "", 86400, 7200, listen)

    ended.start()
    ended.close()

    assert "out of paper" in caplog.text


def test_a_listener_may_end_sessions(channel: MemoryChannel) -> None:
    """Whatever it is told of."""
    ended, handle = EndedSessions(lambda purpose: channel, key=KEY), new_id()
    ended.bind(None, "", None, None, lambda event: ended.end_session(handle))
    channel.append(lambda now: [b"nonsense"], None)

    ended.start(5)
    ended.close()

    assert ended.check(handle)


def test_events_are_logged_without_a_listener(channel: MemoryChannel, caplog: Any) -> None:
    """By the logger of the library."""
    channel.append(lambda now: [b"nonsense"], None)
    ended = EndedSessions(lambda purpose: channel, key=KEY)
    ended.bind(None, "", None, None)

    ended.start()
    ended.close()

    assert "1 entries of the list of ended sessions were not used (torn)" in caplog.text


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_async_twins(backend: str, make_list: Make, channel: MemoryChannel) -> None:
    """Do the same, in a worker thread."""
    ended, handle, told = make_list(channel), new_id(), Events()
    told.clear()

    async def run() -> None:
        assert await ended.aensure_fresh()
        await ended.astart()
        assert await ended.aensure_fresh()
        drawn = await ended.adraw_time(5)
        await ended.aend_session(handle, "changed", "alice", brief=True)
        await ended.aend_subject("bob", keep=handle)
        await ended.aend_provider("op", "1")
        assert ended.check(handle, "alice").kind == "changed"
        assert ended.check(new_id(), "bob", drawn=drawn).cause == "subject"
        assert ended.check(new_id(), drawn=drawn, sid=("op", "1")).cause == "provider"
        await ended.aend_everything()
        assert ended.check(new_id(), drawn=drawn).cause == "all"
        await ended.aclose()

    anyio.run(run, backend=backend)


def test_an_end_goes_on_after_a_cancellation(make_list: Make, channel: MemoryChannel) -> None:
    """The browser went away; the user is ended all the same."""
    ended = make_list(channel)
    ended.start()
    real = channel.append

    begun, cancelled = threading.Event(), threading.Event()

    def slow(make: Any, keep: Any) -> None:
        begun.set()
        cancelled.wait(30)
        real(make, keep)

    channel.append = slow  # type: ignore[method-assign]

    async def run() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ended.aend_subject, "alice")
            while not begun.is_set():
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    anyio.run(run)
    cancelled.set()

    eventually(lambda: ended.check(new_id(), "alice"))


def test_a_session_of_a_store_has_a_longer_id(ended: Any) -> None:
    """Its first 8 bytes count."""
    handle = new_id() + new_id()

    ended.end_session(handle)

    assert ended.check(handle)
    assert ended.check(handle[:8])


def test_a_sign_of_life_without_a_follower(make_list: Make) -> None:
    """A channel that cannot be opened at all is told like one that cannot be reached."""

    def fail(purpose: str) -> Any:
        raise StoreUnavailable("the Cluster is down")

    ended = EndedSessions(fail, key=KEY)
    ended.bind(None, "", 60, None)

    with pytest.raises(StoreUnavailable, match="the Cluster is down"):
        ended.ensure_fresh()
    assert ended.check(new_id()) is None
    with pytest.raises(StoreUnavailable):
        ended.draw_time()


def test_an_entry_ahead_of_the_channels_clock_is_not_used(ended: Any, channel: MemoryChannel, purpose: str) -> None:
    """It would end logins that have not happened yet; a minute is allowed for."""
    codec, near, far = Codec(Keyring(KEY), purpose), new_id(), new_id()
    now = channel.read("", 0).now

    channel.append(
        lambda now: [codec.seal(All(now + 61 * SECOND)), codec.seal(Session(now + 61 * SECOND, far[:8]))], None
    )
    channel.append(lambda now: [codec.seal(Session(now + 58 * SECOND, near[:8]))], None)

    eventually(lambda: ended.check(near))
    assert ended.check(far) is None
    assert ended.check(new_id(), drawn=now) is None
    assert ended.told.of(EntriesSkipped) == [EntriesSkipped("ahead", 2)]
