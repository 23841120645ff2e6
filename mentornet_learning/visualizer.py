"""Plots a learned curriculum: the weight over loss and loss difference, by epoch.

    python mentornet_learning/visualizer.py --model_dir=DIR

This writes DIR/epoch_NN.png for each epoch, the animation DIR/plot.gif, and DIR/curriculum.png,
which shows all epochs; with --vstar_fn the target is shown below the learned weights.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from mentornet.cli import config_flags, script
from mentornet.config.options import REQUIRED, check_fields, option, positive
from mentornet.core.errors import check
from mentornet.core.schedules import LAST_EPOCH
from mentornet.learning import curricula
from mentornet.weighting.features import RELEASE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from mentornet.weighting.mentor import MentorNet

_RESOLUTION = 150  # Points along each axis.
_COLUMNS = 6


def _check_epochs(name: str, epochs: tuple[int, ...]) -> None:
    rule = f"`{name}` must be whole numbers in 0..{LAST_EPOCH}."
    fits = bool(epochs) and all(0 <= epoch <= LAST_EPOCH for epoch in epochs)
    check(fits, rule, **{name: epochs})


@dataclasses.dataclass(frozen=True)
class PlotConfig:
    """What is plotted: each field is a flag.

    Raises:
      InputError: a value is outside its range.
    """

    model_dir: str = option(REQUIRED, "MentorNet: checkpoint prefix, folder or shipped name.")
    outdir: str = option(
        "",
        "Folder for the pictures; by default the model's, or one named like a shipped MentorNet.",
    )
    loss_bound: float = option(
        15.0, "Largest loss and loss difference shown, in nats.", check=positive
    )
    epoch_ranges: tuple[int, ...] = option(
        (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99), "Epochs shown.", check=_check_epochs
    )
    further_features: tuple[float, ...] = option(
        (), "Values of the features beyond the release's four."
    )
    vstar_fn: str = option("", "Also show this curriculum's target.")
    vstar_gamma: float | None = option(
        None, "The curriculum's parameter; each curriculum has its own default."
    )

    def __post_init__(self) -> None:
        check_fields(self)


def feature_grid(epoch: int, loss_bound: float, further: Sequence[float] = ()) -> np.ndarray:
    """Features float32 [points * points, m]; loss changes fastest, the label is 0."""
    loss = np.linspace(0, loss_bound, _RESOLUTION)
    difference = np.linspace(-loss_bound, loss_bound, _RESOLUTION)
    grid = np.stack(np.meshgrid(loss, difference), axis=-1).reshape(-1, 2)
    rest = np.tile([0.0, epoch, *further], (len(grid), 1))
    return np.hstack([grid, rest]).astype(np.float32)


def learned_weights(
    mentor: MentorNet, epoch: int, loss_bound: float, further: Sequence[float] = ()
) -> np.ndarray:
    """The MentorNet's weights, float32 [difference, loss], in 0..1."""
    import tensorflow as tf

    grid = tf.constant(feature_grid(epoch, loss_bound, further))
    return mentor.sample_weights(grid).numpy().reshape(_RESOLUTION, _RESOLUTION)


def target_weights(
    vstar_fn: str,
    gamma: float | None,
    epoch: int,
    loss_bound: float,
    further: Mapping[str, float] = MappingProxyType({}),
) -> np.ndarray:
    """The curriculum's target weights on the same points.

    Raises:
      InputError: it needs features beyond the release's four that `further` does not have.
    """
    names = curricula.feature_names(vstar_fn)[len(RELEASE) :]
    missing = [name for name in names if name not in further]
    rule = f"`vstar_fn` {vstar_fn} needs a MentorNet with its features."
    check(not missing, rule, missing=missing)
    grid = feature_grid(epoch, loss_bound, [further[name] for name in names])
    target = curricula.targets(vstar_fn, grid, gamma)
    return target.reshape(_RESOLUTION, _RESOLUTION)


def draw(axes: Axes, weights: np.ndarray, loss_bound: float, title: str) -> AxesImage:
    """Draws one panel, in cividis, which is suitable for colour-blind readers."""
    axes.set_title(title, fontsize=9)
    extent = (0, loss_bound, -loss_bound, loss_bound)
    return axes.imshow(
        weights, origin="lower", extent=extent, aspect="auto", vmin=0, vmax=1, cmap="cividis"
    )


def plot_epochs(weights: dict[int, np.ndarray], loss_bound: float, folder: pathlib.Path) -> None:
    """Writes epoch_NN.png for each epoch, and plot.gif with half a second per epoch."""
    import imageio.v3 as imageio
    import matplotlib.pyplot as plt

    frames = []
    for epoch, values in weights.items():
        figure, axes = plt.subplots(figsize=(4.8, 4), layout="constrained")
        image = draw(axes, values, loss_bound, f"epoch {epoch} %")
        axes.set(xlabel="loss (nats)", ylabel="loss minus moving average (nats)")
        figure.colorbar(image, label="sample weight")
        path = folder / f"epoch_{epoch:02d}.png"
        figure.savefig(path, dpi=100)
        plt.close(figure)
        frames.append(imageio.imread(path)[..., :3])
    imageio.imwrite(folder / "plot.gif", np.stack(frames), duration=500, loop=0)


def plot_still(
    weights: dict[int, np.ndarray],
    targets: dict[int, np.ndarray],
    loss_bound: float,
    path: pathlib.Path,
    caption: str = "",
) -> None:
    """Writes one picture with a panel per epoch, and below them those of the targets, if any."""
    import matplotlib.pyplot as plt

    parts = [("", weights)] + ([("target, ", targets)] if targets else [])
    panels = [(f"{kind}epoch {epoch} %", v) for kind, part in parts for epoch, v in part.items()]
    columns = min(_COLUMNS, len(weights))
    rows = -(-len(weights) // columns) * len(parts)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(1.7 * columns + 1.2, max(3.2, 1.6 * rows + 0.6)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    per_part = rows // len(parts) * columns
    for axes in grid.ravel():
        axes.axis("off")
    for number, (title, values) in enumerate(panels):
        part, place = divmod(number, len(weights))
        axes = grid.ravel()[part * per_part + place]
        axes.axis("on")
        image = draw(axes, values, loss_bound, title)
        is_lowest = number + columns >= len(panels) or place + columns >= per_part
        axes.tick_params(labelbottom=is_lowest)
    if caption:
        figure.suptitle(caption, fontsize=10)
    figure.supxlabel("loss (nats)", fontsize=10)
    figure.supylabel("loss minus moving average (nats)", fontsize=10)
    figure.colorbar(image, ax=grid, label="sample weight", shrink=0.8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def further_values(further: Sequence[str], given: tuple[float, ...]) -> tuple[float, ...]:
    """The constant value of each feature beyond the release's four, 0 by default.

    Raises:
      InputError: there is not one number per feature.
    """
    rule = f"`further_features` must be one number for each of: {', '.join(further) or 'none'}."
    values = given or (0.0,) * len(further)
    check(len(values) == len(further), rule, further_features=given)
    return values


def define_flags() -> None:
    """Defines the flags; called only by the script, so that it can be imported without them."""
    config_flags.define_flags(PlotConfig)


def main() -> None:
    config = PlotConfig(**config_flags.read_flags(PlotConfig))
    bound, epochs = config.loss_bound, config.epoch_ranges
    folder = pathlib.Path(config.outdir or config.model_dir)
    if not config.outdir and pathlib.Path(f"{folder}.index").is_file():
        folder = folder.parent  # For a checkpoint's prefix.
    script.load_tensorflow()
    import matplotlib

    matplotlib.use("Agg")
    from mentornet.weighting.mentor_checkpoints import load_mentornet

    mentor = load_mentornet(config.model_dir)
    further = further_values(mentor.further_features, config.further_features)
    held = dict(zip(mentor.further_features, further, strict=True))
    weights = {epoch: learned_weights(mentor, epoch, bound, further) for epoch in epochs}
    targets = {}
    if config.vstar_fn:
        curriculum = (config.vstar_fn, config.vstar_gamma)
        targets = {epoch: target_weights(*curriculum, epoch, bound, held) for epoch in epochs}
    folder.mkdir(parents=True, exist_ok=True)
    plot_epochs(weights, bound, folder)
    caption = "\n".join(f"{name} = {value:g}" for name, value in held.items())
    plot_still(weights, targets, bound, folder / "curriculum.png", caption)
    print(f"{len(epochs)} pictures, plot.gif and curriculum.png in {folder}")


if __name__ == "__main__":
    define_flags()
    script.run(main)
