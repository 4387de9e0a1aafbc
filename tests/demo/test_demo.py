"""The demonstration's scenarios: the plain directory must show damage, the mount none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.demo.scenarios import SCENARIOS, Scenario, run_scenario
from tests.support.targets import Target


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "_"))
def test_demo(target: Target, scenario: Scenario, tmp_path: Path) -> None:
    if scenario.needs and shutil.which(scenario.needs) is None:
        pytest.skip(f"not installed: {scenario.needs}")
    if target.plain and scenario.plain_is_damaged:
        found = run_scenario(scenario, target.mnt, tmp_path, rounds=5, until_damaged=True)
        assert found.damage, "the check saw no damage where there is some"
    else:
        found = run_scenario(scenario, target.mnt, tmp_path, rounds=1, until_damaged=False)
        assert found.damage == 0, found
