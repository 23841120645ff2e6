#!/usr/bin/env bash
# Lint, types, documentation and tests: bash commands/test.sh [PYTEST_ARGUMENT ...]
# COVERAGE=1 also measures which lines the tests run, and fails below a floor (pyproject.toml).
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
# Three workers keep two cores busy: tests also wait for the programs that they start.
python ${COVERAGE:+-m slipcover} -m pytest -n 3 --dist loadfile --no-loadscope-reorder "$@"
