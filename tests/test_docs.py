"""The documents' code runs, and their links and the README's lead somewhere."""

import re

import pytest
from conftest import ROOT

PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("mentornet_models/*.md")])


def python_blocks(page):
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M))


def test_your_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(
        compile(python_blocks(ROOT / "docs" / "your_project.md"), "your_project.md", "exec"), names
    )
    assert names["accuracy"]["mentored"] > names["accuracy"]["plain"] + 0.05
    assert names["weights"].shape == (len(names["noisy"]), 1)


def test_readme():
    names = {}
    exec(compile(python_blocks(ROOT / "README.md"), "README.md", "exec"), names)
    assert names["weights"].shape == (128, 1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", page.read_text())
    targets = [a or b for a, b in links]
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing
