"""What every file of the tree keeps to, so that a reader finds it where it is expected."""

import ast
import re

import pytest

from tests.loading import ROOT

MODULES = sorted(ROOT.glob("_modules/*.py"))
RUNNERS = sorted(ROOT.glob("_runners/*.py"))
STATES = sorted(ROOT.glob("_states/*.py"))
CODE = [*MODULES, *RUNNERS, *STATES, *sorted(ROOT.glob("_utils/*.py")),
        *sorted(ROOT.glob("_pillar/*.py")), *sorted(ROOT.glob("lab/*.py"))]
SLS = sorted(ROOT.glob("salt/**/*.sls"))


def name(path):
    return str(path.relative_to(ROOT))


def functions(path, public=True):
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not (public and node.name.startswith("_")):
            yield node


@pytest.mark.parametrize("path", MODULES + RUNNERS, ids=name)
def test_every_public_function_shows_how_it_is_called(path):
    missing = [node.name for node in functions(path)
               if not re.search(r"CLI Examples?::?\n", (ast.get_docstring(node) or "") + "\n")]
    assert missing == []


@pytest.mark.parametrize("path", STATES, ids=name)
def test_every_state_is_documented(path):
    assert [node.name for node in functions(path) if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", CODE, ids=name)
def test_functions_fit_on_a_screen_and_files_stay_readable(path):
    tree = ast.parse(path.read_text())
    long = {node.name: node.end_lineno - node.lineno + 1 for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 50}
    assert long == {}
    assert len(path.read_text().splitlines()) <= 440  # aim at 300


@pytest.mark.parametrize("path", SLS, ids=name)
def test_state_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 80


def test_no_password_can_come_from_a_masked_pillar():
    """`pillar.get` answers '**********' inside modules (saltstack/salt#69599)."""
    call = '__salt__["pillar.get"]('
    assert [name(path) for path in MODULES + STATES if call in path.read_text()] == []


def test_state_files_never_sleep():
    assert [name(path) for path in SLS if re.search(r"\bsleep\b", path.read_text())] == []


def test_no_state_file_has_every_state_module_loaded():
    """Salt looks for `mod_run_check` then, and keeps all it loaded: 37 MB in each minion."""
    asks = re.compile(r"^\s*- (creates|onlyif|unless):", re.MULTILINE)
    assert [name(path) for path in SLS if asks.search(path.read_text())] == []


def test_no_command_goes_through_a_shell():
    shells = [name(path) for path in CODE if "shell=True" in path.read_text()]
    assert shells == []


KINDS = {"salt": "_modules", "utils": "_utils"}


@pytest.mark.parametrize("path", [*CODE, *sorted(ROOT.glob("_beacons/*.py")), *SLS,
                                  *sorted(ROOT.glob("salt/**/*.jinja"))], ids=name)
def test_what_is_called_by_its_name_exists(path):
    """Salt finds it at the call only, which may be years later."""
    text, missing = path.read_text(), []
    calls = re.findall(r"""(?:__(salt|utils)__|\b(salt))\[["'](\w+)\.(\w+)["']\]""", text)
    for one, other, module, function in calls:
        file = ROOT / KINDS[one or other] / f"{module}.py"
        if file.exists() and not re.search(rf"^(def {function}\(|{function} = )", file.read_text(),
                                           re.MULTILINE):
            missing.append(f"{module}.{function}")
    assert missing == []
