"""Pictures of curricula: their content, and the files that are written."""

from typing import Any

import imageio.v3 as imageio
import matplotlib
import numpy as np
import pytest
from helpers import run
from matplotlib.figure import Figure

from mentornet import InputError, MentorNet, load_mentornet, save_mentornet
from mentornet.weighting.features import RELEASE
from mentornet_learning import visualizer


def test_what_is_drawn_is_what_was_learned():
    mentor = load_mentornet("mentornet_pd")
    for epoch in (0, 50, 95):
        learned = visualizer.learned_weights(mentor, epoch, 5.0)
        target = visualizer.target_weights("mentornet_pd", None, epoch, 5.0)
        assert learned.shape == target.shape
        assert np.mean((learned - target) ** 2) < 0.01
    # Rows are differences from below, columns losses: the curriculum does not depend on the loss.
    assert (learned[0] > 0.99).all()
    assert (learned[-1] < 0.01).all()
    focal = visualizer.learned_weights(load_mentornet("focal_loss"), 0, 5.0)
    assert (focal[:, 0] < 0.1).all()
    assert (focal[:, -1] > 0.9).all()


def test_a_target_of_other_features_than_the_model():
    """It gets its own columns, whatever else the model sees."""
    plain = visualizer.target_weights("spcl_linear", None, 0, 5.0)
    further = {"wrong_share": 0.3, "loss_variance": 0.25}
    np.testing.assert_array_equal(
        visualizer.target_weights("spcl_linear", None, 0, 5.0, further), plain
    )
    active = visualizer.target_weights("active_bias", None, 0, 5.0, further)
    np.testing.assert_allclose(active, (1 + 0.5) / 2)
    with pytest.raises(InputError, match="needs a MentorNet with its features.*loss_variance"):
        visualizer.target_weights("active_bias", None, 0, 5.0)


def test_the_released_command(tmp_path):
    status, output = run(
        "mentornet_learning/visualizer.py",
        "--model_dir=mentornet_models/models/mentornet_pd1_g_1",
        "--epoch_ranges=0,50,99",
        "--loss_bound=15",
        f"--outdir={tmp_path}",
    )
    assert status == 0, output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "curriculum.png",
        "epoch_00.png",
        "epoch_50.png",
        "epoch_99.png",
        "plot.gif",
    ]
    assert imageio.imread(tmp_path / "plot.gif", index=None).shape[0] == 3
    first, later = (imageio.imread(tmp_path / f"epoch_{e}.png")[..., :3] for e in ("00", "50"))
    assert first.shape == later.shape
    assert (first != later).mean() > 0.2


@pytest.mark.parametrize("epochs", [(), (0, 100), (-1,)])
def test_epochs_out_of_range(epochs):
    with pytest.raises(InputError, match=r"`epoch_ranges` must be whole numbers in 0..99"):
        visualizer.PlotConfig("m", epoch_ranges=epochs)


def test_epochs_in_any_order():
    assert visualizer.PlotConfig("m", epoch_ranges=(99, 0, 7)).epoch_ranges == (99, 0, 7)


def test_pictures_lie_beside_the_model(tmp_path):
    """Without --outdir, in the model's folder, even if a prefix names the model."""
    prefix = tmp_path / "model" / "focal"
    save_mentornet(load_mentornet("focal_loss"), str(prefix))
    for model_dir in (prefix, prefix.parent):
        flags = [f"--model_dir={model_dir}", "--epoch_ranges=7"]
        status, output = run("mentornet_learning/visualizer.py", *flags)
        assert status == 0, output
        picture = prefix.parent / "epoch_07.png"
        assert picture.is_file()
        picture.unlink()
    assert not prefix.is_dir()


def test_a_panel_has_the_axes_that_it_says():
    axes = Figure().add_subplot()
    image = visualizer.draw(axes, np.full((3, 3), 0.5), 5.0, "t")
    assert tuple(image.get_extent()) == (0, 5, -5, 5)
    assert image.origin == "lower" and image.get_clim() == (0, 1)


def test_targets_stand_below_what_was_learned(tmp_path, monkeypatch):
    matplotlib.use("Agg")
    places, original = [], visualizer.draw

    def draw(axes, weights, bound, title):
        spec = axes.get_subplotspec()
        places.append((title, spec.rowspan.start, spec.colspan.start, weights[0, 0]))
        return original(axes, weights, bound, title)

    monkeypatch.setattr(visualizer, "draw", draw)
    learned, targets = ({e: np.full((3, 3), e / 10 + more) for e in range(7)} for more in (0, 0.05))
    visualizer.plot_still(learned, targets, 5.0, tmp_path / "still.png")
    expected = [(f"epoch {e} %", e // 6, e % 6, e / 10) for e in range(7)]
    expected += [(f"target, epoch {e} %", 2 + e // 6, e % 6, e / 10 + 0.05) for e in range(7)]
    assert places == expected


def test_a_target_has_its_gamma():
    first = visualizer.target_weights("focal_loss", 3.0, 0, 5.0)[0]
    np.testing.assert_allclose(first, (1 - np.exp(-np.linspace(0, 5, 150))) ** 3, atol=1e-6)


def drawn_by(monkeypatch, **values):
    """What the script draws with these flags: the arguments of `plot_still`, once."""
    drawn: list[Any] = []
    monkeypatch.setattr(visualizer.config_flags, "read_flags", lambda cls: values)
    monkeypatch.setattr(visualizer.script, "load_tensorflow", lambda: None)
    monkeypatch.setattr(visualizer, "plot_epochs", lambda *args: None)
    monkeypatch.setattr(visualizer, "plot_still", lambda *args: drawn.append(args))
    visualizer.main()
    (found,) = drawn
    return found


def test_what_the_script_draws(tmp_path, monkeypatch):
    values: dict[str, Any] = {
        "model_dir": "mentornet_pd",
        "outdir": str(tmp_path),
        "epoch_ranges": [95],
    }
    values |= {"vstar_fn": "mentornet_pd", "vstar_gamma": 3.0, "loss_bound": 15.0}
    _, targets, *_ = drawn_by(monkeypatch, **values)
    expected = visualizer.target_weights("mentornet_pd", 3.0, 95, 15.0)
    np.testing.assert_array_equal(targets[95], expected)


def test_nothing_is_made_of_what_is_refused(tmp_path, monkeypatch):
    values = {"model_dir": "mentornet_pd", "outdir": str(tmp_path / "new"), "epoch_ranges": (18,)}
    for more, message in (
        ({"vstar_fn": "spcl_linear", "vstar_gamma": -1.0}, "`vstar_gamma` must be positive"),
        ({"vstar_fn": "unknown"}, "`vstar_fn` must be one of"),
    ):
        with pytest.raises(InputError, match=message):
            drawn_by(monkeypatch, **values, **more)
        assert not (tmp_path / "new").exists()


def test_further_features_are_drawn_as_asked(tmp_path, monkeypatch):
    save_mentornet(MentorNet(features=(*RELEASE, "loss_variance")), str(tmp_path / "five"))
    values: dict[str, Any] = {"model_dir": str(tmp_path), "epoch_ranges": (18,)}
    values |= {"further_features": (0.25,), "vstar_fn": "active_bias"}
    weights, targets, _, _, caption = drawn_by(monkeypatch, **values)
    mentor = load_mentornet(str(tmp_path))
    expected = visualizer.learned_weights(mentor, 18, 15.0, (0.25,))
    np.testing.assert_array_equal(weights[18], expected)
    np.testing.assert_allclose(targets[18], 0.75)
    assert caption == "loss_variance = 0.25"


def test_pictures_reach_as_far_as_asked(tmp_path, monkeypatch):
    values: dict[str, Any] = {"model_dir": "focal_loss", "outdir": str(tmp_path)}
    values |= {"epoch_ranges": [18], "loss_bound": 5.0, "vstar_fn": "focal_loss"}
    weights, targets, bound, *_ = drawn_by(monkeypatch, **values)
    learned = visualizer.learned_weights(load_mentornet("focal_loss"), 18, 5.0)
    np.testing.assert_array_equal(weights[18], learned)
    expected = visualizer.target_weights("focal_loss", None, 18, 5.0)
    np.testing.assert_array_equal(targets[18], expected)
    assert bound == 5


def test_what_pictures_say(tmp_path, monkeypatch):
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figures: list[Any] = []
    close = plt.close

    def kept(figure):
        figures.append(figure)
        close(figure)

    monkeypatch.setattr(plt, "close", kept)
    values, path = {e: np.full((3, 3), e / 10) for e in range(7)}, tmp_path / "still.png"
    two = {e: values[e] for e in (0, 5)}
    visualizer.plot_epochs(two, 5.0, tmp_path)
    visualizer.plot_still(values, {}, 5.0, path)
    visualizer.plot_still(two, {}, 5.0, path, "mean_loss = 1")
    names = "loss (nats)", "loss minus moving average (nats)"
    axes, still = figures[0].axes[0], figures[-1]
    assert (axes.get_xlabel(), axes.get_ylabel()) == names
    assert (still.get_supxlabel(), still.get_supylabel()) == names
    assert still.get_suptitle() == "mean_loss = 1" and len(still.axes) == 3  # With the colour bar.
    shown = [a.xaxis.get_tick_params()["labelbottom"] for a in figures[2].axes[:7]]
    assert shown == [False] + [True] * 6  # Where no panel is below.
    told = imageio.immeta(tmp_path / "plot.gif")
    assert (told["duration"], told["loop"]) == (500, 0)
