"""docker-compose.yml as Compose reads it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMPOSE_S_MAX = 30.0


def compose_config(**variables: str) -> dict[str, Any]:
    """Let Compose resolve the file: anchors merged, defaults filled in.

    Args:
        variables: environment variables of the person who starts it; none of theirs otherwise.
    """
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
    command = ["docker", "compose", "--file", str(ROOT / "docker-compose.yml"), "config", "--format", "json"]
    done = subprocess.run(
        command, env=environment | variables, capture_output=True, text=True, timeout=COMPOSE_S_MAX, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    config: dict[str, Any] = json.loads(done.stdout)
    return config
