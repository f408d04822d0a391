"""docker-compose.yml: the contest's rules, the caps, and what keeps data and rights where they belong."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from server.config import SETTINGS, load
from server.supervisor import stop_within_ms
from tests.containers.compose import ROOT, compose_config

pytestmark = [pytest.mark.slow, pytest.mark.containers]

CPUS_MAX = Decimal("1.5")  # the contest's, for all services together
MEMORY_BYTES_MAX = 350 * 1024 * 1024
REDIS_BYTES = 8 * 1024 * 1024  # what Redis takes beside its data: 4 MB empty, and its clients' buffers
APPS = ("app1", "app2")
SERVICES = ("app1", "app2", "haproxy", "redis")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """Return the whole file, resolved."""
    return compose_config()


def mounts_of(service: Mapping[str, Any]) -> dict[str, tuple[str, bool, bool]]:
    """Return by target: the volume or folder, whether it is read-only, whether Docker may give it its first content."""
    return {
        mount["target"]: (
            mount["source"],
            mount.get("read_only", False),
            not mount.get("volume", {}).get("nocopy", False),
        )
        for mount in service["volumes"]
    }


def seconds(duration: str) -> int:
    """Read Compose's `15s`."""
    assert duration.endswith("s")
    return int(duration.removesuffix("s"))


class TestContest:
    """What the contest asks of the file."""

    def test_services(self, config: dict[str, Any]) -> None:
        """There are these four services, two of them instances."""
        assert sorted(config["services"]) == sorted(SERVICES)

    def test_limits_fit_the_caps(self, config: dict[str, Any]) -> None:
        """Each service has limits, and their sums are at most 1.5 CPU and 350 MB."""
        limits = [service["deploy"]["resources"]["limits"] for service in config["services"].values()]
        assert sum(Decimal(str(limit["cpus"])) for limit in limits) <= CPUS_MAX
        assert sum(int(limit["memory"]) for limit in limits) <= MEMORY_BYTES_MAX
        assert all(0 < limit["pids"] <= 64 for limit in limits)

    @pytest.mark.parametrize("name", SERVICES)
    def test_nothing_forbidden(self, config: dict[str, Any], name: str) -> None:
        """No service is privileged, replicated or on the host's network."""
        service = config["services"][name]
        assert not {"privileged", "network_mode", "scale", "pid", "ipc", "devices", "cap_add"} & set(service)
        assert "replicas" not in service["deploy"]

    def test_networks(self, config: dict[str, Any]) -> None:
        """All networks are bridges; the processors' is the existing one; Redis shares none and has no way out."""
        own = {name: network for name, network in config["networks"].items() if not network.get("external")}
        assert config["networks"]["payment-processor"]["external"] is True
        assert config["networks"]["payment-processor"]["name"] == "payment-processor"
        assert {network["driver"] for network in own.values()} == {"bridge"}
        networks = {name: list(service["networks"]) for name, service in config["services"].items()}
        assert networks["app1"] == networks["app2"] == ["payment-processor"]
        assert networks["redis"] not in (networks["haproxy"], networks["app1"])
        assert own[networks["redis"][0]]["internal"] is True

    def test_ports(self, config: dict[str, Any]) -> None:
        """Clients reach 9999 from anywhere, operators 9990 from this machine, and nothing else is published."""
        published = [
            (name, port.get("host_ip"), port["published"], port["target"])
            for name, service in config["services"].items()
            for port in service.get("ports", [])
        ]
        assert published == [("haproxy", None, "9999", 9999), ("haproxy", "127.0.0.1", "9990", 9990)]

    def test_images(self, config: dict[str, Any]) -> None:
        """HAProxy and Redis are the public images; the instances' is built from here."""
        services = config["services"]
        assert (services["haproxy"]["image"], services["redis"]["image"]) == ("haproxy:3.0-alpine", "redis:8-alpine")
        assert all(services[app]["build"]["context"] == str(ROOT) for app in APPS)


class TestService:
    """What every service has."""

    @pytest.mark.parametrize("name", SERVICES)
    def test_has_no_rights_to_spare(self, config: dict[str, Any], name: str) -> None:
        """No capability, no writable root folder, no new privileges."""
        service = config["services"][name]
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert service["security_opt"] == ["no-new-privileges:true"]

    @pytest.mark.parametrize("name", SERVICES)
    def test_looks_after_itself(self, config: dict[str, Any], name: str) -> None:
        """It comes back by itself, its log has a bound, and Docker starts nothing in it to see whether it lives."""
        service = config["services"][name]
        assert service["restart"] == "always"
        assert "healthcheck" not in service
        assert service["logging"]["options"] == {"max-size": "1m", "max-file": "2"}


class TestInstances:
    """app1 and app2."""

    @pytest.mark.parametrize("name", APPS)
    def test_settings_are_known_and_right(self, config: dict[str, Any], name: str) -> None:
        """Each variable is a setting of the server, and the server accepts their values."""
        environment = config["services"][name]["environment"]
        assert set(environment) <= {setting.variable for setting in SETTINGS.values()}
        loaded = load(environment)
        assert (loaded.instance, loaded.purge_enabled) == (name, True)
        assert loaded.processor_default_url == "http://payment-processor-default:8080"
        assert loaded.processor_fallback_url == "http://payment-processor-fallback:8080"

    def test_differ_in_their_names_alone(self, config: dict[str, Any]) -> None:
        """What holds for one instance holds for the other; each knows the other as its sibling."""
        first, second = (dict(config["services"][app]) for app in APPS)
        assert (first["environment"]["SIBLINGS"], second["environment"]["SIBLINGS"]) == ("app2", "app1")
        first["environment"] = first["environment"] | {"INSTANCE": "app2", "SIBLINGS": "app1"}
        assert first == second

    def test_processors_can_be_chosen(self) -> None:
        """PROCESSOR_DEFAULT_URL and PROCESSOR_FALLBACK_URL of the environment go through."""
        chosen = compose_config(PROCESSOR_DEFAULT_URL="http://a:1", PROCESSOR_FALLBACK_URL="http://b:2")
        environment = chosen["services"]["app2"]["environment"]
        assert (environment["PROCESSOR_DEFAULT_URL"], environment["PROCESSOR_FALLBACK_URL"]) == (
            "http://a:1",
            "http://b:2",
        )

    @pytest.mark.parametrize("name", APPS)
    def test_haproxy_knows_every_worker(self, config: dict[str, Any], name: str) -> None:
        """haproxy.cfg has a server line for each of the instance's workers and no other."""
        text = (ROOT / "haproxy" / "haproxy.cfg").read_text()
        lines = re.findall(
            rf'^ +server {name}-(\d+) "unix@\$\{{GATEWAY_RUN\}}/{name}-(\d+)\.sock"$', text, re.MULTILINE
        )
        workers = load(config["services"][name]["environment"]).web_workers
        assert lines == [(str(number), str(number)) for number in range(workers)]
        assert len(re.findall(r"^ +server ", text, re.MULTILINE)) == workers * len(APPS)

    @pytest.mark.parametrize("name", APPS)
    def test_has_time_to_stop(self, config: dict[str, Any], name: str) -> None:
        """Docker kills it no sooner than its supervisor has ended, whoever hangs in there."""
        service = config["services"][name]
        longest_ms = sum(stop_within_ms(load(service["environment"])).values())
        assert seconds(service["stop_grace_period"]) * 1000 > longest_ms + 1000


class TestVolumes:
    """Where data and sockets are."""

    def test_segments_outlive_their_containers(self, config: dict[str, Any]) -> None:
        """/dev/shm is a named volume on disk, common to both instances, owned like the image's folder."""
        assert not config["volumes"]["shm"].get("driver_opts")
        for app in APPS:
            mounts = mounts_of(config["services"][app])
            assert mounts["/dev/shm"] == ("shm", False, False)
            assert mounts["/var/lib/shm-owner"] == ("shm", False, True)

    def test_sockets_are_shared_with_whom_they_concern(self, config: dict[str, Any]) -> None:
        """HAProxy sees the workers' sockets read-only, the instances see Redis's, and nobody sees more."""
        services = config["services"]
        assert mounts_of(services["app1"])["/run/gateway"] == ("sockets", False, True)
        assert mounts_of(services["app1"])["/run/redis"] == ("redis", False, True)
        assert mounts_of(services["haproxy"]) == {
            "/usr/local/etc/haproxy": (str(ROOT / "haproxy"), True, True),
            "/run/gateway": ("sockets", True, False),
        }
        assert mounts_of(services["redis"]) == {"/run/redis": ("redis", False, False)}

    def test_redis_keeps_nothing_and_evicts_nothing(self, config: dict[str, Any]) -> None:
        """No snapshot, no log, no TCP port; memory bounded by refusal, under the container's limit."""
        command = config["services"]["redis"]["command"]
        options = dict(zip(command[::2], command[1::2], strict=True))
        assert (options["--save"], options["--appendonly"], options["--port"]) == ("", "no", "0")
        assert options["--maxmemory-policy"] == "noeviction"
        limit = int(config["services"]["redis"]["deploy"]["resources"]["limits"]["memory"])
        assert int(options["--maxmemory"].removesuffix("mb")) * 1024 * 1024 <= limit - REDIS_BYTES
        assert config["services"]["redis"]["user"] == "10001:10001"
