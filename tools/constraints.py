"""Rewrites constraints.txt: today's exact version of everything that shrinknet and its extras need.

Names and versions only: each machine chooses its own package index.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = """\
# Exact versions of everything that shrinknet and its extras need; `make constraints` writes this file.
"""


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    # Extra arguments are passed to pip: `-c FILE` keeps some versions as they are.
    run = subprocess.run([*command, *sys.argv[1:], *wanted], stdout=subprocess.PIPE, text=True, check=True)
    installs = [item["metadata"] for item in json.loads(run.stdout)["install"]]
    pins = sorted((f"{item['name']}=={item['version']}" for item in installs), key=str.lower)
    (ROOT / "constraints.txt").write_text(HEAD + "".join(f"{pin}\n" for pin in pins))
    print(f"constraints.txt now lists {len(pins)} versions.")


if __name__ == "__main__":
    main()
