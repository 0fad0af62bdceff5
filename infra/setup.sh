#!/bin/sh
# Creates the environment in the folder $1 and installs the project into it: `make setup`.
# uv installs in seconds what it has cached; where it cannot be had, pip installs the same files with the same hashes.
set -eu
venv=$1
python=$venv/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CONFIG=1
if [ ! -x "$python" ]; then
    made_with=$(sh infra/python.sh)
    echo "Creating $venv with $made_with"
    "$made_with" -m venv "$venv"
fi

pip_settings=$("$python" -m pip config list)
# The value of pip's setting $1, from its variables or its files; many values stand on one line.
pip_setting() {
    for section in :env: install global; do
        value=$(printf '%s\n' "$pip_settings" | sed -n "s/^$section\.$1='\(.*\)'\$/\1/p" | sed 's/\\n/ /g; s/^ *//; s/ *$//')
        if [ -n "$value" ]; then
            printf '%s' "$value"
            return
        fi
    done
}
# uv reads no pip configuration: an index, wheels and certificates that pip has are named to it.
give_uv() {
    if [ -n "$2" ]; then export "$1=$2"; fi
}
give_uv UV_DEFAULT_INDEX "$(pip_setting index-url)"
give_uv UV_INDEX "$(pip_setting extra-index-url)"
give_uv UV_FIND_LINKS "$(pip_setting find-links | tr ' ' ',')"
give_uv SSL_CERT_FILE "$(pip_setting cert)"
export UV_INDEX_STRATEGY=unsafe-best-match # all indexes are equal, as they are for pip

if "$python" -m pip install -q "$(grep -o '^uv==[^ ]*' requirements.lock)"; then
    install() { "$venv/bin/uv" pip install -q --python "$python" "$@"; }
else
    echo "uv could not be installed: pip installs instead, which takes some minutes" >&2
    install() { "$python" -m pip install -q "$@"; }
fi
echo "Installing into $venv"
# torch first, alone: each of its builds has hashes of its own, and the index decides which one it is
install "$(grep -o 'torch==[0-9.]*' pyproject.toml)"
install --no-deps --require-hashes -r requirements.lock
install --no-deps -e .
