"""Headings, and what the columns below them mean."""

import pytest

from tests.worker.pools.reading.inputs import Found, asked, found, owned, read, refused
from worker import errors
from worker.pools.reading import Purpose


@pytest.mark.parametrize(
    "heading",
    ["Key", "TRAINING KEYS", "code", '"Access code"', "License_Key", "Enrollment code:", "Code *"],
)
def test_a_heading_is_no_key(heading):
    assert found(f"{heading}\nAAAA-0001\n") == [(2, "AAAA-0001")]


def test_a_first_line_that_could_be_a_key_is_one():
    assert found("CODE-0001\nCODE-0002\n") == [(1, "CODE-0001"), (2, "CODE-0002")]


@pytest.mark.parametrize(
    ("heading", "meanings"),
    [
        ("Schlüssel;Empfänger;Bestell-Nr.", ["code", "recipient", "reference"]),
        ("SCHLUESSEL;EMPFAENGER;BESTELLNR", ["code", "recipient", "reference"]),
        ("Clé d'accès;Adresse électronique;N° de commande", ["code", "email", "reference"]),
        ("Codigo;Correo electronico;Nº de pedido", ["code", "email", "reference"]),
        ("Codice;Indirizzo e-mail;Numero d'ordine", ["code", "email", "reference"]),
        ("Código de acesso;E-mail;Encomenda", ["code", "email", "reference"]),
        ("Toegangscode;E-mailadres;Bestelnummer", ["code", "email", "reference"]),
        ("Kod dostępu;Adres e-mail;Nr zamówienia", ["code", "email", "reference"]),
        ("コード;メールアドレス;注文番号", ["code", "email", "reference"]),
        ("激活码;电子邮件;订单号", ["code", "email", "reference"]),
        ("Access Code;E-Mail (required);PO #", ["code", "email", "reference"]),
    ],
)
def test_headings_are_known_in_ten_languages(heading, meanings):
    told = read(f"{heading}\nAAAA-0001;ann@example.org;B-1\n")

    assert list(told["columns"]) == meanings
    assert list(told["columns"].values()) == heading.split(";")


@pytest.mark.parametrize("above", [1, 5, 9])
def test_a_heading_is_found_within_the_first_ten_lines(above):
    prose = "".join(f"About these keys, part {n}\n" for n in range(above))

    assert found(f"{prose}Code,URL\nAAAA-0001-XX,x\nAAAA-0002-XX,y\n") == [
        (above + 2, "AAAA-0001-XX"),
        (above + 3, "AAAA-0002-XX"),
    ]


def test_keys_above_a_heading_are_not_lost():
    assert found("AAAA-0001-XX\nCode\nAAAA-0002-XX\nAAAA-0003-XX\n") == [
        (1, "AAAA-0001-XX"),
        (3, "AAAA-0002-XX"),
        (4, "AAAA-0003-XX"),
    ]


def test_a_heading_that_comes_again_is_no_key():
    content = "Enrolment Key\nAAAA-0001\nEnrolment Key\nAAAA-0002\n"

    assert (found(content), refused(content)) == ([(2, "AAAA-0001"), (4, "AAAA-0002")], {})


@pytest.mark.parametrize(
    "heading", ["Kulcskód", "Zugangsdaten fürs Training", "These are yours", "Zugangsdaten"]
)
def test_a_line_unlike_what_follows_is_a_heading(heading):
    content = f"{heading}\nAAAA-0001-BBBB\nAAAA-0002-BBBB\n"

    assert [number for number, _ in found(content)] == [2, 3]
    assert read(content)["heading_line"] == 1


def test_a_first_line_that_was_meant_as_a_key_is_no_heading():
    content = "LОOK-0001-AAAA\nLOOK-0002-AAAA\nLOOK-0003-AAAA\n"  # the first O is Cyrillic

    assert "U+041E" in refused(content)[1]


def test_an_exported_list_of_undistributed_keys_is_read_below_its_title():
    content = "Kubernetes Autumn Pool\r\n\r\nUndistributed Keys\r\nAB12CD34EF56GH78\r\nAB12CD34EF56GH79\r\n"

    assert found(content) == [(4, "AB12CD34EF56GH78"), (5, "AB12CD34EF56GH79")]


def test_the_undistributed_keys_may_be_a_column_of_a_table():
    content = "Pool,Undistributed Keys\nAutumn 2026 pool,AB12CD34EF56GH78\n"

    assert found(content) == [(2, "AB12CD34EF56GH78")]


def test_a_name_is_the_recipient_where_there_is_no_address():
    assert owned("key,name\nAAAA-0001,Ann\n") == [Found(2, "AAAA-0001", "Ann", "Ann")]


@pytest.mark.parametrize(
    ("heading", "row", "name"),
    [
        ("key,first name,last name", "Ann,Smith", "Ann Smith"),
        ("key,Vorname,Name", "Ann,Smith", "Ann Smith"),
        ("key,Nom,Prénom", "Smith,Ann", "Ann Smith"),
        ("key,姓,名", "佐藤,花", "佐藤 花"),
        ("key,Surname,Given name", "Smith,", "Smith"),
    ],
)
def test_a_name_in_two_columns_is_one(heading, row, name):
    assert [one.name for one in owned(f"{heading}\nAAAA-0001,{row}\n")] == [name]


def test_labels_are_carried():
    assert [one.labels for one in owned("key,tags\nAAAA-0001,spring sale\n")] == ["spring sale"]


def test_an_address_is_kept_in_its_one_form_and_what_is_none_is_refused():
    content = (
        "key,email\nAAAA-0001,Ann@Example.ORG \nAAAA-0002,mailto:ann@example.org\nAAAA-0003,\n"
    )

    assert [one.recipient for one in owned(content)] == ["ann@example.org", ""]
    assert refused(content) == {3: "“mailto:ann@example.org” is not an e-mail address."}


def test_a_name_is_kept_as_it_is_and_what_cannot_be_printed_is_refused():
    content = "key,name\nAAAA-0001,Zoë\u00a0\u200bØrjan\nAAAA-0002,A\x07nn\n"

    assert [one.name for one in owned(content)] == ["Zoë Ørjan"]
    assert "cannot be printed" in refused(content)[3]


def test_the_keys_column_can_be_told_by_its_heading():
    content = "id,mine,yours\n10000001,AAAA-0001,BBBB-0001\n"

    assert found(content, columns=["MINE"]) == [(2, "AAAA-0001")]
    assert found(content, columns=["code=yours"]) == [(2, "BBBB-0001")]


def test_a_column_can_be_told_by_its_number():
    content = "10000001,AAAA-0001,ann@example.org\n"

    assert owned(content, columns=["code=2", "email=3"]) == [
        Found(1, "AAAA-0001", "ann@example.org")
    ]


def test_the_keys_column_is_the_one_that_looks_like_keys():
    content = "email,product\nann@example.com,AAAA-0001\nbob@example.com,AAAA-0002\n"

    assert found(content) == [(2, "AAAA-0001"), (3, "AAAA-0002")]
    assert read(content)["columns"] == {"email": "email", "code": "product"}


def test_two_columns_that_look_like_keys_are_not_guessed():
    content = "this,that\nAAAA-0001,10000001\nAAAA-0002,10000002\n"

    with pytest.raises(errors.InvalidInputError, match="“code” is one of this, that"):
        found(content)


def test_without_a_heading_the_first_line_holds_a_key():
    content = "Berlin branch,AAAA-0001\nBerlin branch,AAAA-0002\n"

    assert found(content) == [(1, "AAAA-0001"), (2, "AAAA-0002")]
    assert read(content) == {
        "encoding": "utf-8",
        "delimiter": ",",
        "heading_line": None,
        "columns": {"code": "2"},
        "not_read": ["1"],
        "sheet": None,
        "other_sheets": [],
        "warnings": [],
    }


def test_a_column_that_is_not_there_is_refused_with_those_that_are():
    for told in ({"columns": ["code=serial"]}, {"ignore": ["serial"]}):
        with pytest.raises(
            errors.InvalidInputError, match=r"no column “serial”.*it has: key, email"
        ):
            found("key,email\nAAAA-0001,a@example.com\n", **told)


def test_a_meaning_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(
        errors.InvalidInputError, match=r"“recipent” is no meaning.*code, recipient"
    ):
        found("AAAA-0001\n", columns=["recipent=E-Mail"])


def test_columns_that_are_not_read_are_told():
    told = read("key,note,shelf\nAAAA-0001,x,y\n")

    assert told["not_read"] == ["note", "shelf"]


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("key;kontakt\nAAAA-0001;ann@example.org\n", "kontakt"),
        ("AAAA-0001;ann@example.org\n", "2"),
        ("key;email;cc\nAAAA-0001;ann@example.org;bob@example.org\n", "cc"),
        ("key;note\n" + "AAAA-0001;x\n" * 999 + "AAAA-0002;ann@example.org\n", "note"),
    ],
)
def test_addresses_that_nobody_reads_stop_the_import_until_they_are_told_of(content, column):
    with pytest.raises(errors.InvalidInputError, match=f"“{column}” holds e-mail addresses"):
        found(content)

    assert found(content, ignore=[column])
    if "email" not in content:
        assert "ann@example.org" in [
            o.recipient for o in owned(content, columns=[f"email={column}"])
        ]


def test_keypools_own_export_is_read_without_a_word():
    content = (
        "code,state,recipient,reference,distributed_at,redeemed_by_email,redeemed_by_name,"
        "redeemed_by_organization,redeemed_at,access_expires_at\n"
        "AAAA-0001,issued,ann@example.org,B-1,2026-01-01T00:00:00Z,,,,,\n"
        "AAAA-0002,redeemed,ann@example.org,B-1,2026-01-01T00:00:00Z,bob@example.org,,,,\n"
    )

    assert owned(content) == [Found(2, "AAAA-0001", "ann@example.org", "", "B-1")]
    assert list(refused(content)) == [3]


@pytest.mark.parametrize("guarded", ["'=A-1", "'@home", "''=A-1", "'-1"])
def test_what_keypool_guards_against_formulas_is_read_without_the_guard(guarded):
    content = f'code,recipient,reference\nAAAA-0001,Ann,"{guarded}"\n'

    assert [one.reference for one in owned(content)] == [guarded[1:]]


@pytest.mark.parametrize("plain", ["'A-1", "'", "O'Neil"])
def test_an_apostrophe_that_guards_nothing_stays(plain):
    content = f"code,recipient,reference\nAAAA-0001,Ann,{plain}\n"

    assert [one.reference for one in owned(content)] == [plain]


@pytest.mark.parametrize("content", ["|", ";;\n;;\n", "\t\n", "  \n\n"])
def test_an_input_of_blank_cells_alone_has_nothing_in_it(content):
    with pytest.raises(errors.InvalidInputError, match="nothing in the input"):
        found(content)


def test_numbered_headings_are_all_of_keys():
    content = "Key 1;Key 2;Key 3\nAAAA-0001;AAAA-0002;\nAAAA-0003;;AAAA-0004\n"

    assert found(content) == [
        (2, "AAAA-0001"),
        (2, "AAAA-0002"),
        (3, "AAAA-0003"),
        (3, "AAAA-0004"),
    ]


def test_references_of_nobody_are_told_as_not_read():
    content = "code;Bestellnummer\nAAAA-0001;B-1\nAAAA-0002;B-2\n"

    assert read(content)["not_read"] == ["Bestellnummer"]
    assert found(content) == [(2, "AAAA-0001"), (3, "AAAA-0002")]


def test_a_reference_without_a_recipient_is_not_lost_in_silence():
    content = "code;email;order\nAAAA-0001;;B-1\nAAAA-0002;a@x.org;B-2\nAAAA-0003;;\n"

    assert found(content) == [(3, "AAAA-0002"), (4, "AAAA-0003")]
    assert refused(content) == {
        2: "It has a reference and no recipient; give one, or leave it away."
    }


def test_headings_of_one_word_are_all_of_keys():
    content = "Code;Code\nAAAA-0001;AAAA-0002\n"

    assert found(content) == [(2, "AAAA-0001"), (2, "AAAA-0002")]
    assert read(content)["not_read"] == []


def test_two_files_one_behind_the_other_have_the_first_heading_and_no_mark():
    one, other = (
        f"\ufeffcode,email\n{row}\n" for row in ("AAAA-0001,a@x.org", "AAAA-0002,b@x.org")
    )

    assert read(one + other)["heading_line"] == 1
    assert read(one + other)["columns"]["code"] == "code"
    assert found(one + other) == [(2, "AAAA-0001"), (4, "AAAA-0002")]
    assert refused(one + other) == {}


def test_a_heading_is_the_lowest_of_known_words_above_the_first_key():
    assert read("Keys\nCode\nAAAA-0001\n")["heading_line"] == 2


def test_several_quoted_keys_on_a_line_lose_their_marks():
    content = '"AAAA-0001", "AAAA-0002"\n"AAAA-0003",\n"AAAA-0004"\n"AAAA-0005"\n'

    assert [code for _, code in found(content)] == [f"AAAA-000{n}" for n in range(1, 6)]
    assert refused(content) == {}


def test_several_keys_in_a_cell_are_for_one_recipient():
    content = "Code;E-Mail\nAAAA-0001, AAAA-0002;ann@example.org\n"

    assert owned(content) == [
        Found(2, "AAAA-0001", "ann@example.org"),
        Found(2, "AAAA-0002", "ann@example.org"),
    ]


def test_a_list_of_addresses_alone_is_one_of_recipients():
    assert asked("ann@example.org\nbob@example.org\n") == [
        ("ann@example.org", None, ""),
        ("bob@example.org", None, ""),
    ]


def test_recipients_without_a_heading_are_told_by_numbers():
    content = "ann@example.org,2\nbob@example.org,3\n"

    with pytest.raises(errors.InvalidInputError, match="begin with email,name,count,reference"):
        asked(content)

    assert asked(content, columns=["email=1", "count=2"]) == [
        ("ann@example.org", 2, ""),
        ("bob@example.org", 3, ""),
    ]
    assert read(content, Purpose.RECIPIENTS, columns=["email=1", "count=2"])["columns"] == {
        "email": "1",
        "count": "2",
    }
