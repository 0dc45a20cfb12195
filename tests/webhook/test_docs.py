"""`/docs` shows what `/openapi.json` says, from the app alone; its one script searches and tries."""

import ast
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from webhook.docs import examples

GUIDE = Path(__file__).parents[2] / "docs" / "api.md"


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to at."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def every(self, attribute: str) -> list[str]:
        return [told[attribute] or "" for _, told in self.tags if attribute in told]


@pytest.fixture(scope="module")
def html(client) -> str:
    return client.get("/docs").text


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def document(client):
    return client.get("/openapi.json").json


def test_every_operation_and_every_shape_has_its_place(page, document):
    operations = {
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
    }

    places = page.every("id")

    assert len(places) == len(set(places))
    assert operations | set(document["components"]["schemas"]) <= set(places)


def test_every_link_within_the_page_leads_somewhere(page):
    within = {link[1:] for link in page.every("href") if link.startswith("#")}

    assert within
    assert within <= set(page.every("id"))


def test_an_operation_tells_its_roles_parameters_bodies_and_answers(html, document):
    told = document["paths"]["/api/v1/pools/{pool}/keys"]["post"]
    [shown] = re.findall(rf'<details id="{told["operationId"]}"(.*?)</details>', html, re.S)

    words = re.sub(r"<[^>]+>|\s+", " ", shown)

    assert "Roles: operator, manager." in words
    for name in ("pool", "Idempotency-Key", *told["requestBody"]["content"], *told["responses"]):
        assert name in words


def test_what_it_loads_is_the_apps_own(client, page):
    loaded = [told["href"] for tag, told in page.tags if tag == "link" and told["rel"] != "icon"]
    loaded += [told["src"] for tag, told in page.tags if tag == "script"]

    answer = client.get("/docs")

    assert {tag for tag, _ in page.tags} & {"style", "iframe", "img", "object"} == set()
    assert page.every("style") == page.every("onclick") == []
    assert loaded
    assert {client.get(address).status_code for address in loaded} == {200}
    assert [address for address in page.every("href") if "//" in address] == []
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy


def test_every_operation_has_an_example_in_curl_and_in_python(document, html):
    shapes = document["components"]["schemas"]
    operations = [
        operation | {"path": path, "method": method}
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]

    for operation in operations:
        command = shlex.split(examples.curl(operation, shapes, "https://keys.example"))
        told = ast.parse(examples.python(operation, shapes, "https://keys.example"))
        address = next(word for word in command if word.startswith("https://keys.example/"))
        assert "{" not in address, operation["path"]
        assert address in {n.value for n in ast.walk(told) if isinstance(n, ast.Constant)}
        assert ("--header" in command) == bool(operation.get("x-roles") or "--data" in command)
        if sent := examples.body(operation, shapes):
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            jsonschema.validate(json.loads(sent), schema | {"components": document["components"]})
            assert command[command.index("--data") + 1] == sent
    assert html.count("<summary>curl</summary>") == len(operations)


def test_the_page_is_made_without_a_token(client):
    assert client.get("/docs").status_code == 200


def test_the_guide_tells_the_fields_of_everything_that_lists_hold(document):
    schemas = document["components"]["schemas"]
    listed = {
        schema["properties"]["items"]["items"]["$ref"].rpartition("/")[2]
        for schema in schemas.values()
        if "items" in schema.get("properties", {})
    }
    rows = re.findall(r"^\| `([A-Z]\w+)`[^|]*\| ([^|:;]+)", GUIDE.read_text(), re.M)

    told = {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}

    assert told == {name: set(schemas[name]["properties"]) for name in listed}


def reached(told: Any, schemas: dict[str, Any]) -> set[str]:
    """The shapes that something is made of, by name."""
    found: set[str] = set()
    waiting = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(told)))
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= set(re.findall(r'schemas/(\w+)"', json.dumps(schemas[name]))) - found
    return found


def test_every_field_of_every_answer_says_what_it_is(document):
    schemas = document["components"]["schemas"]
    answers = [
        operation["responses"] for path in document["paths"].values() for operation in path.values()
    ]

    fields = {
        f"{name}.{field}": told
        for name in reached(answers, schemas)
        for field, told in schemas[name].get("properties", {}).items()
    }

    assert len(fields) > 250
    assert [name for name, told in fields.items() if not told.get("description")] == []
    kinds = {"type", "anyOf", "$ref", "const"}
    assert [name for name, told in fields.items() if not kinds & told.keys()] == []
