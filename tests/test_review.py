"""The review page in a real browser: deciding by keyboard, keeping, saving, loading."""

import csv
import dataclasses
import io
import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from mentornet.cleaning import label_files
from mentornet.cleaning.label_errors import LabelScores
from mentornet.datasets import corrections, records
from mentornet.datasets.catalog import DatasetInfo, dataset_info
from mentornet.label_noise.noise_rate import NoiseRate

playwright = pytest.importorskip("playwright.sync_api")
AXE = "axe-core@4.14.1"
NASTY = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "=1+1",
    "'=1+1",
    "-2",
    "@x",
    "\tx",
    "\rx",
    "\uff1dx",
    'a,"b"\nc',
    "'plain'",
    "long" * 40,
)


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser):
    """Opens a file in a new window; any console message fails the test."""
    messages, contexts = [], []

    def go(path, context=None, **options):
        context = context or browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on(
            "request",
            lambda request: (
                messages.append(request.url[:80])
                if not request.url.startswith(("file:", "data:", "blob:"))
                else None
            ),
        )
        page.goto(path.as_uri())
        return page

    yield go
    for context in {*contexts}:
        context.close()
    assert not messages


@pytest.fixture(scope="module")
def scores(digits):
    info = dataset_info("digits", digits / "0.4")
    examples = records.read_examples(str(digits / "0.4"), info, "train")
    score = np.random.default_rng(0).uniform(0, 1, len(examples))
    suggested = np.random.default_rng(1).integers(0, 10, len(examples))
    noise = NoiseRate(0.4, 0.4, 0.4, np.full(10, 0.4), np.full((10, 2), 0.4), "a test")
    return LabelScores(info, examples, score, suggested, score, 5 * score, noise)


@pytest.fixture(scope="module")
def nasty():
    """One sample per hostile class name, with a hostile path."""
    count = len(NASTY)
    images = tf.random.stateless_uniform([count, 8, 8, 3], [0, 0], 0, 256, tf.int32)
    labels = np.arange(count)
    examples = records.Examples(
        tf.cast(images, tf.uint8), (8, 8, 3), labels, labels, labels, np.zeros(count, bool)
    )
    info = DatasetInfo("nasty", count, NASTY)
    numbers = np.linspace(0.9, 0.1, count)
    paths = {i: f"{name}/{i}.png" for i, name in enumerate(NASTY)}
    suggested = (labels + 1) % count
    noise = NoiseRate(0.5, 0.5, 0.5, np.full(count, 0.5), np.full((count, 2), 0.5), "a test")
    return LabelScores(info, examples, numbers, suggested, numbers, numbers, noise, paths)


def write(tmp_path, scores, count=100):
    path = tmp_path / "labels.html"
    path.write_text(label_files.to_html(scores, count), encoding="utf-8")
    return path


def says(page, selector, text):
    """Waits until an element has this text, as keys are handled asynchronously."""
    playwright.expect(page.locator(selector)).to_contain_text(text)


def download(page, tmp_path):
    with page.expect_download() as started:
        page.keyboard.press("s")
    assert started.value.suggested_filename == "corrections.csv"
    path = tmp_path / "corrections.csv"
    started.value.save_as(path)
    return path.read_bytes()


def rows_of(data):
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def known(scores):
    examples = scores.examples
    return corrections.Known(scores.info, examples.ids, examples.labels, scores.paths)


def test_a_session_by_keyboard(tmp_path, scores, open_page):
    """30 decisions, two undone after a reload; the file has exactly the remaining ones."""
    page = open_page(write(tmp_path, scores))
    expected = {}
    for number, i in enumerate(scores.order[:30]):
        given, suggested = scores.examples.labels[i], scores.suggested[i]
        key = "1234"[number % 4]
        if key == "2" and suggested == given:
            key = "1"
        page.keyboard.press(key)
        if key == "3":
            page.keyboard.type("7")
            page.keyboard.press("Enter")
        corrected = {"1": str(given), "2": str(suggested), "3": "7", "4": ""}[key]
        score = f"{scores.score[i]:.{corrections.SCORE_DECIMALS}f}"
        expected[str(scores.examples.ids[i])] = (str(given), corrected, score)
    says(page, "#progress-text", "30 of 100 decided, about")
    page.reload()
    says(page, "#progress-text", "30 of 100 decided")
    says(page, "#position", "31 of 100")
    page.keyboard.press("u")
    page.keyboard.press("Control+z")
    says(page, "#position", "29 of 100")
    for identity in list(expected)[-2:]:
        del expected[identity]
    data = download(page, tmp_path)
    rows = rows_of(data)
    assert tuple(rows[0]) == ("id", "path", "given_label", "corrected_label", "score")
    found = {row["id"]: (row["given_label"], row["corrected_label"], row["score"]) for row in rows}
    assert found == expected and len(rows) == 28 and {row["path"] for row in rows} == {""}
    decided = corrections.read_corrections(data, "corrections.csv", known(scores))
    assert decided[:, 0].tolist() == sorted(scores.order[:28].tolist())


def test_arrows_and_changes_of_mind(tmp_path, scores, open_page):
    page = open_page(write(tmp_path, scores))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("4")
    says(page, "#position", "3 of 100")
    says(page, "#message", "Not usable. 3 of 100: given ")
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#reject", "aria-pressed") == "true"
    page.keyboard.press("1")  # Decided otherwise; on to the next that is undecided.
    says(page, "#position", "3 of 100")
    page.keyboard.press("ArrowLeft")
    says(page, "#decided", "Kept ")
    page.keyboard.press("0")
    says(page, "#decided", "not yet")
    says(page, "#progress-text", "0 of 100")
    page.uncheck("#shortcuts")
    page.keyboard.press("4")
    says(page, "#progress-text", "0 of 100")


def test_filters_and_pages(tmp_path, scores, open_page):
    page = open_page(write(tmp_path, scores, 200))
    assert page.locator("img").count() == 49
    says(page, "#page-text", "Page 1 of 5")
    page.click("#page-after")
    says(page, "#position", "49 of 200")
    assert page.locator("img").count() == 49
    page.select_option("#class-filter", label="3")
    concerned = (scores.examples.labels == 3) | (scores.suggested == 3)
    says(page, "#list-title", f"Suspects ({concerned.sum()})")
    page.fill("#score-filter", "0.5")
    count = (concerned & (scores.score >= 0.5)).sum()
    says(page, "#list-title", f"Suspects ({count})")
    page.keyboard.press("Escape")
    page.select_option("#state-filter", "undecided")
    page.focus("#keep")
    page.keyboard.press("Enter")
    says(page, "#list-title", f"Suspects ({count - 1})")
    assert page.evaluate("document.activeElement.id") == "keep"
    broken = "[...document.images].filter((i) => !i.complete || !i.naturalWidth).length"
    page.wait_for_load_state("networkidle")
    assert page.evaluate(broken) == 0


def test_hostile_names_stay_text_and_come_back(tmp_path, nasty, open_page):
    page = open_page(write(tmp_path, nasty))
    texts = page.locator("#list button").all_text_contents()
    assert texts[0].startswith(f"given {NASTY[0]} → suggested {NASTY[1]} ")
    for number in range(len(NASTY)):
        page.keyboard.press("4" if number == 5 else "12"[number % 2])
    data = download(page, tmp_path)
    for row in csv.reader(io.StringIO(data.decode(), newline="")):
        assert not any(re.match("[=+\\-@\t\r\uff1d]", cell) for cell in row), row
    decided = corrections.read_corrections(data, "corrections.csv", known(nasty))
    expected = [i + i % 2 if i != 5 else -1 for i in range(len(NASTY))]
    expected[-1] = 0
    assert decided[:, 1].tolist() == expected
    other = open_page(tmp_path / "labels.html")  # A browser that knows nothing of it.
    says(other, "#progress-text", "0 of 12")
    other.set_input_files("#file", tmp_path / "corrections.csv")
    says(other, "#message", "12 decisions loaded from corrections.csv")
    says(other, "#progress-text", "12 of 12")
    (tmp_path / "again").mkdir()
    assert download(other, tmp_path / "again") == data
    other.keyboard.press("u")
    says(other, "#progress-text", "0 of 12")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,given_label\n", "columns path, corrected_label, score are missing"),
        ("id,path,given_label,corrected_label,score\n{id},,{other},,1\n", "belongs to other data"),
        ("id,path,given_label,corrected_label,score\n{id},,{given},cat,1\n", 'no class "cat"'),
        ("id,path,given_label,corrected_label,score\n99999,,1,,1\n", "None of its samples"),
        ('id,path,given_label,corrected_label,score\n"1,,1,,1\n', "quotation mark is missing"),
        (
            "id,path,given_label,corrected_label,score\n{id},,{given},,1\n{id},,{given},{given},1\n",
            "decided in two ways",
        ),
        ("\udcff", "not UTF-8"),
    ],
)
def test_files_that_are_refused(tmp_path, scores, open_page, text, message):
    first = scores.order[0]
    given = int(scores.examples.labels[first])
    facts = {"id": scores.examples.ids[first], "given": given, "other": (given + 1) % 10}
    path = tmp_path / "bad.csv"
    path.write_text(text.format(**facts), encoding="utf-8", errors="surrogateescape")
    page = open_page(write(tmp_path, scores))
    page.set_input_files("#file", path)
    says(page, "#message", "bad.csv cannot be used")
    says(page, "#message", message)
    says(page, "#progress-text", "0 of 100")


def test_two_pages_share_what_is_decided(tmp_path, scores, open_page):
    """Two pages on the same data share decisions; another data set's are separate."""
    page = open_page(write(tmp_path, scores, 10))
    (tmp_path / "more").mkdir()
    more = open_page(write(tmp_path / "more", scores, 20), page.context)
    page.keyboard.press("1")
    says(more, "#progress-text", "1 of 20")
    for _ in range(15):  # The first of them anew.
        more.keyboard.press("4")
    says(page, "#progress-text", "10 of 10 decided (and 5 in another report)")
    rows = rows_of(download(page, tmp_path))
    assert [row["corrected_label"] for row in rows] == [""] * 15
    (tmp_path / "other").mkdir()
    labels = np.roll(scores.examples.labels, 1)
    changed = dataclasses.replace(scores.examples, labels=labels)
    changed = dataclasses.replace(scores, examples=changed)
    other = open_page(write(tmp_path / "other", changed), page.context)
    says(other, "#progress-text", "0 of 100")


def test_a_browser_that_keeps_nothing(tmp_path, scores, browser, open_page):
    context = browser.new_context()
    context.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); };")
    page = open_page(write(tmp_path, scores), context)
    assert page.is_visible("#not-kept")
    page.keyboard.press("4")
    page.keyboard.press("4")
    page.keyboard.press("u")
    assert len(rows_of(download(page, tmp_path))) == 1


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "light")])
def test_fits(tmp_path, nasty, open_page, width, scheme):
    view = {"width": width, "height": 740}
    page = open_page(write(tmp_path, nasty), viewport=view, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("3")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """axe-core's script, by npm."""
    folder = tmp_path_factory.mktemp("axe")
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), AXE]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (subprocess.SubprocessError, OSError):
        pytest.skip("npm cannot fetch axe-core")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_axe_finds_nothing(tmp_path, scores, nasty, open_page, axe, width, scheme):
    """At the start, with decisions of each kind, and in the dialog."""
    for name, shown in {"scores": scores, "nasty": nasty}.items():
        (tmp_path / name).mkdir()
        view = {"width": width, "height": 900}
        path = write(tmp_path / name, shown)
        page = open_page(path, viewport=view, color_scheme=scheme, bypass_csp=True)
        page.evaluate(axe)
        for keys in ("", "124", "3"):
            for key in keys:
                page.keyboard.press(key)
            found = page.evaluate("axe.run()")["violations"]
            assert not [(rule["id"], rule["nodes"][0]["html"]) for rule in found]


def test_rows_of_features(tmp_path, open_page):
    """Rows are described in text, from which a hostile feature name cannot escape."""
    rows = tf.random.stateless_normal([30, 3], [0, 0])
    labels, numbers = np.arange(30) % 2, np.linspace(0.9, 0.1, 30)
    shape = (3,)
    examples = records.Examples(rows, shape, labels, labels, np.arange(30), np.zeros(30, bool))
    info = DatasetInfo("rows", 2, ("a", "b"), num_features=3, feature_names=("x", NASTY[0], "z"))
    noise = NoiseRate(0.5, 0.5, 0.5, np.full(2, 0.5), np.full((2, 2), 0.5), "a test")
    paths = {i: f"row {i}" for i in range(30)}
    scores = LabelScores(info, examples, numbers, 1 - labels, numbers, numbers, noise, paths)
    page = open_page(write(tmp_path, scores))
    says(page, "#values", "Labels of the nearest rows (10): ")
    says(page, "#values", f"{NASTY[0]}: {rows[0, 1]:.4g} (")
    playwright.expect(page.locator("#picture")).to_be_hidden()
    playwright.expect(page.locator("#list img")).to_have_count(0)
    says(page, "#list button >> nth=1", "row 1")
    page.keyboard.press("2")
    says(page, "#values", f"z: {rows[1, 2]:.4g} (")
    (row,) = rows_of(download(page, tmp_path))
    assert (row["id"], row["path"], row["corrected_label"]) == ("0", "row 0", "b")


def test_each_sample_has_its_own_picture(tmp_path, scores, open_page, monkeypatch):
    """Pictures are decoded in chunks, here of two."""
    monkeypatch.setattr(label_files, "CHUNK", 2)
    page = open_page(write(tmp_path, scores, 5))
    for data in label_files._images(scores, scores.order[:5]):
        shown = playwright.expect(page.locator("#picture"))
        shown.to_have_attribute("src", f"data:image/png;base64,{data}")
        page.keyboard.press("ArrowRight")


def test_keys_that_decide_nothing(tmp_path, scores, open_page):
    """A key that is held repeats itself, and those of the browser are not meant for the page."""
    page = open_page(write(tmp_path, scores))
    for _ in range(3):
        page.keyboard.down("4")
    page.keyboard.up("4")
    says(page, "#position", "2 of 100")
    says(page, "#progress-text", "1 of 100 decided")
    page.keyboard.press("Control+4")
    page.keyboard.press("1")
    says(page, "#position", "3 of 100")


def test_the_class_that_is_typed_comes_first(tmp_path, scores, open_page):
    names = ("tomcat", "catfish", "cat", *"3456789")
    info = dataclasses.replace(scores.info, class_names=names)
    page = open_page(write(tmp_path, dataclasses.replace(scores, info=info)))
    page.keyboard.press("3")
    page.keyboard.type("cat")
    page.keyboard.press("Enter")
    (row,) = rows_of(download(page, tmp_path))
    assert row["corrected_label"] == "cat"


def test_what_was_skipped_comes_again(tmp_path, scores, open_page):
    page = open_page(write(tmp_path, scores, 3))
    for key in ("ArrowRight", "4", "4"):
        page.keyboard.press(key)
    says(page, "#position", "1 of 3")


def test_clear_all_the_decided_and_the_list(tmp_path, scores, open_page):
    page = open_page(write(tmp_path, scores))
    page.click("#list button >> nth=4")
    says(page, "#position", "5 of 100")
    for _ in range(3):
        page.keyboard.press("4")
    page.select_option("#state-filter", "decided")
    says(page, "#list-title", "Suspects (3)")
    page.select_option("#state-filter", "all")
    page.click("#clear")
    says(page, "#progress-text", "0 of 100")
    page.click("#undo")
    says(page, "#progress-text", "3 of 100")
