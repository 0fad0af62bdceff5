#!/bin/sh
# Makes the environment in the folder $1 and installs the project into it: `make setup`.
set -eu
venv=$1
if [ ! -x "$venv/bin/python" ]; then
    python=$(sh infra/python.sh)
    echo "Making $venv with $python"
    "$python" -m venv "$venv"
fi
echo "Installing into $venv: the first time takes some minutes"
export PIP_DISABLE_PIP_VERSION_CHECK=1
torch=$(grep '^torch==' requirements.lock)
"$venv/bin/python" -m pip install -q "$torch" # first, alone: the others take the build that is there
"$venv/bin/python" -m pip install -q -r requirements.lock
"$venv/bin/python" -m pip install -q --no-deps -e .
