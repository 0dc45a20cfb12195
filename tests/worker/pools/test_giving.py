"""Keys given to recipients: the very ones, so many, or none (K7)."""

import io

import pytest
from sqlalchemy import text

from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.pools import batches, distributions, keys, pools, retiring


def give(world: World, recipient: str = "ann@example.org", **given: object) -> dict:
    return dict(
        distributions.distribute(
            world.session, actor=OPERATOR, pool=world.pool, recipient=recipient, **given
        )
    )


def give_file(world: World, *lines: str, **given: object) -> dict:
    stream = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    return dict(
        distributions.distribute_file(
            world.session, actor=OPERATOR, pool=world.pool, stream=stream, **given
        )
    )


def merged(world: World, *ids: str) -> list[str]:
    blocks = distributions.mail_merge(
        world.session, actor=OPERATOR, pool=world.pool, distributions=list(ids)
    )
    return b"".join(blocks).decode().splitlines()[1:]


# The very key


def test_a_file_names_the_very_key_for_each(world):
    made = world.keys(4)

    given = give_file(
        world,
        "email,code,reference",
        f"ann@example.org,{made[3].lower()},B-1",
        f"bob@example.org,{made[1]},",
        f"ann@example.org,{made[0]},B-1",
    )

    assert [(item["recipient"], item["keys"]) for item in given["items"]] == [
        ("ann@example.org", [made[0], made[3]]),
        ("bob@example.org", [made[1]]),
    ]


def test_the_same_file_again_gives_the_same_keys(world):
    made = world.keys(2)
    lines = ["email,code", f"ann@example.org,{made[1]}"]

    first, again = give_file(world, *lines), give_file(world, *lines)

    assert again["items"][0]["keys"] == first["items"][0]["keys"] == [made[1]]
    assert [given["items"][0]["repeated"] for given in (first, again)] == [False, True]


def test_what_cannot_be_given_of_named_keys_is_told_of_all_rows_at_once(world):
    made = world.keys(4)
    give_file(world, "email,code", f"eve@example.org,{made[0]}")
    retiring.retire(world.session, actor=OPERATOR, codes=[made[1]])

    with pytest.raises(errors.InvalidInputError) as refused:
        give_file(
            world,
            "email,code",
            f"ann@example.org,{made[0]}",
            f"bob@example.org,{made[1]}",
            "carl@example.org,NO-SUCH-KEY-1",
            f"dora@example.org,{made[2]}",
        )

    assert [line for line, _ in refused.value.rows] == [2, 3, 4]
    reasons = [reason for _, reason in refused.value.rows]
    assert "handed to somebody else" in reasons[0]
    assert "retired already" in reasons[1]
    assert "no such key" in reasons[2]


def test_a_generated_key_is_given_though_letters_were_read_for_digits(world):
    batches.generate(world.session, actor=OPERATOR, pool=world.pool, count=50)
    while batches.work_chunk(world.session) is not None:
        pass
    page = keys.listing(world.session, actor=OPERATOR, pool=world.pool)
    code = next(key["code"] for key in page.items if {"0", "1"} & set(key["code"]))
    misread = code.replace("0", "O").replace("1", "I")

    given = give_file(world, "email,code,labels", f"ann@example.org,{misread},autumn")

    [held] = keys.listing(
        world.session, actor=OPERATOR, pool=world.pool, filters=keys.Filters("ann@example.org")
    ).items
    assert given["items"][0]["keys"] == [code]
    assert held["labels"] == ["autumn"]
    with pytest.raises(errors.InvalidInputError) as refused:
        give_file(world, "email,code", f"bob@example.org,{code}", f"eve@example.org,{misread}")
    assert [line for line, _ in refused.value.rows] == [2, 3]
    assert "An earlier row has the same key." in refused.value.rows[1][1]


def test_a_row_that_names_a_key_and_asks_for_several_is_refused(world):
    [made] = world.keys(1)

    with pytest.raises(errors.InvalidInputError, match="names one key and asks for 3"):
        give_file(world, "email,code,count", f"ann@example.org,{made},3")


def test_rows_that_name_a_key_each_may_say_that_it_is_one(world):
    made = world.keys(3)

    given = give_file(
        world,
        "email,code,count",
        f"ann@example.org,{made[2]},1",
        f"ann@example.org,{made[1]},1",
    )

    assert [item["keys"] for item in given["items"]] == [[made[1], made[2]]]


def test_a_count_beside_a_very_key_of_the_same_recipient_is_not_lost(world):
    made = world.keys(6)

    with pytest.raises(errors.InvalidInputError) as refused:
        give_file(world, "email,code,count", f"ann@example.org,{made[5]},", "ann@example.org,,4")

    assert refused.value.rows == [(3, "It has the same recipient and reference as line 2.")]


# Asked again


def test_without_a_count_the_same_keys_come_again_however_many(world):
    world.keys(5)
    first = give(world, count=3)

    again = give(world)

    assert (again["keys"], again["repeated"]) == (first["keys"], True)


def test_another_count_is_refused_and_says_what_was_given(world):
    world.keys(9)
    give(world, count=3, reference="B-1")

    with pytest.raises(errors.AskedOtherwiseError, match=r"was given 3 keys .* and not 5"):
        give(world, count=5, reference="B-1")

    assert give(world, count=5, reference="B-2")["given"] == 5


def test_another_count_in_a_file_is_refused_with_its_row(world):
    world.keys(9)
    give(world, count=3)

    with pytest.raises(errors.AskedOtherwiseError, match=r"Line 3: ann@example\.org was given 3"):
        give_file(world, "email,count", "bob@example.org,1", "ann@example.org,4")


def test_a_recalled_recipient_is_named_with_the_row(world):
    world.keys(9)
    give(world)
    distributions.recall(
        world.session, actor=OPERATOR, pool=world.pool, recipient="ann@example.org"
    )

    with pytest.raises(errors.DistributionRecalledError, match=r"Line 3: What ann@example\.org"):
        give_file(world, "email", "bob@example.org", "ann@example.org")


def test_retired_keys_are_told_apart_and_not_passed_on(world):
    world.keys(3)
    first = give(world, count=3)
    retiring.retire(world.session, actor=OPERATOR, codes=first["keys"][:1])

    again = give(world, count=3)

    assert again["keys"] == first["keys"][1:]
    assert again["retired_keys"] == first["keys"][:1]
    assert [line.rpartition(",")[2] for line in merged(world, again["id"])] == first["keys"][1:]


# The pool


def test_a_pool_that_is_over_gives_none(world):
    world.keys(2)
    pass_time(world.session, days=100 * 365)

    with pytest.raises(errors.PoolOverError):
        give(world)


def test_a_paused_pool_gives_and_says_so(world):
    world.keys(2)
    pools.pause(world.session, actor=OPERATOR, pool=world.pool)

    given = give(world)

    assert len(given["keys"]) == 1
    assert "paused" in given["note"]
    assert "paused" in give_file(world, "email", "bob@example.org")["note"]


def test_a_pool_that_has_not_begun_gives_and_says_from_when_its_keys_work(world):
    world.keys(1)
    world.session.execute(
        text("UPDATE pool SET starts_at = '2098-12-01T00:00Z', expires_at = '2099-01-01T00:00Z'")
    )
    world.session.expire_all()

    assert "work from 2098-12-01 on" in give(world)["note"]


def test_a_pool_whose_keys_work_says_nothing(world):
    world.keys(1)

    assert give(world)["note"] is None


# Dry runs


def test_a_dry_run_gives_nothing_and_says_what_it_would(world):
    world.keys(3)

    tried = give_file(world, "email,count", "ann@example.org,2", dry_run=True)

    assert [(item["given"], item["keys"]) for item in tried["items"]] == [(2, [])]
    assert world.figures("SELECT count(*) AS n FROM distribution").n == 0
    assert world.figures("SELECT count(distribution_id) AS n FROM key").n == 0
    assert give_file(world, "email,count", "ann@example.org,2")["given"] == 2


def test_a_dry_run_refuses_what_would_be_refused(world):
    world.keys(1)

    with pytest.raises(errors.NotEnoughKeysError):
        give(world, count=2, dry_run=True)
