"""Tests of tools/launcher/plan.py."""

import re
import signal
from pathlib import Path

import pytest

from tools.launcher.options import Options, read_command_line
from tools.launcher.plan import Programs, Service, instances_of, ports_of, services_of, stop_groups

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = Programs(Path("/python"), Path("/haproxy"), Path("/redis-server"), Path("/project"))
FOLDER = Path("/folder")


def options(*words: str) -> Options:
    """Options as from the command line."""
    return read_command_line(words)


def services(*words: str) -> dict[str, Service]:
    """The plan for a command line, by name, in the order of starting."""
    return {service.name: service for service in services_of(options(*words), PROGRAMS, FOLDER)}


class TestInstancesOf:
    """instances_of."""

    def test_names(self) -> None:
        """Two as HAProxy's configuration has them; one by itself is called local, as the settings' default."""
        assert instances_of(options()) == ("app1", "app2")
        assert instances_of(options("--single")) == ("local",)


class TestPortsOf:
    """ports_of."""

    @pytest.mark.parametrize(
        ("words", "ports"),
        [([], {9999, 9990, 8001, 8002}), (["--docker"], {9999, 9990, 8001, 8002}), (["--single"], {9999, 8001, 8002})],
    )
    def test_every_port_has_an_owner(self, words: list[str], ports: set[int]) -> None:
        """What is asked before anything starts: in Docker the same as here."""
        assert ports_of(options(*words)).keys() == ports
        assert ports_of(options(*words))[9999] == "payments"


class TestServicesOf:
    """services_of."""

    def test_order(self) -> None:
        """Each starts when what it needs is there: processors and Redis, instances, HAProxy."""
        assert list(services()) == [
            *("processor default", "processor fallback", "redis", "instance app1", "instance app2", "haproxy"),
        ]
        assert list(services("--single")) == ["processor default", "processor fallback", "instance local"]

    def test_instances_meet_haproxy_in_the_folder(self) -> None:
        """Their sockets are the ones that haproxy.cfg names, as many as they have workers."""
        plan = services()
        configuration = (ROOT / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
        named = set(re.findall(r'"unix@\$\{GATEWAY_RUN\}/(.+?)"', configuration))
        made = set()
        for name in ("app1", "app2"):
            environment = plan[f"instance {name}"].environment
            assert environment["LISTEN"] == "unix:/folder"
            made |= {f"{environment['INSTANCE']}-{number}.sock" for number in range(int(environment["WEB_WORKERS"]))}
        assert made == named
        assert plan["haproxy"].environment["GATEWAY_RUN"] == "/folder"
        assert plan["haproxy"].command == ("/haproxy", "-db", "-f", "/project/haproxy/haproxy.cfg")

    def test_totals_meet_in_redis(self) -> None:
        """One Redis of this run's own, without a port and without a file."""
        plan = services()
        assert plan["instance app1"].environment["REDIS_URL"] == "unix:///folder/redis.sock"
        assert plan["instance app2"].environment["REDIS_URL"] == "unix:///folder/redis.sock"
        words = " ".join(plan["redis"].command)
        assert "--port 0 --unixsocket /folder/redis.sock" in words
        assert "--appendonly no" in words
        assert plan["redis"].listens == FOLDER / "redis.sock"

    def test_instances_know_each_other(self) -> None:
        """Each is told the other's name: the ids of one that is down count at the other."""
        plan = services()
        assert plan["instance app1"].environment["SIBLINGS"] == "app2"
        assert plan["instance app2"].environment["SIBLINGS"] == "app1"

    def test_a_single_instance_is_by_itself(self) -> None:
        """Even where the person's own environment names a Redis, or siblings."""
        environment = services("--single", "--port", "7000")["instance local"].environment
        assert (environment["REDIS_URL"], environment["SIBLINGS"]) == ("", "")
        assert environment["LISTEN"] == "tcp:127.0.0.1:7000"

    def test_chosen_ports_arrive(self) -> None:
        """With those who listen, and those who ask."""
        plan = services("--port", "7000", "--stats-port", "7001", "--processor-ports", "7002", "7003")
        assert plan["haproxy"].environment["GATEWAY_BIND"] == "127.0.0.1:7000"
        assert plan["haproxy"].environment["GATEWAY_STATS_BIND"] == "127.0.0.1:7001"
        assert plan["haproxy"].listens == 7000
        assert "7002" in plan["processor default"].command
        assert "7003" in plan["processor fallback"].command
        asked = plan["instance app2"].environment
        assert asked["PROCESSOR_DEFAULT_URL"] == "http://127.0.0.1:7002"
        assert asked["PROCESSOR_FALLBACK_URL"] == "http://127.0.0.1:7003"

    def test_each_has_a_log_of_its_own(self) -> None:
        """In the run's folder."""
        logs = [service.log for service in services().values()]
        assert len(set(logs)) == len(logs)
        assert {log.parent for log in logs} == {FOLDER}


class TestStopGroups:
    """stop_groups."""

    def test_instances_first(self) -> None:
        """While HAProxy, Redis and the processors still serve them; both at once, each takes seconds."""
        groups = stop_groups(list(services().values()))
        assert [[service.name for service in group] for group in groups] == [
            ["instance app1", "instance app2"],
            ["haproxy"],
            ["processor default", "processor fallback", "redis"],
        ]

    def test_haproxy_has_a_signal_of_its_own(self) -> None:
        """SIGTERM would cut requests off."""
        assert services()["haproxy"].stop_signal == signal.SIGUSR1
