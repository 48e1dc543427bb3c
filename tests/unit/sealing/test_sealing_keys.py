from __future__ import annotations

import pytest

from spincycle.sealing.sealing_keys import (
    Damaged,
    KeyMissing,
    Place,
    SealingKeys,
    is_sealed,
    key_id,
)
from spincycle.sealing.secret_sealer import SecretSealer

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
PLACE = Place("table.column", "r1")
DATA = b"\x0a\x02r1 with a password"

KEYS = SealingKeys({"old": OLD, "new": NEW})


def test_data_are_opened_where_they_were_sealed_and_show_nothing_but_their_key() -> None:
    sealed = KEYS.seal(PLACE, DATA)

    assert KEYS.open(PLACE, sealed) == DATA
    assert (is_sealed(sealed), key_id(sealed)) == (True, "old")
    assert b"password" not in sealed
    assert not is_sealed(DATA)


def test_the_same_data_are_never_sealed_alike() -> None:
    assert KEYS.seal(PLACE, DATA) != KEYS.seal(PLACE, DATA)


def test_empty_data_can_be_sealed() -> None:
    assert KEYS.open(PLACE, KEYS.seal(PLACE, b"")) == b""


@pytest.mark.parametrize(
    "other",
    [Place("table.column", "r2"), Place("table.other", "r1"), Place("table.columnr1", "")],
    ids=str,
)
def test_data_that_are_moved_to_another_place_are_damaged(other: Place) -> None:
    with pytest.raises(Damaged, match=r'under the key "old".*another request'):
        KEYS.open(other, KEYS.seal(PLACE, DATA))


def test_a_changed_byte_anywhere_is_noticed() -> None:
    sealed = KEYS.seal(PLACE, DATA)

    for place in range(2, len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises((Damaged, KeyMissing)):
            KEYS.open(PLACE, bytes(changed))


def test_data_that_are_cut_off_anywhere_are_damaged() -> None:
    sealed = KEYS.seal(PLACE, DATA)

    for length in range(2, len(sealed)):
        with pytest.raises((Damaged, KeyMissing)):
            KEYS.open(PLACE, sealed[:length])


def test_all_keys_open_and_the_first_one_seals() -> None:
    sealed = KEYS.seal(PLACE, DATA)
    turned = SealingKeys({"new": NEW, "old": OLD})

    assert turned.open(PLACE, sealed) == DATA
    assert key_id(turned.seal(PLACE, DATA)) == "new"


def test_data_are_bound_to_the_id_of_their_key() -> None:
    same = SealingKeys({"one": OLD, "two": OLD})

    with pytest.raises(Damaged):
        same.open(PLACE, same.seal(PLACE, DATA).replace(b"one", b"two", 1))


def test_a_missing_key_is_named() -> None:
    with pytest.raises(KeyMissing, match=r'under the key "old", which the file.*restore the key'):
        SealingKeys({"new": NEW}).open(PLACE, KEYS.seal(PLACE, DATA))


def test_another_key_of_the_same_id_does_not_open() -> None:
    with pytest.raises(Damaged, match="another key of that id"):
        SealingKeys({"old": NEW}).open(PLACE, KEYS.seal(PLACE, DATA))


def test_a_sealer_without_keys_stores_in_clear_and_names_the_key_that_it_lacks() -> None:
    sealer = SecretSealer(None, plaintext=False)

    assert not sealer.accepts_secrets
    stored = sealer.seal(PLACE, DATA)
    assert (stored.data, stored.sealed_under) == (DATA, "")
    with pytest.raises(KeyMissing, match=r'the key "old", and secrets\.key_file is not set'):
        sealer.open(PLACE, KEYS.seal(PLACE, DATA))
    assert sealer.unreadable == 1


def test_a_sealer_with_plaintext_reads_what_is_sealed_and_seals_nothing() -> None:
    sealer = SecretSealer(lambda: KEYS, plaintext=True)

    assert sealer.accepts_secrets
    assert sealer.seal(PLACE, DATA).data == DATA
    assert sealer.open(PLACE, KEYS.seal(PLACE, DATA)) == DATA
    assert sealer.open(PLACE, DATA) == DATA
