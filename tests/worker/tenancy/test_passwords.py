"""Passwords: what it costs to guess one."""

from argon2 import PasswordHasher, Type

from worker.tenancy import passwords
from worker.tenancy.passwords import _hasher as keypools  # before tests/conftest.py makes it cheap


def test_a_guess_at_a_password_costs_what_rfc_9106_recommends():
    hasher = keypools()

    assert (hasher.type, hasher.time_cost, hasher.memory_cost) == (Type.ID, 3, 64 * 1024)
    assert (hasher.hash_len, hasher.salt_len) == (32, 16)


def test_a_password_is_compared_whole_and_as_it_was_typed():
    password = "".join(f"{n * n:x}-" for n in range(7, 99))[: passwords.LONGEST]
    made = passwords.hashed(password, about="")
    salt = made.rpartition("$")[0] + "$"

    assert passwords.hashed_alike(password, salt) == made
    for other in (f"{password}x", f" {password}", password.upper(), password[:-1]):
        assert passwords.hashed_alike(other, salt) != made


def test_how_new_passwords_are_hashed_is_told_without_hashing_one(monkeypatch):
    made = passwords.hashed("four words do well", about="")
    monkeypatch.setattr(PasswordHasher, "hash", None)

    assert made.startswith(passwords.manner())
