"""An error names the flag or the argument that carried the bad value, whatever is wrong with it."""

import dataclasses
import re
import shlex

import pytest
import rich_click as click
from sqlalchemy import text

from tests.worker.cli.test_frame import commands
from worker import cli
from worker.cli import flags, frame, options
from worker.database import connections as databases
from worker.redemption import deciding

# A value that is no such thing, unknown, out of its bounds, or taken already; and what names it.
WRONG = """
--parent               organizations add New --parent nobody
--time-zone            organizations add New --time-zone Mars/Base
--currency             organizations add New --currency EURO
--tax-rate             organizations add New --tax-rate lots
--tax-rate             organizations edit {parent} --tax-rate x
--tax-from             organizations edit {parent} --tax-from 2020-13-01 --tax-rate 3
--country              organizations edit {parent} --country Germany
--slug                 organizations edit {parent} --slug Not_A_Slug
--colour               organizations edit {parent} --colour red
--redeem-domains       organizations edit {parent} --redeem-domains not_a_domain!
--redeem-languages     organizations edit {parent} --redeem-languages xx
--support-email        organizations edit {parent} --support-email nobody
--reply-to             organizations edit {parent} --reply-to nobody
--billing-email        organizations edit {parent} --billing-email nobody
--payment-terms        organizations edit {parent} --payment-terms 9999
--tax-category         organizations edit {parent} --tax-category Q --tax-rate 1
--electronic-address   organizations edit {parent} --electronic-address x
POOL                   organizations shared-redemptions {child} nobody
--issuer               organizations single-sign-on {parent} --issuer http://x {client}
--role                 organizations single-sign-on {parent} --issuer https://x.example {client} --role boss=x
--price                courses add C1 Title --price x --currency EUR
--currency             courses add C1 Title --price 1 --currency EURO
--launch-url           courses add C1 Title --price 1 --currency EUR --launch-url ftp://x
CODE                   courses add {course} Title --price 1 --currency EUR
COURSE                 courses edit nobody --title x
--launch-url           courses edit {course} --launch-url x
--after                courses list --after zzz
--sort                 courses list --sort nothing
COURSE                 prices set nobody --price 1
--country              seller edit --country Germany
--bank                 seller edit --bank EUR=NOIBAN
--bank                 seller edit --bank nonsense
--account              seller edit --account nonsense
--time-zone            seller edit --time-zone nobody
--organization         sources add shop --organization nobody
--organization         tokens add t --role sender
--until                tokens add t --role analyst --organization {parent} --until x
EMAIL                  users add nobody --role operator
--organization         users add ann@example.org --role manager --organization nobody
--organization         users add ann@example.org --role manager
EMAIL                  users disable nobody@example.org
EMAIL                  users reset nobody@example.org
URL                    endpoints add ftp://x --organization {parent}
--organization         endpoints add https://x.example/a --organization nobody
--types                endpoints add https://x.example/a --organization {parent} --types nothing
--pool-low             endpoints add https://x.example/a --organization {parent} --pool-low 0
--pool-expiring        endpoints add https://x.example/a --organization {parent} --pool-expiring 99999
ENDPOINT               endpoints deliveries nobody
--event                endpoints deliveries --event x
--since                endpoints deliveries --since x
ENDPOINT               endpoints ping nobody
--course               pools create {new} {window} --course nobody
--starts               pools create {new} --starts x --expires 2030-01-01
--expires              pools create {new} --starts 2026-01-01 --expires x
--expires              pools create {new} --starts 2026-01-01 --expires 2025-01-01
--content-availability pools create {new} {window} --content-availability 0
--content-availability pools create {new} {window} --content-availability x
--starts               pools edit {pool} --starts x
--expires              pools edit {pool} --expires 2001-01-01
--content-availability pools edit {pool} --content-availability 99999
--state                pools list --state nothing
--organization         pools list --organization nobody
--course               pools list --course nobody
--ending-within        pools list --ending-within x
--column               keys import {pool} people.csv --column code=Nothing
--ignore               keys import {pool} people.csv --ignore Nothing
--format               keys import {pool} people.csv --format nothing
FILE                   keys import {pool} empty.txt
--count                keys distribute {pool} ann@example.org --count 100000
--count                keys distribute {pool} ann@example.org --count 0
--template             keys distribute {pool} ann@example.org --template nobody --mail
RECIPIENT              keys distribute {pool} notanaddress --mail
COUNT                  keys generate {pool} 0
COUNT                  keys generate {pool} x
RECIPIENT              keys recall {pool} nobody
--as                   keys show {key} --as nobody
--organization         keys show {key} --organization nobody --as ann@example.org
--pool                 batches list --pool nobody
--type                 events list --type nothing
--status               events list --status nothing
--since                events list --since x
--outcome              redemptions list --outcome nothing
--learner              redemptions list --learner nobody
--pool                 redemptions list --pool nobody
ID                     assignments extend 99
--organization         assignments list --organization nobody
--course               assignments list --course nobody
--status               assignments list --status nothing
--email                learners correct ann@example.org --email nobody
EMAIL                  learners show nobody
--recipient            messages list --recipient nobody
--organization         templates save T --organization nobody --subject x --file people.csv
--file                 templates save T --organization {parent} --subject x --file people.csv
KIND                   reminders save {parent} nothing --days 3
--days                 reminders save {parent} key_unused --days 0
--keys                 reminders save {parent} pool_low --keys 0
--to                   reminders save {parent} pool_low --keys 5 --to nobody
KIND                   reminders stop {parent} nothing
--since                history list --since x
INVOICE                invoices charges nobody
--pool                 invoices charges --pool nobody
--organization         invoices charges --organization nobody
ID                     invoices export nobody
--from                 invoices export --from x --to y
--month                invoices list --month 2026-13
--status               invoices list --status nothing
--month                invoices run --month x
ID                     invoices pay 9 --on x
ORG                    invoices statement nobody
--on                   invoices statement {parent} --on x
ORGANIZATION           reports login nobody
NOTEBOOK               reports run nobody
--organization         reports run usage --organization nobody
--from                 reports run usage --from x
--parameter            reports run usage --parameter nonsense
--parameter            reports run usage -p nothing=1
--organization         reports schedule usage --every week --organization nobody
--mail                 reports schedule usage --every week --mail nobody
NOTEBOOK               reports schedule nobody --every week
--organization         reports schedules --organization nobody
--organization         reports kept --organization nobody
--state                reports kept --state nothing
--encoding             keys import {pool} people.csv --encoding nothing
--count                keys distribute {pool} b@example.org --count 0
--email                learners correct ann@example.org --email ben@example.org
--by                   assignments extend {assignment} --by 0
--until                assignments extend {assignment} --until 2001-01-01
--price                assignments extend {assignment} --by 3 --price x
--amount               invoices credit {charge} --amount x --reason y
--amount               invoices credit {charge} --amount 999 --reason y
"""
# Each is done once before; the second time it is refused, for what the first one made.
TWICE = """
NAME       organizations add Twice
NAME       sources add twice --organization {parent}
--name     pools create {new} {window}
--count    keys distribute {pool} bob@example.org --reference R1 --count {count}
CODE       keys retire {key}
ID         assignments cancel {assignment}
"""


@pytest.fixture
def ids(world, give, tmp_path, monkeypatch) -> dict[str, object]:
    """What commands can name, and files for them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYPOOL_PASSWORD", "correct horse battery staple")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "people.csv").write_text("email,count\nann@example.org,2\nann@example.org,2\n")
    with databases.session() as session:
        inside = dataclasses.replace(world, session=session)
        for address in ("ann@example.org", "ben@example.org"):
            deciding.settle(session, event_ids=[inside.request(*inside.keys(1), address)])
        found = session.execute(text(FOUND)).mappings().one()
        [key] = inside.keys(1)
    places = {"parent": world.parent, "child": world.child, "pool": world.pool, "key": key}
    new = f"--name N --organization {world.parent} --course {found['course']} --content-availability 3"
    given = {"window": "--starts 2026-01-01 --expires 2030-01-01", "new": new}
    return {
        **found,
        **places,
        **given,
        "client": "--client-id a --client-secret b --domain d.example",
    }


FOUND = """
    SELECT (SELECT min(id) FROM assignment) AS assignment, (SELECT min(id) FROM charge) AS charge,
           (SELECT min(code) FROM course) AS course"""


def test_whatever_value_is_wrong_its_flag_or_argument_is_named(run, ids):
    told = {}
    for line in WRONG.strip().splitlines():
        named, words = line.split(maxsplit=1)
        told[words] = (named, run(*shlex.split(words.format(**ids))))

    assert {done.code for _, done in told.values()} == {2}
    assert [
        (words, done.err) for words, (named, done) in told.items()
        if not re.match(rf"(Invalid value for )?'?{named}'?: ", done.err)
    ] == []  # fmt: skip


def test_a_refusal_names_what_it_is_about(run, ids):
    told = {}
    for line in TWICE.strip().splitlines():
        named, words = line.split(maxsplit=1)
        done = [run(*shlex.split(words.format(**ids, count=count))) for count in (1, 2)]
        told[words] = (named, done)

    assert [done[0].err for _, done in told.values()] == [""] * len(told)
    assert [
        (words, done[1].err) for words, (named, done) in told.items()
        if (done[1].code, done[1].err.partition(":")[0]) != (2, named)
    ] == []  # fmt: skip


TYPES = (click.Choice, click.IntRange, frame.Whole, options.Duration, options.Instant, options.Days)


def test_a_value_of_another_type_is_refused_by_name_on_every_command():
    unnamed = []
    for words in commands():
        command = cli.keypool
        for word in words:
            context = command.make_context("", [], resilient_parsing=True)
            command = command.get_command(context, word)
        context = click.Context(command)
        for one in command.get_params(context):
            if not isinstance(one.type, TYPES):
                continue
            with pytest.raises(click.UsageError) as refused:
                one.type_cast_value(context, "no such value")
            if flags.label(one, context) not in refused.value.format_message():
                unnamed.append((words, one.name))

    assert unnamed == []
