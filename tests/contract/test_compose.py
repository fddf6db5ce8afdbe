"""docker-compose.yml without Docker: it is what the schema of such files allows, our commands exist, nobody has more rights
than needed, and no secret stands in it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from deploy import compose
from services.cli import installation
from services.cli.main import app
from services.cli.serve import Doing, Name
from spean.service import ROLES
from spean.settings import Settings

COMPOSED = compose.read()
OURS = compose.ours(COMPOSED)
SERVICES: dict[str, dict[str, Any]] = COMPOSED["services"]
SCHEMA = Path(__file__).with_name("compose") / "compose-spec.json"


def test_it_is_a_compose_file() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    found = list(jsonschema.Draft202012Validator(schema).iter_errors(COMPOSED))
    assert [(list(one.path), one.message) for one in found] == []


@pytest.mark.parametrize("one", OURS, ids=lambda one: one.name)
def test_each_of_our_containers_runs_a_command_that_exists(one: compose.Ours) -> None:
    words: list[str] = list(one.command)
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {name for option in command.params for name in option.opts}
    assert {word for word in words if word.startswith("--")} <= known
    if one.command[0] == "serve":
        assert (one.option["service"], one.option["role"]) in {(name, role) for name in Name for role in Doing}
        assert one.option["member"] == one.name


def test_every_role_of_every_service_runs_twice() -> None:
    serving = Counter((one.option["service"], one.option["role"]) for one in OURS if one.command[0] == "serve")
    assert serving == {(str(name), role): 2 for name in Name for role in ROLES}


def test_every_setting_is_ours_and_was_thought_of() -> None:
    """What there is no place for here: who embeds, who serves TLS itself, what another network changes in the file."""
    known = {f"SPEAN_{name.upper()}" for name in Settings.model_fields}
    used = {name for one in OURS for name in one.environment if name.startswith("SPEAN_")}
    embedded, own_tls = {"DATA", "SAMPLE", "FAST_UNSAFE"}, {"CERTIFICATE", "CERTIFICATE_KEY"}
    kafka = {f"KAFKA_{what}" for what in ("CA", "CERTIFICATE", "KEY", "USER", "PASSWORD_FILE", "MECHANISM")}
    another = {"HOLDER", "COUNTRY", "HOLDERS", "ISSUER", "SAY_AS", "TRACE_SHARE", "ONE_OPERATOR"}
    in_image = {"KEYS"}
    assert used <= known
    assert known - used == {f"SPEAN_{name}" for name in embedded | own_tls | kafka | another | in_image}


def test_houses_can_be_told_by_mail_and_senders_see_a_number() -> None:
    """Both are the installer's to say; without them nothing is set."""
    said = {"SPEAN_SMTP": "smtp://mail.example.org:587", "SPEAN_DUTY_PHONE": "+855 12 000 000"}
    mine, plain = (
        {one.name: one.environment for one in compose.ours(compose.read(environment=given))} for given in (said, {})
    )
    for container, name in (("notify-clock-1", "SPEAN_SMTP"), ("intake-api-2", "SPEAN_DUTY_PHONE")):
        assert mine[container][name] == said[name]
        assert plain[container][name] == ""


def test_what_is_done_first_comes_first() -> None:
    first = [one.name for one in compose.first(OURS)]
    assert first[0] == "topics"
    assert {one.command for one in compose.first(OURS)[1:]} == {("migrate", "--service", str(name)) for name in Name}
    for one in OURS:
        if one.command[0] == "serve":
            assert one.after[f"{one.option['service']}-migrate"] == "service_completed_successfully"


@pytest.mark.parametrize("name", SERVICES)
def test_nobody_has_more_rights_than_needed(name: str) -> None:
    one = SERVICES[name]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["cap_drop"] == ["ALL"]
    assert not {"privileged", "cap_add", "pid", "network_mode"} & one.keys()
    assert {"cpus", "memory"} <= one["deploy"]["resources"]["limits"].keys()
    assert all(port.startswith("127.0.0.1:") for port in one.get("ports", ()))
    # Kafka and PostgreSQL write their own configuration when they start.
    assert one.get("read_only") is True or name == "postgres" or name.startswith("kafka-")
    if "build" in one:
        assert one["user"] == "10001:10001"
        assert "healthcheck" in one


def test_no_secret_stands_in_it() -> None:
    """Passwords come from files; what names one in an environment names a file."""
    text = compose.FILE.read_text(encoding="utf-8")
    assert not re.search(r"://[^/\s@]*:[^/\s@]+@", text), "an address with a password"
    for name, one in SERVICES.items():
        for variable, value in one.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", variable):
                assert variable.endswith("FILE"), f"{name}: {variable}"
                assert str(value).startswith("/run/secrets/")
    assert all(one["file"].startswith("./deploy/secrets/") for one in COMPOSED["secrets"].values())
    # Who runs for long does not know the account that made the tables.
    assert all("@" not in one.environment["SPEAN_POSTGRES"] for one in OURS if one.command[0] == "serve")


def test_the_proxy_leads_to_the_doors() -> None:
    text = (compose.FILE.parent / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    doors = {f"{one.name}:{one.environment['SPEAN_PORT']}" for one in OURS if one.option.get("role") == "api"}
    assert set(re.findall(r"[a-z]+-api-\d:\d+", text)) == doors
    assert {one.environment["SPEAN_URL"] for one in OURS} == set(re.findall(r"https://\S+", text))


def test_the_proxy_uses_no_connection_again_that_a_door_may_be_closing() -> None:
    text = (compose.FILE.parent / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    kept_s = [int(one) for one in re.findall(r"\bkeepalive (\d+)s", text)]
    assert kept_s
    assert max(kept_s) + 10 <= installation.KEPT_OPEN_S
