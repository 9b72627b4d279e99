"""What deploy/ holds is whole, agrees with the rest of the project, and passes the checkers that are installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from alerting import Alerts, names_in, read_rules

from fullon_ohlcv_service.config.settings import OhlcvServiceConfig

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "fullon-ohlcv.service"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = DEPLOY / "grafana" / "fullon-ohlcv.json"
OPERATIONS = ROOT / "docs" / "operations.md"
DOCKERFILE = DEPLOY / "Dockerfile"
PAGER = "./prometheus/pager.url"
"""Where to call is nobody else's business: not in the repository."""


def run_checker(*command: str | Path) -> None:
    """Run a checker where it is installed; what it objects to fails the test."""
    if (program := shutil.which(str(command[0]))) is not None:
        done = subprocess.run(
            [program, *map(str, command[1:])], capture_output=True, text=True, timeout=60, check=False, cwd=PROMETHEUS
        )
        assert done.returncode == 0, done.stdout + done.stderr


def unit_settings(text: str) -> dict[str, list[str]]:
    """Every `Name=value` of a unit, in order; a name may come several times."""
    settings: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith(("#", "[")):
            name, equals, value = line.partition("=")
            assert equals, line
            settings.setdefault(name, []).append(value)
    return settings


# systemd --------------------------------------------------------------------------------------------------------


HARDENED = {
    "NoNewPrivileges": "true",
    "ProtectSystem": "strict",
    "ProtectHome": "true",
    "PrivateTmp": "true",
    "PrivateDevices": "true",
    "CapabilityBoundingSet": "",
    "RestrictNamespaces": "true",
    "RestrictSUIDSGID": "true",
    "ProtectKernelTunables": "true",
    "ProtectKernelModules": "true",
    "ProtectControlGroups": "true",
    "StateDirectoryMode": "0700",
    "UMask": "0077",
}


def test_the_unit_is_hardened_has_its_own_user_and_a_limit_of_memory() -> None:
    settings = unit_settings(UNIT.read_text())
    assert {name: settings[name] for name in HARDENED} == {name: [value] for name, value in HARDENED.items()}
    [user] = settings["User"]
    assert user not in ("", "root")
    assert f"u {user} " in (UNIT.with_suffix(".sysusers")).read_text()
    assert re.fullmatch(r"\d+[MG]", settings["MemoryMax"][0])
    assert settings["SystemCallFilter"][0] == "@system-service"


def test_the_unit_believes_what_the_daemon_tells_it_and_starts_it_for_ever() -> None:
    settings = unit_settings(UNIT.read_text())
    assert settings["Type"] == ["notify"]
    assert settings["Restart"] == ["always"]
    assert settings["StartLimitIntervalSec"] == ["0"]
    assert int(settings["WatchdogSec"][0]) >= 60, "probes of exchanges take up to ten seconds"
    assert int(settings["TimeoutStopSec"][0]) > 15, "what has arrived is stored before the end"
    [command] = settings["ExecStart"]
    assert command.split()[0].endswith("/bin/fullon-ohlcv")
    assert command.split()[1:] == ["run"]


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    """`verify` with a program that is there, and an exposure of 2 at most, where systemd-analyze is installed."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text(), flags=re.MULTILINE))
    run_checker("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
    if shutil.which("systemd-analyze") and _systemd_version() >= 250:
        run_checker("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit)


def _systemd_version() -> int:
    """Older ones judge running units only."""
    done = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, timeout=60, check=True)
    return int(re.findall(r"systemd (\d+)", done.stdout)[0])


# Prometheus and Grafana -----------------------------------------------------------------------------------------


def test_prometheus_scrapes_where_the_daemon_listens_and_reads_the_rules() -> None:
    settings = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    [job] = settings["scrape_configs"]
    assert job["job_name"] == "fullon-ohlcv"
    assert job["static_configs"] == [{"targets": [OhlcvServiceConfig.model_fields["http_bind"].default]}]
    assert all((PROMETHEUS / name).exists() for name in settings["rule_files"])
    run_checker("promtool", "check", "config", "prometheus.yml")


def test_the_rules_are_of_forms_that_the_tests_understand_and_pass_their_own_tests() -> None:
    rules = read_rules()
    Alerts(rules)
    assert len({rule.name for rule in rules}) == len(rules)
    assert {rule.severity for rule in rules} == {"critical", "warning"}
    run_checker("promtool", "check", "rules", "alerts.yml")
    run_checker("promtool", "test", "rules", "alerts.test.yml")


def test_every_alert_is_explained_and_nothing_else_is() -> None:
    assert set(re.findall(r"^### (Ohlcv\w+)", OPERATIONS.read_text(), flags=re.MULTILINE)) == {
        rule.name for rule in read_rules()
    }


def test_a_rule_of_another_form_is_no_rule_that_is_passed_over() -> None:
    [rule, *_] = read_rules()
    with pytest.raises(ValueError, match="of no known form"):
        Alerts([type(rule)("New", "rate(a_b[5m]) by (c) > 1", 0.0, "warning")])


def dashboard_expressions() -> list[str]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def test_the_dashboard_has_a_title_and_a_sentence_for_every_panel_and_a_place_of_its_own() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert all(panel["title"] and panel["description"].endswith(".") for panel in panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, panel["title"]
                assert x < 24, panel["title"]
                taken.add((x, y))
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$(\w+)", " ".join(dashboard_expressions()))) <= variables


def test_the_names_in_an_expression_are_found() -> None:
    quantile = 'histogram_quantile(0.9, sum by (le, channel) (rate(a_b_bucket{exchange=~"$exchange"}[5m]))) / c_d_total'
    assert names_in(quantile) == {"a_b_bucket", "c_d_total"}
    assert names_in('up{job="a_b"} == 0') == {"up"}


# compose --------------------------------------------------------------------------------------------------------


def test_the_compose_file_names_versions_listens_on_loopback_and_mounts_what_is_there() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    services = compose["services"]
    assert services.keys() == {"ohlcv", "timescaledb", "redis", "prometheus", "alertmanager", "grafana"}
    for name, service in services.items():
        assert re.search(r":v?\d", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert ("ports" in service) != (service.get("network_mode") == "host"), name
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source == PAGER:
                continue
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"], volume
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
    assert "--web.listen-address=127.0.0.1:9093" in services["alertmanager"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


def test_the_daemon_in_compose_may_do_no_more_than_it_needs() -> None:
    daemon = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]["ohlcv"]
    assert daemon["read_only"] is True
    assert daemon["cap_drop"] == ["ALL"]
    assert daemon["security_opt"] == ["no-new-privileges:true"]
    assert daemon["volumes"] == ["ohlcv:/data"]
    for server in ("timescaledb", "redis"):
        assert daemon["depends_on"][server] == {"condition": "service_healthy"}


# container ------------------------------------------------------------------------------------------------------


def test_the_image_is_of_the_lock_not_of_root_and_asks_for_its_life() -> None:
    text = DOCKERFILE.read_text()
    assert "--require-hashes -r server.txt" in text
    assert re.search(r"^USER 10001:10001$", text, re.M)
    assert re.search(r"^HEALTHCHECK .*\\\n.*:9464/live", text, re.M)
    script = content_of("pyproject.toml")["project"]["scripts"]
    assert script.keys() >= set(json.loads(re.findall(r"^CMD (.*)$", text, re.M)[-1]))
    run_checker("hadolint", DOCKERFILE)


def test_what_the_image_is_built_of_is_let_into_its_context() -> None:
    """Everything else stays outside: an .env, the environment, the tests."""
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all(list(ROOT.glob(pattern)) for pattern in let_in)
    needed = {".ci/export_requirements.py", "pyproject.toml", "poetry.lock", "requirements-dev.txt"}
    project = content_of("pyproject.toml")
    needed |= {project["project"]["readme"], "LICENSE"}
    assert needed <= set(let_in)
    for package in project["tool"]["poetry"]["packages"]:
        assert any(Path(package["from"]).match(pattern) for pattern in let_in), package


def content_of(file: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / file).read_text())


def test_no_password_stands_in_deploy() -> None:
    for path in (path for path in DEPLOY.rglob("*") if path.is_file()):
        for name, value in re.findall(r"(\w*PASSWORD)\b[:=] *(\S+)", path.read_text()):
            assert value.startswith(("${", "...")), f"{path.name}: {name}"
