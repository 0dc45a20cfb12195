"""Labels of keys: from a batch, a row or a distribution, into filters, figures and exports (K12)."""

import csv
import io
import random

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from sqlalchemy import text

from tests.world import OPERATOR, World
from worker import errors
from worker.database import connections
from worker.pools import (
    batches,
    distributions,
    exporting,
    keys,
    labels,
    pools,
    replacing,
    retiring,
    tallies,
)
from worker.pools.keys import Filters
from worker.pools.reading import ReadAs
from worker.redemption import attempts, deciding
from worker.tenancy import history


def import_(world: World, *lines: str, read_as: ReadAs | None = None) -> dict:
    stream = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    given = {"actor": OPERATOR, "pool": world.pool, "stream": stream}
    return dict(keys.import_keys(world.session, read_as=read_as or ReadAs(), **given))


def hand_out(world: World, *lines: str, **given: object) -> dict:
    stream = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    given |= {"actor": OPERATOR, "pool": world.pool, "stream": stream}
    return dict(distributions.distribute_file(world.session, **given))


def labelled(world: World, **filters: object) -> dict[str, list[str]]:
    listed = keys.listing(
        world.session, actor=OPERATOR, pool=world.pool, filters=Filters(**filters)
    )
    return {key["code"]: key["labels"] for key in listed.items}


def work(world: World) -> None:
    while batches.work_chunk(world.session) is not None:
        pass


def figures(world: World) -> dict[str, tuple[int, ...]]:
    told = pools.by_label(world.session, actor=OPERATOR, pool=world.pool).items
    return {row["label"]: tuple(row[name] for name in pools.FIGURES) for row in told}


# What a label is


def test_labels_are_split_at_commas_and_their_like_and_stand_once():
    assert labels.split("vip, Herbst  2026;vip|ｔｒｉａｌ", " b\u200b ") == [
        "vip",
        "Herbst 2026",
        "trial",
        "b",
    ]
    assert labels.split("") == labels.split(" ;, ") == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([f"label {n}" for n in range(11)], "It has 11 labels; a key has up to 10."),
        (["x" * 51], "is longer than 50 characters."),
        (["a\x07"], "A label has a character that cannot be printed."),
    ],
)
def test_labels_that_are_no_few_words_are_refused(given, why):
    with pytest.raises(errors.InvalidInputError) as refused:
        labels.checked(given)

    assert str(refused.value).endswith(why)
    assert refused.value.field == "labels"


@drawn(st.lists(st.text(max_size=12), max_size=4))
def test_what_is_joined_is_split_into_the_same(given):
    words = labels.split(*given)

    assert labels.split(labels.joined(words)) == words


# Where they come from


def test_keys_that_are_added_get_the_labels_of_all(world):
    read_as = ReadAs.of(labels=["vip, autumn", "vip"])

    keys.add_keys(
        world.session, actor=OPERATOR, pool=world.pool, codes=["AAAA-0001"], read_as=read_as
    )

    assert labelled(world) == {"AAAA-0001": ["vip", "autumn"]}
    [act] = history.listing(world.session, actor=OPERATOR, limit=1).items
    assert act["detail"] == {"count": 1, "labels": ["vip", "autumn"]}


def test_a_key_without_labels_has_none(world):
    import_(world, "AAAA-0001")

    assert labelled(world) == {"AAAA-0001": []}
    assert world.figures("SELECT labels FROM key").labels is None


@pytest.mark.parametrize("at_once", [500, 1])
def test_a_row_says_the_labels_of_its_keys_beside_those_of_all(world, monkeypatch, at_once):
    monkeypatch.setattr(keys, "AT_ONCE", at_once)

    import_(
        world,
        "code;email;Etiketten",
        'AAAA-0001;ann@example.org;"gold, Berlin"',
        "AAAA-0002;;gold",
        "AAAA-0003;;",
        read_as=ReadAs.of(labels=["autumn"]),
    )
    work(world)

    assert labelled(world) == {
        "AAAA-0001": ["autumn", "gold", "Berlin"],
        "AAAA-0002": ["autumn", "gold"],
        "AAAA-0003": ["autumn"],
    }
    assert labelled(world, recipient="ann@example.org").keys() == {"AAAA-0001"}


def test_a_row_with_too_many_labels_is_refused_and_the_others_are_added(world):
    many = "|".join(f"label {n}" for n in range(10))

    report = import_(
        world,
        "code,labels",
        "AAAA-0001,gold",
        f"AAAA-0002,{many}",
        read_as=ReadAs.of(labels=["autumn"]),
    )

    assert (report["added"], report["invalid"]) == (1, 1)
    [refused] = report["refused"]
    assert (refused["line"], refused["reason"]) == (3, "It has 11 labels; a key has up to 10.")


@pytest.mark.parametrize("words", [[], ["autumn", 'the "best"', "back\\slash", "{x}"]])
def test_plain_lines_and_generated_keys_of_a_batch_get_its_labels(world, monkeypatch, words):
    monkeypatch.setattr(keys, "AT_ONCE", 1)

    import_(world, "AAAA-0001", "AAAA-0002", read_as=ReadAs.of(labels=words))
    made = batches.generate(world.session, actor=OPERATOR, pool=world.pool, count=2, labels=words)
    work(world)

    assert list(labelled(world).values()) == [words] * 4
    assert made["labels"] == words


def test_a_distribution_labels_what_it_gives_and_gave(world):
    world.keys(3)
    given = {"actor": OPERATOR, "pool": world.pool, "recipient": "ann@example.org"}

    for words in (["gold"], ["Berlin", "gold"]):
        distributions.distribute(world.session, count=2, labels=words, **given)

    assert list(labelled(world).values()) == [["gold", "Berlin"], ["gold", "Berlin"], []]


def test_a_row_of_recipients_labels_its_keys_and_the_very_key_alone(world):
    made = world.keys(4)

    hand_out(
        world,
        "email,code,tags",
        f"ann@example.org,{made[3]},gold",
        f"ann@example.org,{made[2]},silver",
        f"bob@example.org,{made[0]},",
        read_as=ReadAs.of(labels=["course 7"]),
    )

    assert labelled(world) == {
        made[0]: ["course 7"],
        made[1]: [],
        made[2]: ["course 7", "silver"],
        made[3]: ["course 7", "gold"],
    }


def test_a_dry_run_labels_nothing(world):
    world.keys(1)

    hand_out(world, "email,labels", "ann@example.org,gold", dry_run=True)

    assert list(labelled(world).values()) == [[]]


def test_a_distribution_that_makes_too_many_labels_is_refused_in_a_sentence(world):
    world.keys(1)
    given = {"actor": OPERATOR, "pool": world.pool, "recipient": "ann@example.org"}
    distributions.distribute(world.session, labels=[f"label {n}" for n in range(10)], **given)

    with pytest.raises(errors.InvalidInputError, match="up to 10 labels"):
        distributions.distribute(world.session, labels=["more"], **given)


def test_a_key_that_takes_anothers_place_takes_its_labels(world):
    [old, _] = world.keys(2)
    given = {"actor": OPERATOR, "pool": world.pool, "recipient": "ann@example.org"}
    distributions.distribute(world.session, labels=["gold"], **given)

    new = replacing.replace(world.session, actor=OPERATOR, code=old, reason="lost")

    assert new["labels"] == ["gold"]


# Where they go


def test_a_list_is_filtered_by_a_label(world):
    import_(world, "code,labels", "AAAA-0001,gold", "AAAA-0002,old gold", "AAAA-0003,")

    assert labelled(world, label=" gold ") == {"AAAA-0001": ["gold"]}
    assert labelled(world, label="old gold").keys() == {"AAAA-0002"}
    assert labelled(world, label="gold, old gold") == {}
    assert labelled(world, label="Gold") == {}


def test_attempts_are_filtered_by_a_label_of_their_key(world):
    import_(world, "code,labels", "AAAA-0001,gold", "AAAA-0002,gold; old", "AAAA-0003,")
    typed = ["AAAA-0001", "aaaa 0002", "AAAA-0003", "UNKNOWN-01"]
    events = [world.request(code, f"{n}@example.org") for n, code in enumerate(typed)]
    deciding.settle(world.session, event_ids=events)

    def attempted(label: str) -> list[str | None]:
        filters = attempts.Filters(label=label)
        listed = attempts.listing(world.session, actor=OPERATOR, filters=filters)
        return [attempt["key"] for attempt in listed.items]

    assert attempted("gold") == ["AAAA-0002", "AAAA-0001"]
    assert attempted("gold, old") == ["AAAA-0002"]
    assert attempted("silver") == []


def test_an_export_has_labels_where_they_are_asked_for(committed):
    with connections.session() as session:
        stream = io.BytesIO(b"code,labels\nAAAA-0001,=gold; b\nAAAA-0002,\n")
        given = {"actor": OPERATOR, "pool": committed.pool}
        keys.import_keys(session, stream=stream, **given)
    with connections.session(snapshot=True) as session:
        chosen = Filters(label="b")
        with_labels, plain = (
            b"".join(exporting.export(session, filters=chosen, labels=asked, **given)).decode()
            for asked in (True, False)
        )

    [row] = csv.DictReader(io.StringIO(with_labels))
    assert row["labels"] == "'=gold, b"
    assert with_labels.splitlines()[0] == f"{exporting.HEADER.strip()},labels"
    assert plain.splitlines() == [exporting.HEADER.strip(), f"AAAA-0001,issued{',' * 8}"]


# Figures


def counted(world: World) -> dict[str, tuple[int, ...]]:
    rows = world.session.execute(
        text("""
            SELECT label, count(*) FILTER (WHERE state = 'issued'),
                   count(*) FILTER (WHERE state = 'issued' AND distribution_id IS NOT NULL),
                   count(*) FILTER (WHERE state = 'redeemed'),
                   count(*) FILTER (WHERE state = 'retired')
              FROM key, unnest(labels) AS label WHERE pool_id = :pool GROUP BY label"""),
        {"pool": int(world.pool)},
    )
    return {row[0]: tuple(row[1:]) for row in rows}


CHANGES = (
    "state = 'redeemed'",
    "state = 'retired'",
    "state = 'issued'",
    "distribution_id = (SELECT min(id) FROM distribution)",
    "distribution_id = NULL",
    "labels = labels_together(labels, '{gold}')",
    "labels = '{silver}'",
    "labels = NULL",
)


@pytest.mark.parametrize("seed", range(3))
def test_figures_by_label_are_what_a_recount_gives_however_they_are_folded(world, seed):
    chance = random.Random(seed)  # noqa: S311  # repeatable, not secret
    import_(world, "code,email,labels", *(
        f"AAAA-{n:04},{'a@example.org' * (n % 3 == 0)},{'gold;b' * (n % 2)}" for n in range(40)
    ))  # fmt: skip

    for _ in range(15):
        change = f"UPDATE key SET {chance.choice(CHANGES)} WHERE id % :share = 0"
        world.session.execute(text(change), {"share": chance.randint(1, 4)})
        if chance.random() < 0.4:
            tallies.fold(world.session)

        assert figures(world) == counted(world)

    rows = "SELECT count(*) FROM label_tally"
    tallies.fold(world.session)
    assert world.figures(rows).count <= len(figures(world)) + 1


def test_keys_without_labels_have_no_figures_by_label(world):
    codes = world.keys(10)
    retiring.retire(world.session, actor=OPERATOR, codes=codes[:5])

    assert world.figures("SELECT count(*) FROM label_tally").count == 0


def test_a_redeemed_key_is_counted_under_its_labels(world):
    import_(world, "code,labels", "AAAA-0001,gold, b", "AAAA-0002,gold")
    event = world.request("AAAA-0001", "ann@example.org")
    deciding.settle(world.session, event_ids=[event])

    assert figures(world) == {"gold": (1, 0, 1, 0)}
