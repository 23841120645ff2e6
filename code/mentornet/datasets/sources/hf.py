"""`hf:<name or path>`, a data set of Hugging Face's `datasets`, if that is installed; one of
several configurations is `hf:<name or path>:<configuration>`.
"""

from __future__ import annotations

import pathlib
from typing import Any

from mentornet.core.errors import InputError, check
from mentornet.datasets.sources import Options, Reader, Source
from mentornet.datasets.sources._custom import TEST_NAMES
from mentornet.datasets.sources._table import find_columns, read_tables


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    check(bool(location), "`source` hf: must name a data set or a folder.", source="hf")
    try:
        import datasets
    except ImportError:
        raise InputError("`source` hf:... needs datasets: pip install datasets.") from None
    where, path = f"hf:{location}", pathlib.Path(location)
    name_and_configuration = [location] if path.exists() else location.rsplit(":", 1)
    saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
    load = datasets.load_from_disk if saved else datasets.load_dataset
    try:
        loaded = load(*name_and_configuration)
        splits = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
        tables = [(_table(splits[name]), is_test) for name, is_test in _chosen(splits)]
    except InputError:
        raise
    except Exception as error:  # The library's own errors, and those of the network.
        reason = " ".join(str(error).split()) or type(error).__name__  # Names configurations.
        raise InputError(f"`source` {where} cannot be loaded: {reason[:300]}") from None
    columns = find_columns(tables[0][0].schema, options, where)
    return read_tables(tables, columns, pathlib.Path(), options, where)


def _chosen(splits: dict[str, Any]) -> list[tuple[str, bool | None]]:
    """The splits to read, and whether each is for testing.

    Raises:
      InputError: there are several splits, none of them `train`.
    """
    if len(splits) == 1:
        return [(next(iter(splits)), None)]
    check("train" in splits, "`source` must have a split `train`.", splits=sorted(splits))
    test = [(name, True) for name in TEST_NAMES if name in splits]
    return [("train", False), *test[:1]] if test else [("train", None)]


def _table(split: Any) -> Any:
    """A split as a table whose schema names the classes."""
    return split.with_format("arrow")[:].replace_schema_metadata(
        split.features.arrow_schema.metadata
    )


reader = Reader(_load)
