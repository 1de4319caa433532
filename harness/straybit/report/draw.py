"""Drawings of a report: inline SVG whose text keeps its size while its width follows the page's.

Positions across are percentages and heights are pixels; only curves sit in a stretched frame of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from straybit.records import Phase
from straybit.report.facts import seconds
from straybit.report.figures import Timing
from straybit.report.history import Moment
from straybit.result import Series

__all__ = ["axis", "lane", "log_axis", "phases_strip", "rail", "strip_plot", "success"]

_LEFT_S = 1e-4
"""Where a logarithmic axis begins: a tenth of a millisecond."""


def _svg(height: float, inner: str, label: str, css: str = "") -> Markup:
    return Markup(
        f'<svg class="plot {css}" width="100%" height="{height:g}" role="img" aria-label="{escape(label)}">'
        f"{inner}</svg>"
    )


def _x(value: float, low: float, high: float) -> str:
    """Where a value lies between two others, in percent of the width."""
    return f"{min(max((value - low) / ((high - low) or 1), 0), 1) * 100:.3f}%"


def success(
    region: str,
    series: Series,
    *,
    span: tuple[float, float],
    bin_s: float,
    phases: Sequence[Phase],
    flips: Sequence[float],
) -> Markup:
    """Request success of one region over time; what was lost hangs from the top, and each flip is a mark."""
    low, high = span
    shades = "".join(
        f'<rect class="shade" x="{_x(p.at_s, low, high)}" y="0" height="100%" '
        f'width="{max(min(p.until_s, high) - p.at_s, 0) / (high - low) * 100:.3f}%"/>'
        for p in phases[1::2]
    )
    curve = (
        f'<svg viewBox="{low:g} 0 {high - low:g} 100" preserveAspectRatio="none">'
        f'<path class="lost" d="{_lost(series, bin_s)}"/><path class="curve" d="{_steps(series, bin_s)}"/></svg>'
    )
    grid = '<line class="grid" x1="0" x2="100%" y1="50%" y2="50%"/>'
    marks = "".join(
        f'<line class="flip" x1="{_x(at, low, high)}" x2="{_x(at, low, high)}" y1="0" y2="100%"/>' for at in flips
    )
    return _svg(84, shades + grid + curve + marks, f"request success in {region} over time", "success")


def _steps(series: Series, bin_s: float) -> str:
    """A path of steps, interrupted where a bin saw no request."""
    parts: list[str] = []
    drawn_to: float | None = None
    for at, ok, total in zip(series.at_s, series.ok, series.total, strict=True):
        if not total:
            drawn_to = None
            continue
        height = 99 - 98 * ok / total
        parts.append(f"{'L' if drawn_to is not None and abs(drawn_to - at) < 1e-6 else 'M'}{at:g} {height:g}")
        drawn_to = at + bin_s
        parts.append(f"L{drawn_to:g} {height:g}")
    return "".join(parts)


def _lost(series: Series, bin_s: float) -> str:
    """The area between what was asked and what succeeded; neighbouring bins touch, so that no seam shows."""
    return "".join(
        f"M{at:g} 0H{at + bin_s:g}V{99 - 98 * ok / total:g}H{at:g}Z"
        for at, ok, total in zip(series.at_s, series.ok, series.total, strict=True)
        if total and ok < total
    )


def axis(span: tuple[float, float]) -> Markup:
    """Seconds along the bottom, at a round step."""
    low, high = span
    rough = (high - low) / 6 or 1
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    ticks = [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return _svg(18, "".join(_tick(f"{tick:g} s", _x(tick, low, high)) for tick in ticks), "time, in seconds", "axis")


def _tick(text: str, x: str) -> str:
    place = float(x[:-1])
    anchor = "start" if place < 4 else "end" if place > 96 else "middle"
    return f'<text x="{x}" y="14" text-anchor="{anchor}">{escape(text)}</text>'


def phases_strip(phases: Sequence[Phase], span: tuple[float, float]) -> Markup:
    """The run's phases side by side, numbered as in the table below."""
    low, high = span
    inner = ""
    for number, phase in enumerate(phases, 1):
        width = (phase.until_s - phase.at_s) / ((high - low) or 1) * 100
        x = _x(phase.at_s, low, high)
        middle = _x((phase.at_s + phase.until_s) / 2, low, high)
        words = f"{number} {phase.name}" if width > 1.1 * len(phase.name) + 3 else str(number)
        label = f'<text x="{middle}" y="14" text-anchor="middle">{escape(words)}</text>' if width > 1.5 else ""
        css = "shade" if number % 2 == 0 else "bare"
        box = f'<rect class="{css}" x="{x}" y="0" width="{width:.3f}%" height="20"/>'
        inner += f"<g><title>{escape(phase.name)}</title>{box}{label}</g>"
    return _svg(20, inner, "phases of the run", "phases")


def _log(value: float, high: float) -> str:
    """Where a duration lies on a logarithmic axis from a tenth of a millisecond to `high`."""
    return _x(math.log10(max(value, _LEFT_S)), math.log10(_LEFT_S), math.log10(max(high, 10 * _LEFT_S)))


def log_axis(high: float) -> Markup:
    """Powers of ten as ticks, every second one by name."""
    inner = ""
    for power in range(-3, math.floor(math.log10(high)) + 1):
        x = _log(10.0**power, high)
        inner += f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="4"/>'
        if power % 2:
            inner += _tick({-3: "1 ms", -1: "100 ms"}.get(power, f"{10**power:g} s"), x)
    return _svg(17, inner, "time since sent, logarithmic", "axis")


def lane(start: float | None, end: float | None, *, high: float, budget: float | None = None, css: str = "") -> Markup:
    """One phase of a trial as a bar on the logarithmic axis, with its budget as a line."""
    inner = '<line class="grid" x1="0" x2="100%" y1="9" y2="9"/>'
    if end is not None:
        first, last = _log(start or 0, high), _log(end, high)
        inner += f'<line class="bar {css}" x1="{first}" x2="{last}" y1="9" y2="9"/>'
        inner += f'<circle class="dot {css}" cx="{last}" cy="9" r="4"/>'
    if budget is not None:
        inner += _budget(budget, high, 18)
    words = "never" if end is None else seconds(end)
    return _svg(18, inner, words, "lane")


def _budget(budget: float, high: float, height: int) -> str:
    x = _log(budget, high)
    return f'<line class="budget" x1="{x}" x2="{x}" y1="0" y2="{height}"><title>budget {seconds(budget)}</title></line>'


def strip_plot(timing: Timing, high: float) -> Markup:
    """Every measured duration as a dot, the median and the 95th percentile as ticks, the budget as a line."""
    inner = '<line class="grid" x1="0" x2="100%" y1="16" y2="16"/>'
    for value in timing.values:
        late = timing.budget is not None and value > timing.budget
        inner += f'<circle class="dot {"late" if late else ""}" cx="{_log(value, high)}" cy="16" r="4" opacity=".55"/>'
    if timing.spread:
        for value in (timing.spread.p50, timing.spread.p95):
            x = _log(value, high)
            inner += f'<line class="tick" x1="{x}" x2="{x}" y1="7" y2="25"/>'
    if timing.budget is not None:
        inner += _budget(timing.budget, high, 32)
    return _svg(32, inner, f"time to {timing.name}", "strip")


def rail(moments: Sequence[Moment]) -> Markup:
    """Moments as numbered dots along their own length of time."""
    high = max((moment.at_s for moment in moments), default=0.0)
    inner = '<line class="rail" x1="0" x2="100%" y1="10" y2="10"/>'
    for moment in moments:
        x = _x(moment.at_s, 0, high)
        inner += f'<circle class="stop" cx="{x}" cy="10" r="4"><title>{escape(moment.what)}</title></circle>'
    return _svg(20, inner, "moments along the time they took", "rails")
