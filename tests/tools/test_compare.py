"""tools/compare.py: every network can be built, and what is known is not computed again."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from marking import slow

TOOL = Path(__file__).parents[2] / "tools" / "compare.py"
JOB = {"network": "resnet20", "seed": 1, "method": "default", "target": 0.5, "steps": 0.2}


@pytest.fixture(scope="module")
def tool() -> Any:
    sys.path.insert(0, str(TOOL.parent))
    try:
        spec = importlib.util.spec_from_file_location("compare", TOOL)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(TOOL.parent))


@pytest.mark.parametrize("name", [slow("resnet20"), "newcomer", "mobile", "dense", "unet", slow("MobileNetV2")])
def test_the_networks_can_be_built(tool: ModuleType, name: str) -> None:
    shape = tool.NETWORKS[name]().output_shape
    assert shape == ((None, 28, 28, 11) if name == "unet" else (None, 10))


@pytest.mark.parametrize(
    ("row", "job", "known"),
    [
        ({}, {}, True),
        ({"control": True}, {}, True),
        ({}, {"control": True}, False),
        ({"unseen": True}, {}, False),
        ({}, {"unseen": True}, False),
        ({"options": {"repair": None}}, {}, False),
        ({"seed": 2}, {}, False),
        ({}, {"images": 55_000}, False),
    ],
)
def test_what_is_known(tool: ModuleType, row: dict[str, Any], job: dict[str, Any], known: bool) -> None:
    assert tool.answers({**JOB, "test": 0.9, **row}, {**JOB, **job}) is known
