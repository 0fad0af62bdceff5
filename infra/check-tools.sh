#!/bin/sh
# Creates the environment in the folder $1 with the tools that check infra/: `make infra-check`.
set -eu
venv=$1
[ -x "$venv/bin/python" ] || "$(sh infra/python.sh)" -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r infra/check-requirements.txt
if [ ! -x "$venv/bin/promtool" ]; then
    if found=$(command -v promtool); then
        ln -s "$found" "$venv/bin/promtool"
    elif command -v apt-get > /dev/null; then
        # Debian's package, only unpacked: the server is not needed; separate apt lists make root unnecessary
        scratch=$(mktemp -d)
        trap 'rm -rf "$scratch"' EXIT
        mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
        own="-qq -o Dir::State::lists=$scratch/lists -o Dir::Cache=$scratch/cache -o APT::Sandbox::User="
        apt-get $own update
        (cd "$scratch" && apt-get $own download prometheus && dpkg -x prometheus_*.deb .)
        cp "$scratch/usr/bin/promtool" "$venv/bin/promtool"
    else
        echo "neither promtool nor apt-get found: install prometheus, then rm -r $venv; its checks fail until then" >&2
    fi
fi
