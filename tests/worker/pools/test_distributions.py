import io
import threading

import pytest

from tests.world import OPERATOR, World
from worker import errors
from worker.database import connections
from worker.pools import distributions, pools, retiring, tallies
from worker.pools.distributions import Filters
from worker.redemption import deciding
from worker.tenancy.actors import Actor, Role

MANY = tallies.FEW + 1


def give(world: World, recipient: str = "shop@example.com", **options) -> dict:
    return distributions.distribute(
        world.session, actor=OPERATOR, pool=world.pool, recipient=recipient, **options
    )


def give_file(world: World, content: str) -> dict:
    stream = io.BytesIO(content.encode())
    return distributions.distribute_file(
        world.session, actor=OPERATOR, pool=world.pool, stream=stream
    )


def recall(world: World, recipient: str = "shop@example.com", reference: str = "") -> dict:
    return distributions.recall(
        world.session,
        actor=OPERATOR,
        pool=world.pool,
        recipient=recipient,
        reference=reference,
    )


def redeem(world: World, code: str, email: str) -> None:
    world.request(code, email)
    waiting = world.figures("SELECT array_agg(id) AS ids FROM event WHERE status = 'recorded'").ids
    deciding.settle(world.session, event_ids=waiting)


def distributed(world: World) -> int:
    return pools.show(world.session, actor=OPERATOR, pool=world.pool)["keys"]["distributed"]


# To one recipient


def test_a_recipient_gets_the_next_keys_that_nobody_holds(world):
    made = world.keys(5)

    first, second = give(world, "a@example.com", count=2), give(world, "b@example.com", count=2)

    assert [first["keys"], second["keys"]] == [made[:2], made[2:4]]
    assert distributed(world) == 4


def test_one_key_is_given_where_no_count_is(world):
    world.keys(2)

    assert give(world)["given"] == 1


@pytest.mark.parametrize("again", ["shop@example.com", " SHOP@Example.com "])
def test_the_same_recipient_and_reference_again_gives_the_same_keys(world, again):
    world.keys(9)
    first = give(world, count=3, reference="A-17")

    second = give(world, again, count=3, reference="A-17")

    assert second["keys"] == first["keys"]
    assert (first["repeated"], second["repeated"]) == (False, True)
    assert distributed(world) == 3


def test_another_reference_is_another_distribution(world):
    world.keys(9)
    first = give(world, count=3, reference="A-17")

    second = give(world, count=3, reference="A-18")

    assert set(first["keys"]).isdisjoint(second["keys"])


def test_a_reseller_sees_how_many_of_an_order_are_redeemed(world):
    world.keys(9)
    held = give(world, count=5, reference="A-17")["keys"]
    for number, code in enumerate(held[:3]):
        redeem(world, code, f"ann{number}@example.org")

    (shown,) = distributions.listing(
        world.session, actor=OPERATOR, pool=world.pool, filters=Filters(reference="A-17")
    ).items

    assert (shown["given"], shown["redeemed"]) == (5, 3)


def test_a_redeemed_or_retired_key_is_never_handed_out(world):
    spent, retired, left = world.keys(3)
    redeem(world, spent, "ann@example.org")
    retiring.retire(world.session, actor=OPERATOR, codes=[retired])

    assert give(world)["keys"] == [left]


def test_more_than_there_are_is_refused_and_none_is_given(committed):
    with pytest.raises(errors.NotEnoughKeysError, match=r"101 keys were requested.*has 100"):
        connections.transaction(
            distributions.distribute,
            actor=OPERATOR,
            pool=committed.pool,
            recipient="a@example.com",
            count=101,
        )

    with connections.session() as opened:
        page = distributions.listing(opened, actor=OPERATOR, pool=committed.pool)
        shown = pools.show(opened, actor=OPERATOR, pool=committed.pool)
    assert (page.items, shown["keys"]["distributed"]) == ([], 0)


@pytest.mark.parametrize("count", [0, -1, 10**12, True, 1.5])
def test_an_absurd_count_is_refused(world, count):
    with pytest.raises(errors.InvalidInputError, match="cannot be distributed"):
        give(world, count=count)


@pytest.mark.parametrize("recipient", ["", "  ", "a\0b", "x" * 321, "two\nlines"])
def test_a_recipient_that_cannot_be_kept_is_refused(world, recipient):
    with pytest.raises(errors.InvalidInputError):
        give(world, recipient)


def test_a_foreign_pool_is_not_found(world):
    stranger = Actor("stranger", Role.MANAGER, world.sibling)

    with pytest.raises(errors.NotFoundError):
        distributions.distribute(
            world.session, actor=stranger, pool=world.pool, recipient="a@example.com"
        )


def test_however_many_distribute_at_once_no_key_is_handed_out_twice(committed):
    handed_out: list[list[str]] = []

    def distributing(name: str) -> None:
        for number in range(5):
            given = connections.transaction(
                distributions.distribute,
                actor=OPERATOR,
                pool=committed.pool,
                recipient=name,
                reference=f"O-{number}",
                count=5,
            )
            handed_out.append(given["keys"])

    racers = [threading.Thread(target=distributing, args=[f"r{n}@example.com"]) for n in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    codes = [code for held in handed_out for code in held]
    assert (len(codes), len(set(codes))) == (100, 100)


def test_the_same_order_sent_twice_at_once_is_one_distribution(committed):
    answers: list[list[str]] = []

    def ordering() -> None:
        given = connections.transaction(
            distributions.distribute,
            actor=OPERATOR,
            pool=committed.pool,
            recipient="shop@example.com",
            reference="A-17",
            count=7,
        )
        answers.append(given["keys"])

    racers = [threading.Thread(target=ordering) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert len({tuple(answer) for answer in answers}) == 1
    assert len(answers[0]) == 7


# To a file of recipients


def test_a_files_recipients_get_their_keys_in_its_order(world):
    made = world.keys(9)

    answer = give_file(
        world, "email,name,count,reference\na@example.com,Ann,2,O-1\nb@example.com,,,O-1\n"
    )

    assert (answer["recipients"], answer["given"]) == (2, 3)
    assert [(i["recipient"], i["name"], i["keys"]) for i in answer["items"]] == [
        ("a@example.com", "Ann", made[:2]),
        ("b@example.com", "", made[2:3]),
    ]


def test_a_file_again_gives_the_same_keys(world):
    world.keys(9)
    content = "email,count\na@example.com,2\nb@example.com,1\n"
    first = give_file(world, content)

    second = give_file(world, content + "c@example.com,1\n")

    assert [i["keys"] for i in second["items"][:2]] == [i["keys"] for i in first["items"]]
    assert [i["repeated"] for i in second["items"]] == [True, True, False]


def test_a_recipient_who_is_twice_in_a_file_under_one_reference_is_told_with_both_lines(world):
    world.keys(9)

    with pytest.raises(errors.InvalidInputError, match=r"Line 3: .* as line 2"):
        give_file(world, "email,reference\na@example.com,O-1\nA@example.com,O-1\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("b@example.com,x", "“x” is not a count"),
        ("b@example.com,0", "“0” is not a count"),
        ("b@example.com,-3", "“-3” is not a count"),
        ("b@example.com,1000000000000", "is not a count"),
        (",2", "There is no recipient"),
        ("a@example.com,3", "It has the same recipient and reference as line 2"),
    ],
)
def test_a_bad_line_is_told_by_its_number_and_nobody_gets_a_key(committed, line, reason):
    content = f"email,count\na@example.com,1\n{line}\n".encode()

    with pytest.raises(errors.InvalidInputError, match=f"Line 3: .*{reason}") as refused:
        connections.transaction(
            distributions.distribute_file,
            actor=OPERATOR,
            pool=committed.pool,
            stream=io.BytesIO(content),
        )

    assert refused.value.line == 3
    with connections.session() as opened:
        shown = pools.show(opened, actor=OPERATOR, pool=committed.pool)
    assert shown["keys"]["distributed"] == 0


def test_a_file_without_a_header_is_refused(world):
    with pytest.raises(errors.InvalidInputError, match="begin with email,name,count,reference"):
        give_file(world, "a@example.com,1\nb@example.com,2\n")


def test_what_was_given_is_exported_to_be_merged_into_mail(world):
    made = world.keys(9)
    answer = give_file(world, "email,name,count\na@example.com,=Ann,2\nb@example.com,Bob,1\n")

    ids = [item["id"] for item in answer["items"]]
    merged = b"".join(
        distributions.mail_merge(world.session, actor=OPERATOR, pool=world.pool, distributions=ids)
    )

    assert merged.decode().splitlines() == [
        "email,name,reference,code",
        f'a@example.com,"\'=Ann",,{made[0]}',
        f'a@example.com,"\'=Ann",,{made[1]}',
        f"b@example.com,Bob,,{made[2]}",
    ]


# Recalling


def test_a_recall_retires_what_is_unredeemed(world):
    world.keys(9)
    held = give(world, count=3, reference="A-17")["keys"]
    redeem(world, held[0], "ann@example.org")

    answer = recall(world, "SHOP@example.com", "A-17")

    assert (answer["recalled"], answer["redeemed"], answer["retired"]) == (2, 1, 2)
    assert answer["recalled_at"] is not None


def test_a_recall_again_changes_nothing(world):
    world.keys(9)
    give(world)
    first = recall(world)

    second = recall(world)

    assert (second["recalled"], second["recalled_at"]) == (0, first["recalled_at"])


def test_what_was_recalled_is_not_handed_out_again(world):
    world.keys(9)
    give(world, reference="A-17")
    recall(world, reference="A-17")

    with pytest.raises(errors.DistributionRecalledError, match="use another reference"):
        give(world, reference="A-17")


def test_recalling_what_was_never_distributed_is_not_found(world):
    with pytest.raises(errors.NotFoundError, match="Nothing was distributed to"):
        recall(world, "a@example.com")
