"""Keys and batches on the command line."""

import io
import secrets
import signal
import subprocess
import sys
import time

import pytest

from tests.worker.cli.conftest import opened
from worker.redemption import settling

HEADER = (
    "code,state,recipient,reference,distributed_at,redeemed_by_email,redeemed_by_name,"
    "redeemed_by_organization,redeemed_at,access_expires_at"
)
REPORT = {"batch", "read", "added", "duplicate_in_input", "already_exists", "invalid", "refused"}


def made_up(count):
    return [f"OWN-{secrets.token_hex(6)}" for _ in range(count)]


def test_typed_keys_are_added_and_the_report_says_what_became_of_each(run, give, world):
    [first, second] = made_up(2)

    report = give("keys", "add", world.pool, first, f" {second} ", first.lower(), "bad!")
    told = run("keys", "add", world.pool, second, *made_up(1))

    assert set(report) == REPORT
    assert (report["batch"], report["added"]) == (None, 2)
    assert [(one["line"], one["result"]) for one in report["refused"]] == [
        (3, "duplicate_in_input"), (4, "invalid"),
    ]  # fmt: skip
    assert told.out.startswith(
        "1 key added, 0 duplicates in the input, 1 already there, 0 invalid."
    )


def test_keys_none_of_which_can_be_one_are_refused_in_a_sentence(run, world):
    done = run("keys", "add", world.pool, "short", "--json")

    assert done.code == 2
    assert done.err == "Line 1: It has 5 characters; a key has 8 to 64.\n"
    assert done.json["invalid"] == 1


def test_pasted_keys_are_read_from_standard_input(give, world, monkeypatch):
    codes = made_up(3)
    monkeypatch.setattr("sys.stdin", iter(f"{code}\n" for code in codes))

    report = give("keys", "add", world.pool, "-")

    assert report["added"] == 3


def test_a_file_of_keys_is_imported_and_a_large_one_is_a_batch_that_is_waited_for(
    run, give, world, tmp_path
):
    small, large = tmp_path / "small.csv", tmp_path / "large.txt"
    small.write_text("email,code\n" + "".join(f"x@example.org,{c}\n" for c in made_up(3)))
    codes = made_up(1200)
    large.write_text("\n".join([*codes, codes[0], "bad!"]))

    at_once = give("keys", "import", world.pool, str(small))
    done = run("keys", "import", world.pool, str(large), "--json")
    figures = give("pools", "show", world.pool)["keys"]

    assert (at_once["added"], at_once["batch"]) == (3, None)
    assert done.code == 0
    report, table = done.json, tmp_path / "report.csv"
    give("batches", "report", report["batch"], "-o", str(table))
    assert len(table.read_text().splitlines()) == 1 + 1202
    assert (report["added"], report["duplicate_in_input"], report["invalid"]) == (1200, 1, 1)
    assert give("batches", "report", report["batch"]) == report
    assert give("batches", "show", report["batch"])["state"] == "done"
    assert figures["issued"] == 1203


def test_keys_are_generated_while_the_command_waits(run, give, world):
    done = run("keys", "generate", world.pool, "1000", "--json")

    batch = done.json
    assert done.code == 0
    assert {"id", "pool", "kind", "requested", "made", "state"} <= set(batch)
    assert (batch["kind"], batch["requested"], batch["made"], batch["state"]) == (
        "generate", 1000, 1000, "done",
    )  # fmt: skip
    assert give("pools", "show", world.pool)["keys"]["issued"] == 1000


def test_a_generation_that_is_not_waited_for_is_queued_watched_and_listed(run, give, world):
    queued = give("keys", "generate", world.pool, "10", "--no-wait")
    told = run("keys", "generate", world.pool, "10", "--no-wait")
    watched = run("batches", "watch", queued["id"], "--json")
    listed = give("batches", "list", "--pool", world.pool)

    assert queued["state"] == "queued"
    assert "“keypool batches watch " in told.out
    assert watched.json["state"] == "done"
    assert any(watched.json.items() <= item.items() for item in listed["items"])


def test_a_cancelled_batch_keeps_what_it_made_and_fails_whoever_waits_for_it(run, give, world):
    queued = give("keys", "generate", world.pool, "10", "--no-wait")

    cancelled = give("batches", "cancel", queued["id"])
    watched = run("batches", "watch", queued["id"])

    assert cancelled["state"] == "cancelled"
    assert watched.code == 1
    assert "cancelled" in watched.out


def running(batches):
    return batches and batches[0]["state"] == "running"


def test_an_interrupted_wait_leaves_the_batch_and_says_how_to_watch_it(give, world):
    command = [sys.executable, "-c", "from worker.cli import main; main()"]
    words = ["keys", "generate", world.pool, "30000000"]

    with subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True) as process:
        while not running(give("batches", "list", "--pool", world.pool)["items"]):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=300)[1]

    [batch] = give("batches", "list", "--pool", world.pool)["items"]
    assert process.returncode == 130
    assert told.strip().endswith(
        f"Batch {batch['id']} goes on; watch it with “keypool batches watch {batch['id']}”."
    )
    assert batch["state"] == "running"
    give("batches", "cancel", batch["id"])


@pytest.mark.parametrize("count", ["0", "-5", "1000000001"])
def test_a_count_out_of_range_is_refused(run, world, count):
    done = run("keys", "generate", world.pool, "--", count)

    assert done.code == 2
    assert done.err.count("\n") == 1


def test_a_key_is_listed_in_the_agreed_shape_and_found_by_filters(give, world):
    give("keys", "add", world.pool, *made_up(3))
    given = give("keys", "distribute", world.pool, "Ann@Example.org", "--reference", "O-1")

    held = give("keys", "list", world.pool, "--recipient", "ann@example.org")
    free = give("keys", "list", world.pool, "--undistributed", "--state", "issued")

    [key] = held["items"]
    assert set(key) == {
        "code", "pool", "state", "recipient", "reference", "distributed_at", "redeemed_by",
        "redeemed_at", "assignment", "labels", "id",
    }  # fmt: skip
    assert [key["code"]] == given["keys"]
    assert (key["state"], key["reference"], key["redeemed_by"]) == ("issued", "O-1", None)
    assert len(free["items"]) == 2


def test_a_key_is_shown_with_its_attempts_and_what_would_happen_now(run, give, world):
    with opened(world) as live:
        [key, other] = live.keys(2)
        live.request(key, "ann@example.org")
    settling.settle_all()

    shown = give("keys", "show", key.lower(), "--as", "bob@example.org")
    told = run("keys", "show", other, "--as", "bob@example.org")

    assert (shown["state"], shown["redeemed_by"]) == ("redeemed", "ann@example.org")
    assert [one["outcome"] for one in shown["attempts"]] == ["redeemed"]
    assert shown["dry_run"]["outcome"] == "already_redeemed"
    assert "redeemed: The key is redeemed. Access ends" in told.out


def test_what_a_learner_would_be_told_is_shown_in_their_language_or_the_one_asked_for(
    run, give, world
):
    [key] = made_up(1)
    give("keys", "add", world.pool, key)
    give("organizations", "edit", str(world.parent), "--locale", "de")

    own = give("keys", "show", key, "--as", "bob@example.org")["dry_run"]
    told = run("keys", "show", key, "--as", "bob@example.org", "--language", "es")

    assert (own["language"], own["message"][:30]) == ("de", "Der Schlüssel ist eingelöst. D")
    assert "redeemed: La clave está canjeada. El acceso termina el " in told.out


def test_keys_are_retired_each_for_itself(run, give, world):
    [first, second] = made_up(2)
    give("keys", "add", world.pool, first, second)

    retired = give("keys", "retire", first)
    both = give("keys", "retire", first, second)
    again = run("keys", "retire", first, second)

    assert retired["retired"] == 1
    assert [item["result"] for item in both["items"]] == ["refused", "retired"]
    assert (again.code, "0 keys retired, 2 refused." in again.out) == (2, True)
    assert "is retired already; only issued keys can be retired." in again.err
    assert give("pools", "show", world.pool)["keys"]["issued"] == 0


def test_keys_to_retire_are_read_from_standard_input(give, world, monkeypatch):
    codes = made_up(3)
    give("keys", "add", world.pool, *codes)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(codes) + "\n\n"))

    assert give("keys", "retire", "-")["retired"] == 3


def test_keys_are_exported_as_csv_to_standard_output_and_to_a_file(run, give, world, tmp_path):
    codes = made_up(2)
    give("keys", "add", world.pool, *codes)
    file = tmp_path / "keys.csv"

    printed = run("keys", "export", world.pool)
    saved = give("keys", "export", world.pool, "--state", "issued", "-o", str(file))
    items = give("keys", "export", world.pool)["items"]

    header, *rows = printed.out.splitlines()
    assert header == HEADER
    assert sorted(row.split(",")[0] for row in rows) == sorted(codes)
    assert saved == {"file": str(file), "bytes": file.stat().st_size}
    assert file.read_text() == printed.out
    assert sorted(item["code"] for item in items) == sorted(codes)


def test_a_workbook_is_written_to_a_file_named_after_its_pool(give, world, tmp_path, monkeypatch):
    give("keys", "add", world.pool, *made_up(1))
    name = give("pools", "show", world.pool)["name"]
    monkeypatch.chdir(tmp_path)

    written = give("keys", "export", world.pool, "--format", "xlsx")

    assert written["file"] == f"{name}.xlsx"
    assert (tmp_path / written["file"]).read_bytes()[:2] == b"PK"


def test_an_export_that_is_refused_leaves_no_file(run, world, tmp_path):
    done = run("keys", "export", "no such pool", "-o", str(tmp_path / "keys.csv"))

    assert done.code == 2
    assert list(tmp_path.iterdir()) == []


def test_keys_are_handed_out_once_and_recalled(run, give, world):
    give("keys", "add", world.pool, *made_up(5))

    first = give("keys", "distribute", world.pool, "bob@example.org", "--count", "2")
    again = give("keys", "distribute", world.pool, "BOB@example.org", "--count", "2")
    recalled = give("keys", "recall", world.pool, "bob@example.org")
    figures = give("pools", "show", world.pool)["keys"]

    assert len(first["keys"]) == 2
    assert again["keys"] == first["keys"]
    assert again["repeated"] is True
    assert recalled["recalled"] == 2
    assert figures == {"issued": 3, "distributed": 0, "redeemed": 0, "retired": 2}


def test_keys_are_handed_to_everybody_in_a_file_with_a_mail_merge(give, world, tmp_path):
    people, merge = tmp_path / "people.csv", tmp_path / "merge.csv"
    people.write_text("email,name,count,reference\nann@x.example,Ann,2,O-7\nbob@x.example,Bob,1,\n")
    give("keys", "add", world.pool, *made_up(3))

    result = give("keys", "distribute", world.pool, "--file", str(people), "-o", str(merge))

    assert (result["recipients"], result["given"]) == (2, 3)
    assert merge.read_text().splitlines()[0] == "email,name,reference,code"
    assert len(merge.read_text().splitlines()) == 4


def test_more_keys_than_there_are_cannot_be_handed_out(run, world):
    done = run("keys", "distribute", world.pool, "bob@example.org", "--count", "2")

    assert done.code == 2
    assert "the pool has 0 undistributed ones" in done.err


def test_a_code_that_no_key_has_is_refused_without_being_told_whole(run):
    done = run("keys", "show", "K7QM-2222-3333-4444")

    assert done.code == 2
    assert "K7QM…" in done.err
    assert "3333" not in done.err


def test_a_key_is_replaced_for_its_recipient(run, give, world):
    give("keys", "add", world.pool, *made_up(2))
    [old] = give("keys", "distribute", world.pool, "ann@example.org")["keys"]

    new = give("keys", "replace", old, "--reason", "Torn")
    again = run("keys", "replace", old, "--reason", "Torn")

    assert (new["replaces"], new["recipient"]) == (old, "ann@example.org")
    assert (again.code, "retired already" in again.err) == (2, True)


def test_labels_are_given_filtered_by_counted_and_exported(run, give, world, tmp_path):
    one, two, three = made_up(3)
    table = tmp_path / "labelled.csv"
    table.write_text(f"code,labels\n{two},gold\n{three},\n")

    give("keys", "add", world.pool, one, "--label", "autumn", "--label", "gold, Berlin")
    give("keys", "import", world.pool, str(table), "--label", "autumn")
    run("keys", "generate", world.pool, "2", "--label", "made")
    give("keys", "distribute", world.pool, "ann@example.org", "--label", "vip")

    golden = give("keys", "list", world.pool, "--label", "gold")["items"]
    counted = give("pools", "labels", world.pool)["items"]
    out = run("keys", "export", world.pool, "--label", "gold", "--labels").out
    assert [(key["code"], key["labels"]) for key in golden] == [
        (one, ["autumn", "gold", "Berlin", "vip"]),
        (two, ["autumn", "gold"]),
    ]
    assert counted[0] == {
        "label": "autumn", "issued": 3, "distributed": 1, "redeemed": 0, "retired": 0,
    }  # fmt: skip
    assert [row["label"] for row in counted] == ["autumn", "gold", "made", "Berlin", "vip"]
    assert out.splitlines()[0] == f"{HEADER},labels"
    assert out.splitlines()[2] == f'{two},issued,,,,,,,,,"autumn, gold"'


def test_a_label_that_is_none_is_refused_in_a_sentence(run, world):
    done = run("keys", "generate", world.pool, "2", "--label", "x" * 51)

    assert done.code == 2
    assert done.err == f"--label: The label “{'x' * 50}…” is longer than 50 characters.\n"


def test_whom_keys_were_handed_to_is_listed(give, run, world):
    give("keys", "add", world.pool, "LISTED-0001", "LISTED-0002", "LISTED-0003")
    give("keys", "distribute", world.pool, "ann@example.com", "--count", "2", "--reference", "A-1")
    give("keys", "distribute", world.pool, "bob@example.com")

    page = give("keys", "distributions", world.pool, "--recipient", "Ann@Example.com")
    shown = run("keys", "distributions", world.pool)

    assert [(item["recipient"], item["given"]) for item in page["items"]] == [
        ("ann@example.com", 2)
    ]
    assert [line.split()[1] for line in shown.out.splitlines()[2:]] == [
        "bob@example.com",
        "ann@example.com",
    ]


def test_keys_are_sent_by_mail_once_and_again_when_a_person_asks(give, world):
    world.keys(2)
    world.session.commit()
    recipient = f"{secrets.token_hex(4)}@example.org"

    [key] = give("keys", "distribute", world.pool, recipient, "--mail")["keys"]
    give("keys", "distribute", world.pool, recipient, "--mail")
    [listed] = give("messages", "list", "--recipient", recipient)["items"]
    shown = give("messages", "show", listed["id"])
    resent = give("messages", "resend", listed["id"])

    assert (listed["kind"], listed["state"], listed["recipient"]) == ("keys", "waiting", recipient)
    assert key in shown["text"]
    assert resent["id"] == listed["id"]
    assert give("messages", "list", "--failed", "--recipient", recipient)["items"] == []


def test_an_organizations_own_words_are_saved_previewed_and_sent(run, give, world, tmp_path):
    world.keys(2)
    world.session.commit()
    file = tmp_path / "welcome.txt"
    file.write_text("Hello {{ name }},\n\n{% for key in keys %}\n    {{ key }}\n{% endfor %}\n")
    words = ("--subject", "{{ course }} is yours", "--file", str(file))

    saved = give("templates", "save", "Welcome", "--organization", str(world.parent), *words)
    previewed = run("templates", "preview", *words)
    recipient = f"{secrets.token_hex(4)}@example.org"
    asked = (world.pool, recipient, "--mail", "--template", "Welcome", "--name", "Zoë")
    made = give("keys", "distribute", *asked)
    shown = run("messages", "show", made["message"])
    listed = give("templates", "list")["items"]
    once = give(
        "keys",
        "distribute",
        *asked[:3],
        "--reference",
        "once",
        "--subject",
        "Once",
        "--text",
        str(file),
    )

    assert "Once" in run("messages", "show", once["message"]).out
    assert saved in listed
    assert previewed.out.endswith("\n\nHello Ann,\n\n    K7QM-4T9X-2HDP-8RWZ\n")
    assert shown.out.endswith(f"\n\nHello Zoë,\n\n    {made['keys'][0]}\n")
    assert "A course is yours" in shown.out
    assert "<html" not in previewed.out + shown.out


def test_a_text_is_read_in_utf_8_alone_with_or_without_a_byte_order_mark(run, tmp_path):
    text = "Grüße {% for key in keys %}{{ key }}{% endfor %}"
    words = ("templates", "preview", "--subject", "x", "--file", str(tmp_path / "text.txt"))

    (tmp_path / "text.txt").write_text(text, "utf-8-sig")
    marked = run(*words, "--json")
    (tmp_path / "text.txt").write_text(text, "windows-1252")
    other = run(*words)

    assert marked.json["text"].startswith("Grüße ")
    assert (other.code, other.err) == (
        2,
        "A text that the command reads is not in UTF-8; save it so.\n",
    )
