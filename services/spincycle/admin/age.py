"""Durations on the command line."""

from __future__ import annotations

import re
from datetime import timedelta

import click

_CENTURY = 100 * 365 * 86400


class Age(click.ParamType[timedelta]):
    """A duration such as 90d, 36h or 1h30m."""

    name = "age"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        from spincycle.model.duration import parse_duration

        days = re.fullmatch(r"(\d{1,5})d", value)
        try:
            seconds = int(days[1]) * 86400 if days else parse_duration(value)
        except ValueError:
            seconds = 0
        if not 0 < seconds < _CENTURY:
            self.fail(f'"{value}" is not an age: write it as 90d, 36h or 1h30m', param, ctx)
        return timedelta(seconds=seconds)
