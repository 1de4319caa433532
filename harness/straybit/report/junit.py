"""junit.xml: expectations and trials as test cases, for a CI that reads nothing else."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from straybit.outcome import DANGEROUS, Outcome
from straybit.records import Trial, TrialKind, Verdict
from straybit.report import facts
from straybit.result import RunResult

__all__ = ["junit_xml"]

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(result: RunResult) -> bytes:
    """One suite per run.

    An expectation that is not met is a failure; a reason for having no verdict is an error;
    a trial never fails by itself, since an expectation may want it so, but an INVALID one is an error.
    """
    root = ET.Element("testsuites", name="straybit")
    for run in (result, *result.runs):
        _suite(root, run)
    suites = list(root)
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(root: ET.Element, run: RunResult) -> None:
    suite = ET.SubElement(root, "testsuite", name=_safe(facts.title(run)), timestamp=_safe(run.date))
    properties = ET.SubElement(suite, "properties")
    for name in ("run_id", "seed", "command", "replay", "target", "backend", "verdict"):
        value = getattr(run, name)
        ET.SubElement(properties, "property", name=name, value=_safe(str(value)))
    for expectation in run.expectations:
        case = _case(suite, run, f"expects: {expectation.text}")
        if not expectation.met:
            detail = _safe(expectation.detail or "not met")
            ET.SubElement(case, "failure", message=detail).text = f"{detail}\n{_safe(run.replay or run.command)}"
    for trial in run.trials:
        _trial(suite, run, trial)
    if run.verdict is Verdict.NO_VERDICT:
        for reason in run.reasons:
            ET.SubElement(_case(suite, run, "has a verdict"), "error", message=_safe(reason))
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("errors", str(sum(case.find("error") is not None for case in cases)))


def _trial(suite: ET.Element, run: RunResult, trial: Trial) -> None:
    case = _case(suite, run, f"{trial.kind.value} {trial.id}")
    noticed = ", ".join(trial.detected_by) or "nobody"
    lines = [*trial.flips, f"{trial.outcome}, noticed by {noticed}", facts.replay_command(run, trial)]
    if trial.outcome is Outcome.INVALID and trial.kind is TrialKind.FAULT:
        ET.SubElement(case, "error", message=_safe(trial.why or "INVALID")).text = _safe("\n".join(lines))
    danger = ["dangerous"] if trial.outcome in DANGEROUS else []
    ET.SubElement(case, "system-out").text = _safe("\n".join([*lines, *danger]))


def _case(suite: ET.Element, run: RunResult, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=_safe(f"straybit.{run.scenario or 'run'}"), name=_safe(name))


def _safe(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("\ufffd", text)
