#!/usr/bin/env python3
"""README.md's table of features names what GatewayClass hatchway claims (controller/status/features.def), and the tests it links to are there."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
claimed = re.findall(r"^(?:FEATURE|EXPERIMENTAL)\((\w+)\)", (ROOT / "controller/status/features.def").read_text(), re.M)
table = (ROOT / "README.md").read_text().partition("| feature | the suite's tests | ours |\n|---|---|---|\n")[2].partition("\n\n")[0]
rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
wrong = [f"not in the table: {name}" for name in claimed if name not in [row[0] for row in rows]]
wrong += [f"not claimed: {row[0]}" for row in rows if row[0] not in claimed]
for name, suite, ours in rows:
    links = re.findall(r"\]\(([^)]+)\)", ours)
    wrong += [f"{name}: {link} is not there" for link in links if not (ROOT / link).exists()]
    wrong += [f"{name}: no test"] if not suite or not links else []
print("\n".join(wrong) or f"{len(rows)} features")
sys.exit(bool(wrong))
