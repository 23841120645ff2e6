#!/usr/bin/env bash
# Lint, types, documentation and tests: bash commands/test.sh [PYTEST_ARGUMENT ...]
set -euo pipefail
cd "$(dirname "$0")/.."
EXTRA=dev source commands/environment.sh
ruff check .
ruff format --check .
mypy &
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --strict --site-dir "$site"
wait $!
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
