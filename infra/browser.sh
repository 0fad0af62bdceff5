#!/bin/sh
# Ensures a Chromium for the page's tests: an installed one, else Debian's, else playwright's. $1: the Python.
set -eu
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if [ -d "/Applications/Google Chrome.app" ] || [ -d "/Applications/Chromium.app" ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Debian's chromium"
    if apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; then exit 0; fi
fi
echo "Installing playwright's Chromium"
"$1" -m playwright install chromium || {
    echo "Chromium could not be installed: install chromium or Google Chrome by hand, then try again." >&2
    exit 1
}
