"""Tests of tools/processor/docker-compose.yml."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

COMPOSE = Path(__file__).resolve().parents[3] / "tools" / "processor" / "docker-compose.yml"


def configuration(environment: dict[str, str] | None = None) -> Any:
    """The file as Compose reads it."""
    settings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin", "HOME": "/nonexistent", **(environment or {})}
    command = ["docker", "compose", "-f", str(COMPOSE), "config", "--format", "json"]
    return json.loads(subprocess.run(command, env=settings, check=True, capture_output=True).stdout)


@pytest.mark.containers
class TestCompose:
    """The contest's names, ports and network."""

    @pytest.mark.parametrize(("name", "port", "fee"), [("default", "8001", "7"), ("fallback", "8002", "10")])
    def test_each_processor_is_where_the_contest_has_it(self, name: str, port: str, fee: str) -> None:
        """Name, host name, published port (for this machine only), network and the final's fee."""
        configured = configuration()
        service = configured["services"][f"payment-processor-{name}"]
        assert service["container_name"] == service["hostname"] == f"payment-processor-{name}"
        (published,) = service["ports"]
        assert (published["host_ip"], published["published"], published["target"]) == ("127.0.0.1", port, 8080)
        assert service["command"][-4:] == ["--name", name, "--fee-percent", fee]
        assert list(service["networks"]) == ["payment-processor"]
        network = configured["networks"]["payment-processor"]
        assert (network["name"], network["driver"]) == ("payment-processor", "bridge")

    def test_fees_are_settings(self) -> None:
        """The preview's, for example."""
        configured = configuration({"FEE_DEFAULT_PERCENT": "5", "FEE_FALLBACK_PERCENT": "15"})
        fees = [service["command"][-1] for _, service in sorted(configured["services"].items())]
        assert fees == ["5", "15"]
