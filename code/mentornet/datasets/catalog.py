"""The known data sets, and the description of a data set in its manifest."""

from __future__ import annotations

import dataclasses
import pathlib

from mentornet.core import errors, files

MANIFEST = "manifest.json"

# Class names for sources without them; those of CIFAR-100 are numbers.
CIFAR_CLASSES = {
    "cifar10": (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    "cifar100": tuple(map(str, range(100))),
}


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What training and evaluation need to know about a data set, in addition to its records.

    Attributes:
      name: as in `<name>_<split>-00000-of-00001`.
      num_classes: labels are 0..num_classes-1.
      class_names: one per class, or empty when unknown.
      label_key: the record's key of the label used for training.
      augment: whether random crops and flips are suitable for these images.
      num_features: length of each sample where samples are rows of features, else None.
      feature_names: one per feature, or empty when unknown.
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...] = ()
    label_key: str = "image/class/label"
    augment: bool = True
    num_features: int | None = None
    feature_names: tuple[str, ...] = ()

    def class_name(self, label: int) -> str:
        """The name of a class, or its number if the names are unknown."""
        return self.class_names[label] if self.class_names else str(label)

    @property
    def all_class_names(self) -> list[str]:
        """`class_name` of every class."""
        return [self.class_name(label) for label in range(self.num_classes)]


KNOWN = {
    info.name: info
    for info in (
        DatasetInfo("cifar10", 10, CIFAR_CLASSES["cifar10"]),
        DatasetInfo("cifar100", 100, label_key="image/class/fine_label"),
        DatasetInfo("digits", 10, tuple("0123456789"), augment=False),
    )
}


def read_manifest(folder: str | pathlib.Path) -> dict | None:
    """The folder's manifest.json, or None if there is none (as for the release's records).

    Raises:
      InputError: the file or its `config` is not a JSON object, or one of its lists is not a list.
    """
    path = pathlib.Path(folder) / MANIFEST
    if not path.is_file():
        return None
    manifest = files.read_json_object(path, "is not a valid manifest")
    whole = isinstance(manifest.get("config", {}), dict)
    lists = ("classes", "image_shape", "feature_names")
    whole = whole and all(isinstance(manifest.get(name, []), list) for name in lists)
    errors.check(whole, f"{path} must hold an object `config`, and lists {', '.join(lists)}.")
    return manifest


def dataset_info(name: str, data_dir: str | pathlib.Path) -> DatasetInfo:
    """Describes the data set `name`, from `KNOWN` and from the manifest in `data_dir`.

    Raises:
      InputError: the data set is unknown, and the folder has no manifest that describes it; or the
        manifest is that of other classes.
    """
    # An empty name is no folder: it would be the one that the program was started in.
    manifest = (read_manifest(data_dir) if data_dir != "" else None) or {}
    if name in KNOWN:
        known = KNOWN[name]
        names = tuple(str(item) for item in manifest.get("classes", known.class_names))
        rule = f"`data_dir` {data_dir} must hold the {known.num_classes} classes of {name}."
        errors.check(len(names) in (0, known.num_classes), rule, found=names)
        return dataclasses.replace(known, class_names=names)
    described = manifest.get("config", {}).get("dataset_name")
    rule = f"`dataset_name` must be one of {', '.join(sorted(KNOWN))}"
    if described != name:
        rule += f", or that of the manifest in {data_dir} ({described or 'there is none'})."
        raise errors.InputError(f"{rule} Received: dataset_name={name!r}")
    names = tuple(map(str, manifest.get("classes", ())))
    errors.check(len(names) >= 2, f"The manifest in {data_dir} must name the classes.", found=names)
    shape, features = manifest.get("image_shape", []), manifest.get("feature_names", [])
    if len(shape) != 1:
        return DatasetInfo(name, len(names), names)
    rule = f"`image_shape` in the manifest of {data_dir} must be the number of features."
    errors.check(isinstance(shape[0], int) and shape[0] > 0, rule, image_shape=shape)
    features = tuple(map(str, features))
    return DatasetInfo(
        name, len(names), names, augment=False, num_features=shape[0], feature_names=features
    )
