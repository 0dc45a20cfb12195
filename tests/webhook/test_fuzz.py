"""Whatever is sent, the answer is one of the documented ones, at once, and says nothing of the inside."""

import json
import os
import re
import time
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.waiting import stretch
from tests.webhook.conftest import NOW, Things, redemption
from webhook.http import inward, strictjson
from worker.tenancy.actors import Role

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "10"))  # of each route; “make fuzz” tries more
RECEIVER = {200, 202, 400, 401, 409, 413, 415, 422, 429}
MANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

texts = st.text(max_size=50)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
values = (
    documents
    | st.sampled_from([NOW, "1", "ann@example.com", 0, -1, 10**30, "\0", "\ud800", "💥", "", " "])
    | st.datetimes(timezones=st.timezones()).map(str)
)
types = st.sampled_from(["redemption.requested", "training.launched", "training.ended"]) | texts
messages = st.fixed_dictionaries(
    {},
    optional={
        "type": types,
        "timestamp": values,
        "data": st.dictionaries(
            st.sampled_from(
                [
                    "key",
                    "learner",
                    "organization",
                    "assignment",
                    "launch",
                    "launched_at",
                    "ended_at",
                    "completed",
                    "score",
                ]
            ),
            values | st.fixed_dictionaries({}, optional={"email": values, "name": values}),
        )
        | documents,
    },
)


def proper(answer: Any) -> bool:
    told = "Traceback" not in answer.text and "psycopg" not in answer.text
    problem = answer.status_code < 400 or answer.content_type == "application/problem+json"
    return told and problem


@MANY
@given(st.one_of(documents, messages).map(lambda it: json.dumps(it).encode("utf-8", "replace")))
def test_any_signed_json_gets_a_documented_answer(sender, body):
    answer = sender.post(None, raw=body)

    assert answer.status_code in RECEIVER
    assert proper(answer)


@MANY
@given(st.binary(max_size=300))
def test_any_signed_bytes_get_a_documented_answer(sender, body):
    answer = sender.post(None, raw=body)

    assert answer.status_code in RECEIVER
    assert proper(answer)


headers = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)


@MANY
@given(st.dictionaries(
    st.sampled_from(
        ["webhook-id", "webhook-timestamp", "webhook-signature", "Content-Type", "Content-Encoding", "Prefer"]
    ),
    headers,
))  # fmt: skip
def test_any_headers_get_a_documented_answer(sender, given_headers):
    assume("wait" not in given_headers.get("Prefer", ""))

    answer = sender.post(redemption(), **given_headers)

    assert answer.status_code in RECEIVER
    assert proper(answer)


@MANY
@given(st.lists(st.sampled_from(["{", "}", "[", "]", '"', "\\", ":", ",", "1", "a", " ", '"\\""'])))
def test_strict_json_refuses_or_reads_what_the_library_reads(pieces):
    text = "".join(pieces)
    try:
        read = strictjson.parse(text)
    except ValueError:
        return

    assert read == json.loads(text)


@given(documents)
def test_strict_json_reads_back_what_was_written_unless_it_cannot_be_kept(document):
    try:
        text = json.dumps(document, allow_nan=False)
        text.encode()
        assume(not any(bad in text for bad in ("\\u0000", "\\ud", "\\uD")))
    except ValueError:
        assume(condition=False)
    assume(all(len(number) <= 40 for number in text.split()))

    assert strictjson.parse(text) == document


@pytest.fixture(scope="module")
def operator(place) -> dict[str, str]:
    return place.token(Role.OPERATOR)


@pytest.fixture(scope="module")
def document(client) -> dict[str, Any]:
    return client.get("/openapi.json").json


def test_the_document_is_valid_openapi_3_1_and_describes_every_route(client, document):
    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    served = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in client.application.url_map.iter_rules()
        if rule.endpoint not in {"openapi.spec", "static"}
        and not re.match(
            "/((console|docs|redeem|my|unsubscribe)(/.*)?)?$", rule.rule
        )  # pages are for people
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    schemathesis.openapi.from_dict(document).validate()
    assert document["openapi"].startswith("3.1")
    assert described == served


CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
]


def aim(case: Any, things: Things) -> None:
    """Let a made-up request be about things that there are, or it would only ever meet a 404."""
    case.path_parameters = {n: things.ids[n] for n in case.path_parameters}
    if isinstance(case.body, dict):
        named = {"organization", "parent", "course", "pool"} & set(case.body)
        case.body |= {name: things.ids.get(name) for name in named if case.body[name]}


def timed(case: Any, headers: dict[str, str]) -> tuple[Any, float]:
    begun = time.monotonic()
    answer = case.call(headers=headers)
    return answer, time.monotonic() - begun


def test_every_answer_is_as_the_document_says_and_at_once(
    client, document, operator, things, monkeypatch
):
    monkeypatch.setattr(inward, "WAIT_SECONDS", 0)  # nobody decides here
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app=client.application)

    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(operation.as_strategy(), st.booleans())
        def ask(case: Any, aimed: bool) -> None:
            if aimed and "{token}" not in case.path:
                aim(case, things)
            # An id that is another path's word is another request.
            elsewhere = case.formatted_path in document["paths"]
            assume(case.formatted_path == case.path or not elsewhere)
            answer, taken = timed(case, operator)
            case.validate_response(answer, checks=CHECKS)
            # Asked again, for a machine may pause, but not each time for the same input.
            again = (timed(case, operator)[1] for _ in range(5))
            assert taken < 1 or min(again) < stretch(), case.as_curl_command()

        ask()
