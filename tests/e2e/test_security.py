"""`--security on`: the whole pipeline over TLS, with a user for each part, and nothing of it open or told."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


@pytest.mark.slow
def test_every_line_lands_and_no_secret_is_told(tmp_path: Path) -> None:
    lines, data = tmp_path / "app.log", tmp_path / "data"
    lines.write_text("".join(f"line {number}\n" for number in range(500)))
    command = [sys.executable, "-m", "headrace", "demo", str(lines), "--data", str(data), "--json", "--security", "on"]
    for _ in range(2):  # a second run finds what the first has made
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        assert (told["landed"], told["audit"]) == (500, "complete")
    assert yaml.safe_load((data / "etc" / "agent.yaml").read_text())["registry"]["url"].startswith("https://")
    assert yaml.safe_load((data / "etc" / "registry.yaml").read_text())["authentication"] == "broker"
    secrets = [yaml.safe_load((data / "broker" / "security" / "client.yaml").read_text())["sasl.password"]]
    for part in ("agent", "load", "registry"):
        file = data / "etc" / f"{part}.yaml"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        kafka = yaml.safe_load(file.read_text())["kafka"]
        assert (kafka["security.protocol"], kafka["sasl.username"]) == ("SASL_SSL", f"headrace-{part}")
        secrets.append(kafka["sasl.password"])
    said = done.stdout + done.stderr + "".join(log.read_text() for log in (data / "logs").iterdir())
    assert not [secret for secret in secrets if secret in said]
