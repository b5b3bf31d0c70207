#!/usr/bin/env python3
"""Writes the figures of build/bench/results.json into README.md, met or not."""
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
rows = json.loads((ROOT / "build/bench/results.json").read_text())
lines = ["| figure | goal | measured | met |", "|---|---|---|---|"]
for row in rows:
    value = " / ".join(map(str, row["value"])) if isinstance(row["value"], list) else row["value"]
    lines.append(f"| {row['figure']} | {row['goal']} | {value} {row['unit']} | {'yes' if row['met'] else '**no**'} |")
readme = ROOT / "README.md"
text = readme.read_text()
begin, end = "by e2e/bench/readme.py -->\n", "<!-- end of figures -->"
text, n = re.subn(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + "\n".join(lines) + "\n" + end, text, flags=re.S)
assert n == 1, "README.md has lost its figures marks"
readme.write_text(text)
