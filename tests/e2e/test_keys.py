"""API keys, through their commands."""

import pytest

from tests.support.command_result import Answer
from tests.support.shell import Shell

pytestmark = pytest.mark.timeout(900)


def test_keys_are_created_listed_rotated_and_revoked(shell: Shell, up: Answer) -> None:
    made = shell.run("keys", "create", "--scope", "recommend", "--scope", "feedback", "--name", "shop")
    key = made.out.strip()
    key_id = key.split("_")[1]
    assert key_id in made.err and key not in made.err
    successor = shell.run("keys", "rotate", key_id, "--grace", "1").out.strip()
    assert successor.split("_")[1] in shell.run("keys", "list").text
    shell.run("keys", "revoke", key_id)
    listed = shell.run("keys", "list").text
    assert "expired" in listed and key not in listed and successor not in listed
    assert "no living key" in shell.run("keys", "revoke", key_id, fails=True).text
    opened = shell.run("open", "store")
    address, _, token = opened.out.strip().partition("/#sign-in=")
    assert address == shell.platform.addresses.serving_url
    assert "once" in opened.err and token not in opened.err
    assert token.split("_")[1] in shell.run("keys", "list").text
    assert "no scope" in shell.run("keys", "create", "--scope", "root", "--name", "x", fails=True).text
