#!/usr/bin/env bash
# Lint, types and tests: bash commands/test.sh [PYTEST_ARGUMENT ...]
set -euo pipefail
cd "$(dirname "$0")/.."
EXTRA=dev source commands/environment.sh
ruff check .
ruff format --check .
mypy
python -m pytest "$@"
