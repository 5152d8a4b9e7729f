"""Why something was left undone: each reason is a sentence, and the manual says what to do then."""

import pytest

from tests.loading import ROOT, load

conditions = load("_utils/conditions.py")




@pytest.mark.parametrize("name", conditions.names())
def test_the_manual_says_what_to_look_at_and_what_to_type(name):
    rows = [line for line in (ROOT / "docs/troubleshooting.md").read_text().splitlines()
            if line.startswith(f"| `{name}` |")]  # fmt: skip
    assert len(rows) == 1
    assert all(cell.strip() for cell in rows[0].strip("|").split("|"))


@pytest.mark.parametrize("name", conditions.names())
def test_a_command_that_a_reason_names_exists(name):
    command = conditions.Condition[name].value[1]
    ha = load("_runners/ha.py")
    if command and command.startswith("salt-run ha."):
        assert callable(getattr(ha, command.split()[1].removeprefix("ha.")))


def test_the_manual_has_no_reason_that_is_gone():
    text = (ROOT / "docs/troubleshooting.md").read_text()
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(conditions.names())
