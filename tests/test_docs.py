"""The documents' code runs, and their flags, links and messages exist."""

import dataclasses
import functools
import json
import os
import pathlib
import re
import subprocess
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from helpers import ROOT, latest_state, run, warm_server

import mentornet
from mentornet.config.weighting import WeightingConfig
from mentornet.core.files import read_json_lines

PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("mentornet_models/*.md")])
LINKING = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md"]
SOURCES = [path for part in ("code", "mentornet_learning") for path in (ROOT / part).rglob("*.py")]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.S | re.M)


def run_python(page, tmp_path, monkeypatch):
    """Runs a page's Python as one program; returns its names."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks(page, "python")), page.name, "exec"), names)
    return names


def test_your_project(tmp_path, monkeypatch):
    names = run_python(ROOT / "docs" / "your_project.md", tmp_path, monkeypatch)
    assert names["accuracy"]["mentored"] > names["accuracy"]["plain"] + 0.05
    assert names["weights"].shape == (len(names["noisy"]), 1)


def test_readme(tmp_path, monkeypatch):
    names = run_python(ROOT / "README.md", tmp_path, monkeypatch)
    assert names["weights"].shape == (128, 1)


@pytest.mark.parametrize("split", ["", "train/"])
def test_corrections(split, tmp_path, monkeypatch, capsys):
    """Decisions as the page to review saves them, in a table and a folder of the user's own."""
    table = "path,split,label\na.png,,cat\n=b.png,,dog\nc.png,,cat \nd.png,test,dog\n"
    (tmp_path / "table.csv").write_text(table)
    decisions = "1,'=b.png,dog,cat,0.9\n2,c.png,cat,,0.8\n"
    decisions += f"3,{split}cat/1.png,cat,dog,0.7\n4,{split}dog/x/2.png,dog,,0.6\n"
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/x/2.png", "1.png"):
        file = tmp_path / "pictures" / split / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (tmp_path / "corrections.csv").write_text(
        f"id,path,given_label,corrected_label,score\n{decisions}"
    )
    run_python(ROOT / "docs" / "corrections.md", tmp_path, monkeypatch)
    corrected = (tmp_path / "corrected.csv").read_text().splitlines()
    assert corrected == ["path,split,label", "a.png,,cat", "=b.png,,cat", "d.png,test,dog"]
    folder = tmp_path / "corrected_pictures"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
    names = ("cat/{}cat/2.png", "dog/{}cat/1.png", "dog/{}dog/1.png")
    assert found == {split + name.format(split) for name in names}
    assert capsys.readouterr().out == "2 of 4 decisions applied\n" * 2


# Their Python has tests of its own.
TESTED = ("README.md", "your_project.md", "export.md", "corrections.md")
RUN = [page for page in PAGES if blocks(page, "python") and page.name not in TESTED]


@pytest.mark.parametrize("page", RUN, ids=lambda p: p.name)
def test_python_runs(page, tmp_path, monkeypatch):
    run_python(page, tmp_path, monkeypatch)


def run_bash(script, cwd, *replacements):
    """Runs commands of a page in `cwd`, with the repository's scripts."""
    for old, new in replacements:
        assert old in script
        script = script.replace(old, new)
    script = re.sub(r"python (code|mentornet_learning)/", rf"python {ROOT}/\1/", script)
    python = pathlib.Path(warm_server().python())
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(cwd), "PATH": path}
    command = ["bash", "-euo", "pipefail", "-c", script]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"


@pytest.mark.slow
def test_own_data_commands(tmp_path):
    """From a folder of pictures to a label report; fewer and smaller steps."""
    generator = np.random.default_rng(0)
    for name, level in (("cats", 60), ("dogs", 180)):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for i in range(90):
            pixels = generator.normal(level, 20, (40, 30, 3)).clip(0, 255).astype(np.uint8)
            imageio.imwrite(folder / f"{i}.jpg", pixels)
    run_bash(
        blocks(ROOT / "docs" / "your_project.md", "bash")[0],
        tmp_path,
        ("steps=500", "steps=8"),
        ("batch_size=128", "batch_size=64"),
    )
    assert (tmp_path / "runs/pets/labels.html").stat().st_size > 10_000


@pytest.mark.slow
def test_curriculum_commands(tmp_path):
    """The curriculum of docs/curricula.md, learned and drawn; the training has "..." for flags."""
    page = ROOT / "docs" / "curricula.md"
    (tmp_path / "my_module.py").write_text(blocks(page, "python")[0])
    learning, _ = blocks(page, "bash")[0].split("python code/")
    fewer = "mentornet_learning/train.py --max_step_train=300"
    run_bash(learning, tmp_path, ("/tmp", "."), ("mentornet_learning/train.py", fewer))
    assert (tmp_path / "steady" / "model" / "curriculum.png").stat().st_size > 10_000


@pytest.mark.slow
def test_weighting_commands(tmp_path):
    """The weighting of docs/weightings.md from the command line, in two replicas and in one.

    Fewer steps and samples, so that each is seen four times, and a student without normalisation.
    """
    page = ROOT / "docs" / "weightings.md"
    own = blocks(page, "python")[0]
    assert len(own.splitlines()) <= 15
    (tmp_path / "my_weighting.py").write_text(own)
    (commands,) = (block for block in blocks(page, "bash") if "my_weighting" in block)
    shorter = ("steps=200", "steps=12"), ("fraction=0.4", "fraction=0.4 --num_train=96")
    simpler = ("=resnet8", "=mlp")
    run_bash(commands, tmp_path, ("/tmp", "."), *shorter, simpler)
    alone = ("devices=2", "devices=1"), ("./steady ", "./alone ")
    run_bash(commands, tmp_path, ("/tmp", "."), *shorter, simpler, *alone)
    two, one = (latest_state(tmp_path / name) for name in ("steady", "alone"))
    (averages,) = (values for name, values in two.items() if "averages" in name)
    assert two.keys() == one.keys() and averages.shape == (96, 1) and averages.all()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    rows = read_json_lines(tmp_path / "steady" / "metrics.jsonl")
    config = json.loads((tmp_path / "steady" / "config.json").read_text())
    assert config["weighting"] == {"name": "my_weighting:steady", "options": {"decay": 0.8}}
    # Weights are 0.5 and 1.
    assert rows[-1]["step"] == 12 and 16 <= rows[-1]["data_util/batch_sum_v"] <= 32


@functools.cache
def flags_of(script):
    script, *command = script.replace("mentornet ", "code/mentornet/__main__.py ").split()
    _, output = run(script, *command, "--help")
    names = re.findall(r"^  --(\[no\])?([A-Za-z_0-9]+):", output, re.MULTILINE)
    # absl has --flagfile everywhere.
    return {"flagfile", *(name for _, name in names), *(f"no{name}" for no, name in names if no)}


def test_commands_have_these_flags():
    """Checks every command in a bash block."""
    seen = 0
    for page in PAGES:
        text = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
        for line in re.split(r"[\n;]", text):
            command = re.match(
                r"\s*(?:python )?((?:code|mentornet_learning|commands|benchmarks)/\w+\.py|"
                r"mentornet \w+)(.*)",
                line,
            )
            if command is None:
                continue
            script, rest = command.groups()
            asked = set(re.findall(r"\s--(\w+)", rest))
            assert asked <= flags_of(script), f"{page.name}: {script}: {asked - flags_of(script)}"
            seen += len(asked)
    assert seen > 50


def test_flags_in_the_text_exist():
    """Each `--flag` outside the commands is one of some script's."""
    scripts = [*ROOT.glob("code/*.py"), *ROOT.glob("mentornet_learning/*.py")]
    scripts += [*ROOT.glob("commands/*.py"), *ROOT.glob("benchmarks/*.py")]
    # `--no...` is the form of all that are true or false.
    known = {"help", "no"}
    known |= flags_of("mentornet clean")
    for script in scripts:
        if "script.run" in script.read_text():
            known |= flags_of(str(script.relative_to(ROOT)))
    seen = set()
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
        # The scripts of tests/ parse their arguments otherwise.
        spans = re.findall(r"`(?!python tests/)([^`\n]*)`", text)
        named = {name for span in spans for name in re.findall(r"--(\w+)", span)}
        assert named <= known, f"{page.name}: {named - known}"
        seen |= named
    assert len(seen) > 30


def anchors(page):
    """Those of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    titles = re.findall(r"^#+ (.*)", text, re.M)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    assert len(set(anchors(page))) == len(anchors(page))
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", page.read_text())
    for link in (a or b for a, b in links):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" not in link:
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_names_of_the_package():
    """Those in the first part of the page are all that `import mentornet` provides, and exist."""
    part = (ROOT / "docs" / "api.md").read_text().partition("\n## ")[0]
    named: list[str] = []
    entry = r"^::: (\S+)\n(?:    options:\n      members: \[(.*)\])?"
    for name, members in re.findall(entry, part, re.M):
        of_module = name.rpartition(".")[2].islower() and members
        named += members.split(", ") if of_module else [name.rpartition(".")[2]]
    assert sorted(named) == mentornet.__all__
    assert all(hasattr(mentornet, name) for name in named)


def test_settings_of_weightings():
    page = (ROOT / "docs" / "weightings.md").read_text()
    (listed,) = re.findall(r"The settings\s+are those(.*?)For the weightings", page, re.S)
    names = {field.name for field in dataclasses.fields(WeightingConfig)}
    assert set(re.findall(r"`(\w+)`", listed)) == names


def test_messages_are_the_sources():
    """Each message in the first column of the troubleshooting tables is in the code."""
    sources = "\n".join(path.read_text() for path in SOURCES)
    sources = re.sub(r'"\s*\n\s*f?"', "", sources)  # Literals over several lines.
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    messages = re.findall(r"^\| (?!message|---)(.*?) \|", page, re.MULTILINE)
    assert len(messages) > 40
    assert not [message for message in messages if message not in sources]


def test_the_shell_scripts_give_flags_that_exist():
    seen = 0
    for path in ROOT.glob("commands/*.sh"):
        text = path.read_text().replace("\\\n", " ")
        text = text.replace('"code/$script"', "code/cifar_train_mentornet.py")
        command = r"\bpython ((?:code|mentornet_learning|commands)/\w+\.py)(.*)"
        for script, rest in re.findall(command, text):
            asked = set(re.findall(r"\s--(\w+)", rest))
            assert asked <= flags_of(script), f"{path.name}: {script}: {asked - flags_of(script)}"
            seen += len(asked)
    assert seen > 40
