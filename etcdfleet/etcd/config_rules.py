"""Values that etcd refuses by rules of its own, alone or beside others: ``Validate`` in ``server/embed/config.go``.

Each rule says from which version on it holds. What the types of values forbid is `etcdfleet.etcd.config_lint`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from etcdfleet.etcd.config_finding import ConfigFinding, dotted, gates_of
from etcdfleet.etcd.config_keys import reads

Settings: TypeAlias = Mapping[str, Any]
Version: TypeAlias = Sequence[int]


def contradictions(settings: Settings, version: Version) -> Iterator[ConfigFinding]:
    """Return what etcd of a version refuses, or ignores, of values whose types are right."""
    for rule in _RULES:
        yield from rule(settings, version)


def _choices(settings: Settings, version: Version) -> Iterator[ConfigFinding]:
    """Keys with a few values. An empty text counts as left out, where etcd has a default of its own."""
    minor = tuple(version[:2])
    levels = ("debug", "info", "warn", "error", "dpanic", "panic", "fatal")
    allowed: Mapping[str, tuple[str, ...]] = {
        "initial-cluster-state": ("", "new", "existing"),
        "auto-compaction-mode": (*(("",) if minor < (3, 6) else ()), "periodic", "revision"),
        "logger": ("zap", "capnslog") if minor == (3, 4) else ("zap",),
        "log-level": levels if minor == (3, 4) else ("", *levels, *(level.upper() for level in levels)),
        "log-format": ("", "json", "console"),
        "tls-min-version": ("", "TLS1.2", "TLS1.3"),
        "tls-max-version": ("", "TLS1.2", "TLS1.3"),
        "discovery-fallback": ("", "exit", "proxy"),
        "proxy": ("", "off", "readonly", "on"),
        "v2-deprecation": _v2_stages(version),
    }
    for key, values in allowed.items():
        if not isinstance(settings.get(key), str) or settings[key] in values or not reads(key, version):
            continue
        if key == "v2-deprecation":
            why = "it has write-only, whatever it says" if minor >= (3, 6) else "it knows no such stage"
            what = f"etcd {dotted(version)} ignores v2-deprecation: {settings[key]}: {why}"
            yield ConfigFinding(key, "ignored", what, "take it out")
            continue
        wanted = " or ".join(value for value in values if (value and value.islower()) or value.startswith("TLS"))
        yield _refused(key, settings[key], version, f"it knows {wanted}", "correct the value")


def _v2_stages(version: Version) -> tuple[str, ...]:
    skip = ("write-only-skip-check",)
    if tuple(version[:2]) == (3, 5):
        newer = len(version) < 3 or version[2] >= 32
        return ("", "not-yet", "write-only", "write-only-drop-data", "gone", *(skip if newer else ()))
    if tuple(version[:2]) == (3, 6):
        return ("", "write-only", *(skip if len(version) < 3 or version[2] >= 13 else ()))
    return ("", "write-only")


def _times(settings: Settings, version: Version) -> Iterator[ConfigFinding]:
    heartbeat, election = settings.get("heartbeat-interval", 100), settings.get("election-timeout", 1000)
    if not isinstance(heartbeat, int) or not isinstance(election, int):
        return
    for key, value in (("heartbeat-interval", heartbeat), ("election-timeout", election)):
        if value == 0:
            yield _refused(key, value, version, "it must be above 0", "give it in milliseconds")
    if election < 5 * heartbeat:
        why = f"it must be at least five times heartbeat-interval ({heartbeat})"
        yield _refused("election-timeout", election, version, why, "change one of the two")
    if election > 50_000:
        yield _refused("election-timeout", election, version, "it may be 50000 ms at most", "make it shorter")
    for key in ("experimental-compact-hash-check-time", "compact-hash-check-time"):
        every = settings.get(key)
        if reads(key, version) and isinstance(every, int) and every <= 0:
            yield _refused(key, every, version, "it must be above 0", "take it out: 1 m is etcd's own")


def _tls(settings: Settings, version: Version) -> Iterator[ConfigFinding]:
    if not reads("tls-min-version", version):
        return
    least, most = str(settings.get("tls-min-version") or ""), str(settings.get("tls-max-version") or "")
    if least and most and least > most:
        yield _refused(
            "tls-max-version", most, version, f"it is below tls-min-version ({least})", "change one of the two"
        )
    if least == "TLS1.3" and settings.get("cipher-suites"):
        why = "suites cannot be chosen where TLS 1.3 alone is allowed"
        yield _refused("cipher-suites", settings["cipher-suites"], version, why, "take them out")


def _bootstrap(settings: Settings, version: Version) -> Iterator[ConfigFinding]:
    ways = [key for key in ("initial-cluster", "discovery", "discovery-srv") if settings.get(key)]
    ways = [key for key in ways if reads(key, version)]
    if len(ways) > 1:
        what = f"etcd {dotted(version)} does not start with both {ways[0]} and {ways[1]}"
        yield ConfigFinding(ways[1], "refused", what, f"take {ways[1]} out")


def _leases(settings: Settings, version: Version) -> Iterator[ConfigFinding]:
    persist, plain = "experimental-enable-lease-checkpoint-persist", "experimental-enable-lease-checkpoint"
    if tuple(version[:2]) < (3, 6):
        if reads(persist, version) and settings.get(persist) is True and settings.get(plain) is not True:
            yield _refused(persist, True, version, f"it needs {plain}: true", f"add {plain}: true")
        return
    gates = gates_of(settings)
    old = {"LeaseCheckpoint": plain, "LeaseCheckpointPersist": persist}
    on = {gate: gates.get(gate) or (reads(key, version) and settings.get(key) is True) for gate, key in old.items()}
    if on["LeaseCheckpointPersist"] and not on["LeaseCheckpoint"] and not gates.get("AllAlpha"):
        what = f"etcd {dotted(version)} does not start with LeaseCheckpointPersist and without LeaseCheckpoint"
        yield ConfigFinding("feature-gates", "refused", what, "add LeaseCheckpoint=true to feature-gates")


def _log_outputs(settings: Settings, version: Version) -> Iterator[ConfigFinding]:
    outputs, zap = settings.get("log-outputs"), tuple(version[:2]) > (3, 4) or settings.get("logger") == "zap"
    if not isinstance(outputs, list) or not outputs:
        return
    if not zap and (len(outputs) > 1 or outputs[0] not in ("default", "stderr", "stdout")):
        why = "without logger: zap it takes one of default, stderr and stdout"
        yield _refused("log-outputs", outputs, version, why, "write logger: zap as well")
    if zap and len(outputs) > 1 and "default" in outputs:
        why = "default cannot be one of several"
        yield _refused("log-outputs", outputs, version, why, "write stderr, or stdout, for default")


def _log_rotation(settings: Settings, version: Version) -> Iterator[ConfigFinding]:
    if settings.get("enable-log-rotation") is not True or not reads("enable-log-rotation", version):
        return
    outputs = settings.get("log-outputs") or ["default"]
    files = [one for one in outputs if one not in ("default", "stderr", "stdout")] if isinstance(outputs, list) else []
    if len(files) != 1:
        why = "it needs one file in log-outputs, and no more"
        yield _refused("enable-log-rotation", True, version, why, "name one file in log-outputs, or take it out")
    if isinstance(rotation := settings.get("log-rotation-config-json"), str) and (why := _no_rotation(rotation)):
        remedy = 'write it as {"maxsize": 5, "maxbackups": 1}: MiB, and how many older files'
        yield _refused("log-rotation-config-json", rotation, version, why, remedy)


def _no_rotation(text: str) -> str:
    """Return why etcd does not take this as the settings of its log's rotation; empty where it does.

    With none of them it panics (3.5.33, 3.6.14 and 3.7.1).
    """
    try:
        wanted = json.loads(text)
    except ValueError as error:
        return f"it is no JSON ({error})"
    known = {"maxsize", "maxage", "maxbackups", "localtime", "compress"}
    return (
        "" if isinstance(wanted, dict) and known & {name.lower() for name in wanted} else "it says nothing of rotation"
    )


def _empty_section(settings: Settings, version: Version) -> Iterator[ConfigFinding]:
    section = "peer-transport-security"
    if section in settings and settings[section] is None and tuple(version[:2]) >= (3, 6):
        yield _refused(section, None, version, "it has no keys below it", "take it out")


def _harm(settings: Settings, version: Version) -> Iterator[ConfigFinding]:
    if settings.get("force-new-cluster") is True:
        what = "force-new-cluster: true makes each start of a member throw all others out of its cluster"
        yield ConfigFinding(
            "force-new-cluster", "refused", what, "take it out; docs/restore.md has what brings data back"
        )
    stage = str(settings.get("v2-deprecation") or "")
    if tuple(version[:2]) == (3, 5) and settings.get("enable-v2") is True and stage not in ("", "not-yet"):
        yield _refused("enable-v2", True, version, f"v2-deprecation is {stage}", "take enable-v2 out")


_RULES: tuple[Callable[[Settings, Version], Iterator[ConfigFinding]], ...] = (
    _choices,
    _times,
    _tls,
    _bootstrap,
    _leases,
    _log_outputs,
    _log_rotation,
    _empty_section,
    _harm,
)


def _refused(key: str, value: Any, version: Version, why: str, remedy: str) -> ConfigFinding:
    what = f"etcd {dotted(version)} does not start with {key}: {json.dumps(value, default=str)}: {why}"
    return ConfigFinding(key, "refused", what, remedy)
