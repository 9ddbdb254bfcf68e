"""Ids are UUIDs of version 7: RFC 9562, section 5.7."""

import time
import uuid

import pytest

from aftercall.domain.ids import new_id


def milliseconds_in(id_: uuid.UUID) -> int:
    return id_.int >> 80


def test_an_id_is_a_uuid_of_version_7() -> None:
    for _ in range(200):
        id_ = new_id()
        assert id_.version == 7
        assert id_.variant == uuid.RFC_4122


def test_an_id_begins_with_the_time_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    id_ = new_id()
    after = time.time_ns() // 1_000_000
    assert before <= milliseconds_in(id_) <= after


def test_ten_thousand_ids_are_ten_thousand() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_ids_sort_by_the_millisecond_in_which_they_were_made() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert milliseconds_in(ids[-1]) > milliseconds_in(ids[0])
    assert [milliseconds_in(id_) for id_ in sorted(ids)] == [milliseconds_in(id_) for id_ in ids]
    # As text they sort alike: so PostgreSQL, the API's cursor and a person see the same order.
    assert sorted(ids) == sorted(ids, key=str)


def test_what_is_made_one_after_the_other_sorts_so_within_a_millisecond_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter(range(1_796_000_000_000_000_000, 1_796_000_000_002_000_000, 250))
    monkeypatch.setattr(time, "time_ns", lambda: next(ticks))
    ids = [new_id() for _ in range(8_000)]
    assert {milliseconds_in(id_) for id_ in ids} == {1_796_000_000_000, 1_796_000_000_001}
    assert ids == sorted(ids)


def test_all_the_bits_that_are_not_prescribed_vary() -> None:
    together, apart = 0, (1 << 128) - 1
    for _ in range(3_000):
        together |= new_id().int
        apart &= new_id().int
    prescribed = (0xF << 76) | (0x3 << 62)
    random_bits = ((1 << 80) - 1) & ~prescribed
    assert together & random_bits == random_bits
    assert apart & random_bits == 0
