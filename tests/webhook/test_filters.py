"""Every list takes the same filters and sorts in the API, on the command line and in the console."""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

import pytest
import rich_click as click

import worker
from tests.webhook.checking import openapi
from tests.webhook.conftest import Place, Things
from tests.webhook.console.conftest import Person, app, somebody  # noqa: F401  # fixtures
from worker import cli
from worker.billing import charges, invoices
from worker.bulk import bulk_acts
from worker.catalogue import courses, prices
from worker.cli.lists import ChoosingCommand
from worker.database.filters import ListFilters, criteria, orders
from worker.errors import ExtraMissingError
from worker.learning import assignments
from worker.outgoing import deliveries, endpoints, messages, reminders
from worker.pools import batches, distributions, keys, pools
from worker.redemption import attempts, inbox, sources
from worker.reporting import keeping
from worker.tenancy import history, organizations, sessions, templates, tokens, users
from worker.tenancy.actors import Role


@dataclass(frozen=True)
class Doors:
    """Where a noun's list is asked for: the API's path, the command, the console's page."""

    filters: type[ListFilters]
    path: str
    command: str
    page: str


NOUNS = {
    "assignments": Doors(assignments.Filters, "/assignments", "assignments list", "/assignments"),
    "batches": Doors(batches.Filters, "/batches", "batches list", "/batches"),
    "bulk acts": Doors(bulk_acts.Filters, "/bulk-acts", "bulk-acts list", "/bulk-acts"),
    "charges": Doors(charges.Filters, "/charges", "invoices charges", "/charges"),
    "courses": Doors(courses.Filters, "/courses", "courses list", "/courses"),
    "deliveries": Doors(
        deliveries.Filters, "/deliveries", "endpoints deliveries", "/endpoints/{endpoint}"
    ),
    "distributions": Doors(
        distributions.Filters,
        "/pools/{pool}/distributions",
        "keys distributions",
        "/pools/{pool}",
    ),
    "organizations": Doors(
        organizations.Filters, "/organizations", "organizations list", "/organizations"
    ),
    "users": Doors(users.Filters, "/users", "users list", "/users"),
    "tokens": Doors(tokens.Filters, "/tokens", "tokens list", "/tokens"),
    "sources": Doors(sources.Filters, "/sources", "sources list", "/sources"),
    "templates": Doors(templates.Filters, "/templates", "templates list", "/templates"),
    "reminders": Doors(reminders.Filters, "/reminders", "reminders list", "/reminders"),
    "endpoints": Doors(endpoints.Filters, "/endpoints", "endpoints list", "/endpoints"),
    "events": Doors(inbox.Filters, "/events", "events list", "/events"),
    "history": Doors(history.Filters, "/history", "history list", "/history"),
    "invoices": Doors(invoices.Filters, "/invoices", "invoices list", "/invoices"),
    "keys": Doors(keys.Filters, "/pools/{pool}/keys", "keys list", "/pools/{pool}"),
    "messages": Doors(messages.Filters, "/messages", "messages list", "/messages"),
    "pools": Doors(pools.Filters, "/pools", "pools list", "/pools"),
    "prices": Doors(prices.Filters, "/prices", "prices list", "/prices"),
    "redemptions": Doors(attempts.Filters, "/redemptions", "redemptions list", "/redemptions"),
    "sessions": Doors(sessions.Filters, "/sessions", "sessions list", "/sessions"),
    "reports": Doors(keeping.Filters, "/reports", "reports kept", "/reports"),
}

# What a door has besides the noun's filters, or lacks of them, and why.
MORE = {
    ("keys", "api"): {"format", "labels"},  # the same address gives the keys as a file, too
    ("keys", "command"): {"pool"},  # the argument that the API has in its path
    ("distributions", "command"): {"pool"},  # likewise
    ("distributions", "page"): {one.name for one in fields(keys.Filters)},  # the pool's keys' form
}
LESS = {
    ("deliveries", "page"): {"endpoint"},  # the page is an endpoint's own
    ("reminders", "page"): {"kind"},  # the page has all kinds of an organization, in one form
}
PAGING = {"sort", "limit", "cursor"}


@pytest.fixture(params=NOUNS)
def noun(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def operator(somebody: Callable[..., Person]) -> Person:  # noqa: F811  # a fixture
    return somebody(Role.OPERATOR)


def command_of(words: str) -> ChoosingCommand:
    found: Any = cli.keypool
    for name in words.split():
        found = found.get_command(click.Context(found), name)
    assert isinstance(found, ChoosingCommand)
    return found


def parameters(place: Place, path: str) -> dict[str, Any]:
    """Give the schemas of what a list's address takes, by name."""
    told = openapi(place.client.application)["paths"][f"/api/v1{path}"]["get"]["parameters"]
    return {one["name"]: one["schema"] for one in told if one["in"] == "query"}


def labels_in(schema: Any, document: Any) -> set[str]:
    """Give the labels that a parameter's schema has, wherever they stand in it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return labels_in(document["components"]["schemas"][name], document)
    among = [label for one in schema.get("anyOf", ()) for label in labels_in(one, document)]
    return {*schema.get("enum", ()), *among}


def form(page: str) -> dict[str, str]:
    """Give the inputs of a page's filters, by name, as they stand in it; not those of a file's form."""
    forms = re.findall(r'<form method="get" ([^>]*)class="filters">(.*?)</form>', page, re.S)
    shown = "".join(inside for address, inside in forms if ".zip" not in address)
    found = re.findall(r'<(?:input|select)[^>]* name="([^"]+)"[^>]*>(.*?)</label>', shown, re.S)
    return dict(found)


def expected(noun: str, door: str) -> set[str]:
    names = {one.name for one in fields(NOUNS[noun].filters)}
    return (names | MORE.get((noun, door), set())) - LESS.get((noun, door), set())


def test_the_api_takes_the_filters_of_each_noun(noun, place):
    assert parameters(place, NOUNS[noun].path).keys() - PAGING == expected(noun, "api")


def test_the_command_line_takes_the_filters_of_each_noun(noun):
    made = command_of(NOUNS[noun].command)

    names = {str(one.name) for one in made.get_params(click.Context(made))}

    assert names - {"sort", "limit", "after", "as_json", "help", "watch"} == expected(
        noun, "command"
    )


def test_the_console_has_a_field_for_each_filter_of_a_noun(noun, operator, things: Things):
    shown = operator.get(NOUNS[noun].page.format(**things.ids))

    assert shown.status_code == 200
    assert form(shown.text).keys() == expected(noun, "page")


def test_a_filter_that_is_a_label_offers_the_same_labels_everywhere(noun, place, operator, things):
    document = openapi(place.client.application)
    asked = parameters(place, NOUNS[noun].path)
    shown = form(operator.get(NOUNS[noun].page.format(**things.ids)).text)
    options = {one.name: one.type for one in command_of(NOUNS[noun].command).options}

    for one in criteria(NOUNS[noun].filters):
        if not hasattr(one.kind, "__members__"):
            continue
        known = {label.value for label in one.kind}  # type: ignore[attr-defined]  # an enum
        choice = options[one.name]
        assert isinstance(choice, click.Choice)
        assert labels_in(asked[one.name], document) == known, one.name
        assert set(choice.choices) == known, one.name
        if one.name in LESS.get((noun, "page"), ()):
            continue
        assert set(re.findall(r"<option[^>]*>([^<]+)</option>", shown[one.name])) == {"any", *known}


def test_a_list_is_sorted_by_the_same_names_everywhere(noun, place):
    asked = parameters(place, NOUNS[noun].path)
    options = {one.name: one.type for one in command_of(NOUNS[noun].command).options}

    assert ("sort" in asked) == ("sort" in options)
    if "sort" in asked:
        choice = options["sort"]
        assert isinstance(choice, click.Choice)
        known = orders(NOUNS[noun].filters)
        assert labels_in(asked["sort"], {}) == set(choice.choices) == set(known)


def subclasses(kind: type[ListFilters]) -> Iterator[type[ListFilters]]:
    for one in kind.__subclasses__():
        yield from (one, *subclasses(one))


def test_the_filters_of_every_noun_are_compared():
    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if not module.ispkg or module.name.count(".") == 1:
            with suppress(ExtraMissingError):  # what make setup leaves out has no lists
                importlib.import_module(module.name)
    declared = {one for one in subclasses(ListFilters) if one.__module__.startswith("worker.")}

    assert declared == {doors.filters for doors in NOUNS.values()}


# Addresses


ADDRESSES = [
    ("assignments", "learner", "mailto:ann@example.org"),
    ("assignments", "learner", "ann"),
    ("redemptions", "learner", "ann@example..org"),
    ("keys", "recipient", "ann@exa mple.org"),
    ("distributions", "recipient", "“ann@example.org”"),
]


@pytest.mark.parametrize(("noun", "field", "address"), ADDRESSES)
def test_what_is_no_address_is_refused_with_one_sentence_at_every_door(
    noun, field, address, place, operator, things, capsys
):
    doors = NOUNS[noun]
    headers = place.token(Role.OPERATOR)
    path = f"/api/v1{doors.path.format(**things.ids)}"
    argument = [things.ids["pool"]] if "{pool}" in doors.path else []

    asked = place.client.get(path, query_string={field: address}, headers=headers)
    code = cli.answer([*doors.command.split(), *argument, f"--{field}", address])
    shown = operator.client.get(
        f"/console{doors.page.format(**things.ids)}", query_string={field: address}
    )

    sentence = f"“{address}” is not an e-mail address."
    assert (asked.status_code, asked.json["field"]) == (422, field)
    assert asked.json["detail"].startswith(sentence)
    said = capsys.readouterr().err
    assert (code, said.startswith(f"--{field}: {sentence}")) == (2, True)
    assert shown.status_code == 422
    assert sentence in shown.text


@pytest.mark.parametrize("noun", ["keys", "distributions"])
def test_a_recipient_may_be_a_name(noun, place, things):
    path = f"/api/v1{NOUNS[noun].path.format(**things.ids)}"

    asked = place.client.get(
        path, query_string={"recipient": "Anna @ Sales"}, headers=place.token(Role.OPERATOR)
    )

    assert (asked.status_code, asked.json["items"]) == (200, [])
