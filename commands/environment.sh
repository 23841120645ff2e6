# Sourced by the other commands: activates a virtual environment with the project installed.
# Usage, from the top of the repository: [EXTRA=dev] source commands/environment.sh

_extra=${EXTRA:-}
if [ -z "${VIRTUAL_ENV:-}" ]; then
  if [ ! -e .venv/bin/activate ]; then
    if ! python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
      echo "error: Python 3.11, 3.12 or 3.13 is needed; python3 is $(python3 --version 2>&1)." >&2
      exit 2
    fi
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
      echo "error: Python's venv module is missing. On Debian or Ubuntu: apt install python3-venv" >&2
      exit 2
    fi
    echo "Creating the virtual environment .venv ..." >&2
    python3 -m venv .venv
  fi
  # shellcheck disable=SC1091
  source .venv/bin/activate
fi
if [ ! -x "$VIRTUAL_ENV/bin/python" ]; then
  echo "error: $VIRTUAL_ENV has no Python; was it moved? Delete this .venv, or activate another." >&2
  exit 2
elif [ "$(command -v python)" != "$VIRTUAL_ENV/bin/python" ]; then  # Set, but not activated.
  PATH="$VIRTUAL_ENV/bin:$PATH"
fi

# The stamp records what was installed, and from where; a change of either reinstalls. Commands that are
# started at the same time wait for each other.
_stamp="$VIRTUAL_ENV/.mentornet-installed${_extra:+-$_extra}"
_wanted=$(echo "$PWD"; cat pyproject.toml requirements.txt setup.py)
[ "$(cat "$_stamp" 2>/dev/null)" = "$_wanted" ] || (
  if command -v flock > /dev/null; then flock 9; fi
  if [ "$(cat "$_stamp" 2>/dev/null)" != "$_wanted" ]; then
    echo "Installing the project and its dependencies (TensorFlow is large; this takes minutes) ..." >&2
    python -m pip install --quiet --disable-pip-version-check -e ".${_extra:+[$_extra]}"
    echo "$_wanted" > "$_stamp"
  fi
) 9> "$VIRTUAL_ENV/.mentornet-lock"
unset _extra _stamp _wanted
