"""What is handed out as a file has a name that every browser can keep."""

import pytest

from webhook.http.files import attachment


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("Autumn 2026.csv", 'attachment; filename="Autumn 2026.csv"'),
        ('a"b.csv', 'attachment; filename="a\\"b.csv"'),
        ("Übung.csv", "attachment; filename=\"Ubung.csv\"; filename*=UTF-8''%C3%9Cbung.csv"),
        ("春.xlsx", "attachment; filename=\"keys.xlsx\"; filename*=UTF-8''%E6%98%A5.xlsx"),
    ],
)
def test_a_name_is_told_as_rfc_6266_says(name, header):
    assert attachment(name)["Content-Disposition"] == header
