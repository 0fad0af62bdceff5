"""The end of a platform."""

from infra.local.ports import is_free
from infra.local.sweep import tagged
from tests.support.shell import Done, Shell


def test_down_leaves_no_process_and_no_port(shell: Shell, up: Done) -> None:
    ports = shell.platform.home.state.ports
    shell.run("down")
    assert tagged(shell.platform.home.id) == []
    assert all(is_free(port) for port in ports.values())
    assert not any(service["healthy"] for service in shell.status()["services"].values())
