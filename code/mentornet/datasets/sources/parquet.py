"""A .parquet file of labels and images (bytes, paths, or Hugging Face's `{bytes, path}`), or
features (a column of lists of numbers, or a number in every column).
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mentornet.core.errors import InputError, first_line
from mentornet.datasets.sources import Options, Reader, Source
from mentornet.datasets.sources._custom import check_width
from mentornet.datasets.sources._table import (
    Columns,
    find_columns,
    path_columns,
    read_tables,
)

if TYPE_CHECKING:
    from pyarrow import parquet


def require_pyarrow() -> None:
    """Raises InputError unless pyarrow is installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise InputError(
            "`source` is a Parquet file, which needs pyarrow: pip install pyarrow."
        ) from None


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[parquet.ParquetFile]:
    """The file; what is wrong with it is raised as InputError, while it is read, too."""
    require_pyarrow()
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        reason = first_line(error)
        raise InputError(f"`source` {path} cannot be read as Parquet: {reason}") from None


def _load(dataset: str, location: str, options: Options) -> Source:
    del dataset
    path = pathlib.Path(location)
    with _opened(path) as file:
        columns = find_columns(file.schema_arrow, options, str(path))
        if columns.image is None:  # Before the columns take memory.
            check_width(_width(file.metadata, columns), options, str(path))
        table = file.read(columns=columns.used)
    return read_tables([(table, None)], columns, path.parent, options, str(path))


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    """What the columns of paths name."""
    with contextlib.suppress(InputError), _opened(path) as file:  # `_load` says what is wrong.
        columns = file.read(columns=path_columns(file.schema_arrow)).columns
        return [path.parent / name for column in columns for name in column.to_pylist() if name]
    return []


def _width(metadata: Any, columns: Columns) -> int:
    """The number of features per row, from the file's footer."""
    if len(columns.features) > 1 or not metadata.num_rows:
        return len(columns.features)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    leaves = [group.column(i) for group in groups for i in range(group.num_columns)]
    name = columns.features[0]  # A list's leaf is `name.list.element`; names may have dots.
    chosen = (leaf for leaf in leaves if f"{leaf.path_in_schema}.".startswith(f"{name}."))
    return -(-sum(leaf.num_values for leaf in chosen) // metadata.num_rows)


reader = Reader(_load, takes=lambda path: path.suffix.lower() == ".parquet", files=_files)
