"""What the tasks of a run share is made once, and anew for another connection."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from time import sleep

import pytest

from etcdfleet.errors import VaultError
from etcdfleet.session import Session


def test_what_is_kept_is_made_once_for_each_key_and_owner() -> None:
    session, numbers, first, second = Session(), count(), object(), object()

    def made() -> int:
        return next(numbers)

    assert [session.keep("a", made), session.keep("a", made), session.keep("b", made)] == [0, 0, 1]
    assert [session.keep("c", made, of=owner) for owner in (first, first, second, second)] == [2, 2, 3, 3]


def test_what_is_made_may_itself_keep_something_and_threads_wait_for_it() -> None:
    session, numbers = Session(), count()

    def made() -> int:
        sleep(0.01)
        return session.keep("inner", lambda: next(numbers))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: session.keep("outer", made), range(8))) == {0}
    assert next(numbers) == 1


def test_what_could_not_be_made_is_tried_again() -> None:
    session = Session()

    def fails() -> str:
        raise VaultError("there is no address")

    with pytest.raises(VaultError):
        session.keep("vault", fails)
    assert session.keep("vault", lambda: "reached") == "reached"
