from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from etcdfleet.errors import RemoteError
from etcdfleet.report.export.junit import junit
from etcdfleet.report.record.secrets import Redactor
from tests import report_samples as samples
from tests.unit.support.fake_run import nornir_of, raises, recorder_of, step

# What Jenkins' and GitLab's readers know: by element, the attributes that must be there, those that may, and the order
# of what it holds.
RULES: dict[str, tuple[set[str], set[str], list[str]]] = {
    "testsuites": ({"tests", "failures"}, {"name", "errors", "skipped", "time"}, ["testsuite"]),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "timestamp", "hostname"},
        {"skipped", "id", "package"},
        ["testcase", "system-out", "system-err"],
    ),
    "testcase": ({"name", "classname", "time"}, set(), ["skipped", "error", "failure", "system-out", "system-err"]),
    "failure": ({"type"}, {"message"}, []),
    "error": ({"type"}, {"message"}, []),
    "skipped": (set(), {"message"}, []),
    "system-out": (set(), set(), []),
    "system-err": (set(), set(), []),
}


def parsed(document: dict[str, Any]) -> ET.Element:
    root = ET.fromstring(junit(document).encode())  # noqa: S314  our own
    assert root.tag == "testsuites"
    for element in root.iter():
        must, may, order = RULES[element.tag]
        assert must <= set(element.attrib) <= must | may, element.tag
        places = [order.index(child.tag) for child in element]
        assert places == sorted(places), f"order in {element.tag}"
        if "time" in element.attrib:
            assert re.fullmatch(r"\d+\.\d{3}", element.attrib["time"])
    for suite in [root, *root]:
        cases = list(suite.iter("testcase"))
        assert suite.attrib["tests"] == str(len(cases))
        for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert suite.attrib[name] == str(len(list(suite.iter(tag))))
    for case in root.iter("testcase"):
        assert len([child for child in case if child.tag in ("failure", "error", "skipped")]) <= 1
    names = [(case.attrib["classname"], case.attrib["name"]) for case in root.iter("testcase")]
    assert len(names) == len(set(names))
    return root


def cases(root: ET.Element) -> dict[tuple[str, str], ET.Element]:
    return {(case.attrib["classname"], case.attrib["name"]): case for case in root.iter("testcase")}


@pytest.mark.parametrize(
    "sample", [samples.failed_deploy, samples.check_run, samples.rotation, samples.hostile, samples.many_hosts]
)
def test_it_is_what_readers_expect(sample: Callable[[], dict[str, Any]]) -> None:
    document = sample()
    root = parsed(document)
    assert len(cases(root)) >= sum(len(host["steps"]) for host in document["hosts"].values())


def test_each_case_tells_what_happened() -> None:
    root = parsed(samples.failed_deploy())
    assert [suite.attrib["name"] for suite in root] == ["deploy k8s-home", "deploy k3s-edge"]
    assert {suite.attrib["timestamp"] for suite in root} == {"2026-11-23T17:03:55"}
    assert {suite.attrib["hostname"] for suite in root} == {"desk"}
    found = cases(root)
    failure = found["k3s-edge.k3s-m-2", "preflight"].find("failure")
    assert failure is not None
    assert failure.attrib == {"message": "no answer to SSH within 30 s", "type": "RemoteError"}
    assert "remedy: is it powered on" in (failure.text or "")
    skipped = found["k3s-edge.k3s-m-2", "install"].find("skipped")
    assert skipped is not None
    assert skipped.attrib["message"] == "preflight failed"
    changed = found["k8s-home.etcd-az-1", "configure"].findtext("system-out") or ""
    assert "changed: etcd is enabled at boot" in changed
    assert "+heartbeat-interval: 500" in changed
    stopped = found["k3s-edge", "stopped to protect k3s-edge"].find("failure")
    assert stopped is not None
    assert "quorum" in stopped.attrib["message"]
    assert "clock" in (root[0].findtext("system-err") or "")
    assert root[1].find("system-err") is None
    assert "would change: " in (
        cases(parsed(samples.check_run()))["k8s-home.etcd-az-1", "configure"].findtext("system-out") or ""
    )


def test_faults_and_ends_of_the_run_itself() -> None:
    recorder = recorder_of()
    nornir_of().with_processors([recorder]).run(step({"az-1": raises(ValueError("odd"))}), name="preflight")
    recorder.fail(ValueError("odd too"))
    recorder.protect("elsewhere", "not one of these")
    recorder.finish(interrupted=True)
    found = cases(parsed(recorder.as_json()))
    assert found["home.az-1", "preflight"].find("error") is not None
    assert found["deploy", "run"].find("error") is not None
    assert found["deploy", "interrupted"].find("failure") is not None
    assert found["elsewhere", "stopped to protect elsewhere"].find("failure") is not None


def test_a_killed_run() -> None:
    found = cases(parsed(recorder_of().as_json()))
    assert all(case.find("skipped") is not None for case in found.values())


def test_no_secrets_and_no_characters_that_xml_does_not_have(caplog: pytest.LogCaptureFixture) -> None:
    # What Nornir logs of it would be part of this test's report, which cannot be sent between processes of pytest.
    caplog.set_level(logging.CRITICAL)
    recorder = recorder_of(redactor=Redactor("hush-hush"))
    odd = RemoteError("hush-hush \ud800 \ufffe \x00\x1b[31m ]]> & <b>", where="\x07", remedy="ok \U0001f600")
    nornir_of().with_processors([recorder]).run(step(raises(odd)), name="preflight")
    recorder.finish()
    document = recorder.as_json()
    document["hosts"]["az-1"]["steps"][0]["diff"] = "+\x00\x0b\ud800x\n"
    text = junit(document)
    assert "hush" not in text
    assert "[secret]   " in text
    failure = cases(parsed(document))["home.az-1", "preflight"].find("failure")
    assert failure is not None
    assert "]]> & <b>" in failure.attrib["message"]
    assert "\U0001f600" in (failure.text or "")
