#!/bin/sh
# Prints the path of a Python, 3.11 or later, that can create environments; PYTHON overrides the choice.
set -eu
for name in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
    if found=$(command -v "$name") &&
        "$found" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$found"
        exit 0
    fi
done
echo "No Python 3.11 or later with venv and pip was found: install one" \
    "(Debian: apt-get install python3.11-venv; macOS: brew install python@3.11), then try again." >&2
exit 1
