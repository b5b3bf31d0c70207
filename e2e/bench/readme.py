#!/usr/bin/env python3
"""Writes the figures of build/bench/results.json and results-cluster.json into README.md, met or not; those that are there."""
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]


def table(rows):
    lines = ["| figure | goal | measured | met |", "|---|---|---|---|"]
    for row in rows:
        value = " / ".join(map(str, row["value"])) if isinstance(row["value"], list) else row["value"]
        lines.append(f"| {row['figure']} | {row['goal']} | {value} {row['unit']} | {'yes' if row['met'] else '**no**'} |")
    return "\n".join(lines) + "\n"


readme = ROOT / "README.md"
text = readme.read_text()
for name in ("results.json", "results-cluster.json"):
    results = ROOT / "build/bench" / name
    if results.exists():
        begin, end = f"<!-- figures: filled from build/bench/{name} by e2e/bench/readme.py -->\n", "<!-- end of figures -->"
        text, n = re.subn(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + table(json.loads(results.read_text())) + end, text, flags=re.S)
        assert n == 1, f"README.md has lost its figures marks for {name}"
readme.write_text(text)
