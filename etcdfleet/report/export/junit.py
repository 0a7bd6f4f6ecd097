"""A run as JUnit XML, which CI systems show: a suite for each cluster, a case for each step on each host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree as ET

from etcdfleet.report.record.model import Failure, HostRecord, RunRecord, Status, StepRecord, record_of

# XML has no way to write the others, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(document: Mapping[str, Any]) -> str:
    """Return the XML of a report.json, redacted as it is.

    A failure that is a fault of the program is an ``error``, any other a ``failure``. What stopped the run to protect a
    cluster is a failed case of that cluster, a failure of the run itself a suite of its own.
    """
    record = record_of(document)
    root = ET.Element("testsuites", {"name": _text(record.runbook)})
    for cluster, hosts in record.clusters.items():
        suite = _suite(root, record, cluster)
        for host in hosts:
            for step in host.steps.values():
                _case(suite, record, host, step)
        _protections(suite, record, cluster)
        places = (cluster, *(host.name for host in hosts))
        warnings = [f"{one.place}: {one.text}" for one in record.warnings if one.place in places]
        if warnings:
            ET.SubElement(suite, "system-err").text = _text("\n".join(warnings))
        _count(suite, max((_end(host) for host in hosts), default=0.0))
    _run_itself(root, record)
    _count(root, record.seconds)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(root: ET.Element, record: RunRecord, name: str) -> ET.Element:
    attributes = {
        "name": _text(f"{record.runbook} {name}".strip()),
        "timestamp": f"{record.started:%Y-%m-%dT%H:%M:%S}",
        "hostname": _text(record.by.rpartition("@")[2] or "localhost"),
        "id": str(len(root)),
        "package": _text(record.runbook),
    }
    return ET.SubElement(root, "testsuite", attributes)


def _case(suite: ET.Element, record: RunRecord, host: HostRecord, step: StepRecord) -> None:
    classname = host.name if host.name == host.cluster else f"{host.cluster}.{host.name}"
    case = _new_case(suite, step.name, classname, step.seconds or 0.0)
    if step.error:
        _failure(case, step.error)
    elif step.status in (None, Status.SKIPPED):
        ET.SubElement(case, "skipped", {"message": _line(step.summary) or "it did not come to an end"})
    output = "\n".join(_output(step, check=record.check))
    if output:
        ET.SubElement(case, "system-out").text = _text(output)
    if step.warnings:
        ET.SubElement(case, "system-err").text = _text("\n".join(step.warnings))


def _protections(suite: ET.Element, record: RunRecord, cluster: str) -> None:
    for protection in record.protections:
        if protection.cluster == cluster:
            case = _new_case(suite, f"stopped to protect {cluster}", cluster, 0.0)
            _failure(case, Failure("ProtectionError", protection.what, protection.where, protection.remedy))


def _run_itself(root: ET.Element, record: RunRecord) -> None:
    """Add what belongs to no cluster of the run: its own failure, an interruption, a protection of something else."""
    others = [protection for protection in record.protections if protection.cluster not in record.clusters]
    if not (record.error or others or record.interrupted):
        return
    suite = _suite(root, record, "")
    if record.error:
        _failure(_new_case(suite, "run", record.runbook, 0.0), record.error)
    if record.interrupted:
        stopped = Failure("Interrupted", "the run was interrupted", remedy="run it again: it finishes what is missing")
        _failure(_new_case(suite, "interrupted", record.runbook, 0.0), stopped)
    for cluster in dict.fromkeys(protection.cluster for protection in others):
        _protections(suite, record, cluster)
    _count(suite, 0.0)


def _new_case(suite: ET.Element, name: str, classname: str, seconds: float) -> ET.Element:
    attributes = {"name": _text(name), "classname": _text(classname), "time": f"{seconds:.3f}"}
    return ET.SubElement(suite, "testcase", attributes)


def _failure(case: ET.Element, error: Failure) -> None:
    tag = "failure" if error.expected else "error"
    attributes = {"message": _text(error.headline), "type": _text(error.kind)}
    parts = [
        error.what,
        *(f"{label}: {text}" for label, text in (("where", error.where), ("remedy", error.remedy)) if text),
    ]
    ET.SubElement(case, tag, attributes).text = _text("\n".join(parts))


def _output(step: StepRecord, *, check: bool) -> Iterator[str]:
    if step.summary and not step.error and step.status is not Status.SKIPPED:
        yield step.summary
    yield from (f"{'would change' if check else 'changed'}: {change}" for change in step.changes)
    if step.diff:
        yield step.diff


def _count(element: ET.Element, seconds: float) -> None:
    cases = list(element.iter("testcase"))
    element.set("tests", str(len(cases)))
    for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        element.set(name, str(sum(case.find(tag) is not None for case in cases)))
    element.set("time", f"{seconds:.3f}")


def _end(host: HostRecord) -> float:
    return max(((step.started_offset or 0.0) + (step.seconds or 0.0) for step in host.steps.values()), default=0.0)


def _line(text: str) -> str:
    return _text(text.partition("\n")[0])


def _text(text: str) -> str:
    return _NOT_XML.sub("", text)
