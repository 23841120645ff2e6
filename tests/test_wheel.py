"""An installation from a wheel, outside the repository."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from helpers import ROOT

import mentornet

PARTS = ("code", "mentornet_learning", "mentornet_models")
FILES = ("setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE")
CODE = """
import mentornet
from mentornet.learning import curricula
from mentornet.weighting.mentor_checkpoints import shipped_mentornets
import mentornet_learning
assert mentornet.__file__.startswith({site!r}), mentornet.__file__
assert set(shipped_mentornets()) == {names!r}
assert all(mentornet.load_mentornet(name).num_labels >= 2 for name in {names!r})
"""


@pytest.mark.slow
def test_curricula_come_along(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("*.egg-info"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*command, "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    assert wheel.name.startswith(f"mentornet-{mentornet.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        assert {"mentornet/py.typed", "mentornet_learning/py.typed"} <= {*archive.namelist()}
        (entry_points,) = (n for n in archive.namelist() if n.endswith("/entry_points.txt"))
        assert "mentornet = mentornet.cli.front:main" in archive.read(entry_points).decode()
    parts = {path.name for path in (ROOT / "code/mentornet/cleaning/review").iterdir()}
    assert {path.name for path in (site / "mentornet/cleaning/review").iterdir()} == parts
    shipped = ROOT.glob("mentornet_models/models/*/*.index")
    names = {path.stem.removesuffix("_mentornet") for path in shipped}
    assert len(names) == 8
    code = CODE.format(site=str(site), names=names)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    command = [sys.executable, "-m", "mentornet"]
    listed = subprocess.run(
        [*command, "--help"],
        check=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    ).stdout
    assert all(
        f"\n  {path.stem} " in listed
        for path in (ROOT / "code/mentornet/cli/commands").glob("[!_]*.py")
    )
