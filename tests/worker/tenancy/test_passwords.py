"""Passwords: what it costs to guess one."""

from argon2 import Type

from worker.tenancy.passwords import _hasher as keypools  # before tests/conftest.py makes it cheap


def test_a_guess_at_a_password_costs_what_rfc_9106_recommends():
    hasher = keypools()

    assert (hasher.type, hasher.time_cost, hasher.memory_cost) == (Type.ID, 3, 64 * 1024)
    assert (hasher.hash_len, hasher.salt_len) == (32, 16)
