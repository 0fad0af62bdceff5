#!/bin/sh
# Makes the environment in the folder $1 that holds the checkers of infra/: `make infra-check`.
set -eu
venv=$1
[ -x "$venv/bin/python" ] || "$(sh infra/python.sh)" -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r infra/check-requirements.txt
if [ ! -x "$venv/bin/promtool" ]; then
    if ! found=$(command -v promtool); then
        # Debian's package, unpacked here: its server is not wanted
        scratch=$(mktemp -d)
        trap 'rm -rf "$scratch"' EXIT
        apt-get -qq update
        (cd "$scratch" && apt-get -qq download prometheus 2>/dev/null && dpkg -x prometheus_*.deb .)
        cp "$scratch/usr/bin/promtool" "$venv/bin/promtool"
    else
        ln -s "$found" "$venv/bin/promtool"
    fi
fi
