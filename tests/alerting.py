"""The alert rules of deploy/, judged as Prometheus would judge them, on what was really scraped.

It knows three forms of expression, which is all that the rules use; anything else is an error:

    name{label="value"} > 1      increase(name{label="value"}[15m]) > 1      one{…} / other{…} > 1

An alert is pending while its expression holds for a set of labels, and fires once it has held for `for`. `increase` is
what was added within its range, without Prometheus' extrapolation; a counter that has fallen began at zero. Scrapes
stand 15 s apart, as prometheus.yml has it, however fast a test makes them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

RULES = Path(__file__).parents[1] / "deploy" / "prometheus" / "alerts.yml"
EVERY_S = 15.0
Labels = frozenset[tuple[str, str]]
Sample = tuple[str, Labels]

_SELECTOR = r"([a-z_:][a-z0-9_:]*)(?:\{([^}]*)\})?"
_EXPRESSION = re.compile(
    rf"(?:increase\({_SELECTOR}\[(\w+)\]\)|{_SELECTOR}(?: / {_SELECTOR})?) (>|<|>=|<=|==|!=) ([-+.\de]+)"
)
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Read `15m`."""
    return int(text[:-1]) * _UNITS[text[-1]]


@dataclass(frozen=True)
class Rule:
    """One alert."""

    name: str
    expression: str
    for_s: float
    severity: str


def read_rules(path: Path = RULES) -> list[Rule]:
    groups = yaml.safe_load(path.read_text())["groups"]
    return [
        Rule(one["alert"], one["expr"], seconds(one.get("for", "0s")), one["labels"]["severity"])
        for group in groups
        for one in group["rules"]
    ]


def names_in(expression: str) -> set[str]:
    """Return the metric names of an expression of any form."""
    without_words = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring) ?\([^)]*\)|\"[^\"]*\"", "", expression)
    return {name for name in re.findall(r"\b[a-z][a-z0-9_]*_[a-z0-9_]+\b|\bup\b", without_words) if not _is_word(name)}


def _is_word(name: str) -> bool:
    return name in ("histogram_quantile", "label_replace", "group_left", "group_right") or name.endswith("_over_time")


class Alerts:
    """The rules, and everything that has been scraped."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = {rule.name: rule for rule in rules}
        self._parts: dict[str, re.Match[str]] = {}
        for rule in rules:
            match = _EXPRESSION.fullmatch(rule.expression)
            if match is None:
                raise ValueError(f"{rule.name}: {rule.expression!r} is of no known form")
            self._parts[rule.name] = match
        self._scrapes: list[dict[Sample, float]] = []
        self._since: dict[tuple[str, Labels], int] = {}

    def take(self, body: str | None) -> None:
        """Take what was scraped; None where nothing answered."""
        target = {("job", "fullon-ohlcv"), ("instance", "test")}
        scraped: dict[Sample, float] = {("up", frozenset(target)): 0.0 if body is None else 1.0}
        for family in text_string_to_metric_families(body or ""):
            for sample in family.samples:
                scraped[sample.name, frozenset({*sample.labels.items(), *target})] = sample.value
        self._scrapes.append(scraped)
        now = len(self._scrapes)
        held = {(name, labels) for name in self.rules for labels in self._holding(name)}
        self._since = {key: self._since.get(key, now) for key in held}

    def firing(self) -> set[tuple[str, str]]:
        """Return the alerts that fire, each with the symbol, or else the exchange, it is about."""
        now = len(self._scrapes)
        found = set()
        for (name, labels), since in self._since.items():
            if (now - since) * EVERY_S >= self.rules[name].for_s:
                about = dict(labels)
                found.add((name, about.get("symbol") or about.get("exchange") or ""))
        return found

    def _holding(self, name: str) -> list[Labels]:
        part = self._parts[name]
        increasing, increasing_with, window, left, left_with, right, right_with, sign, limit = part.groups()
        if increasing:
            values = self._increases(increasing, increasing_with, seconds(window))
        elif right:
            over, under = self._select(left, left_with), self._select(right, right_with)
            values = {labels: value / under[labels] for labels, value in over.items() if labels in under}
        else:
            values = self._select(left, left_with)
        return [labels for labels, value in values.items() if _OPERATORS[sign](value, float(limit))]

    def _select(self, name: str, matchers: str | None, scrape: int = -1) -> dict[Labels, float]:
        wanted = set(re.findall(r'(\w+)="([^"]*)"', matchers or ""))
        return {
            labels: value
            for (each, labels), value in self._scrapes[scrape].items()
            if each == name and wanted <= set(labels)
        }

    def _increases(self, name: str, matchers: str | None, window_s: float) -> dict[Labels, float]:
        first = max(0, len(self._scrapes) - 1 - int(window_s / EVERY_S))
        found: dict[Labels, float] = {}
        before: dict[Labels, float] = {}
        for number in range(first, len(self._scrapes)):
            for labels, value in self._select(name, matchers, number).items():
                last = before.get(labels, value)
                found[labels] = found.get(labels, 0.0) + (value - last if value >= last else value)
                before[labels] = value
        return found
