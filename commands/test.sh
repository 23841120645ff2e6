#!/usr/bin/env bash
# Lint, types, documentation and tests: bash commands/test.sh [PYTEST_ARGUMENT ...]
# COVERAGE=1 also measures which lines the tests run, and fails if fewer than 90 %.
set -euo pipefail
cd "$(dirname "$0")/.."
EXTRA=dev source commands/environment.sh
ruff check .
ruff format --check .
mypy &
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
NO_MKDOCS_2_WARNING=1 mkdocs build --strict --site-dir "$site"
wait $!
# Three workers keep two cores busy: tests also wait for the programs that they start.
tests=(pytest -n 3 --dist loadfile --no-loadscope-reorder "$@")
if [[ -z ${COVERAGE:-} ]]; then
  python -m "${tests[@]}"
else
  # In two steps, since slipcover's own report of several workers is empty.
  python -m slipcover --json --out "$site/run.json" -m "${tests[@]}"
  python -m slipcover --merge "$site/run.json" --out "$site/all.json" --fail-under 90
fi
