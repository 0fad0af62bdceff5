#!/bin/sh
# Creates the environment in the folder $1 and installs the project into it: `make setup`.
# uv installs cached packages in seconds. If uv is unavailable, pip installs the same files with the same hashes.
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
# Prints the value of pip's setting $1, from its variables or files; several values are on one line.
pip_setting() {
    for section in :env: install global; do
        value=$(printf '%s\n' "$pip_settings" | sed -n "s/^$section\.$1='\(.*\)'\$/\1/p" | sed 's/\\n/ /g; s/^ *//; s/ *$//')
        if [ -n "$value" ]; then
            printf '%s' "$value"
            return
        fi
    done
}
# uv does not read pip's configuration, so its indexes, wheels and certificates are passed on.
give_uv() {
    if [ -n "$2" ]; then export "$1=$2"; fi
}
give_uv UV_DEFAULT_INDEX "$(pip_setting index-url)"
give_uv UV_INDEX "$(pip_setting extra-index-url)"
give_uv UV_FIND_LINKS "$(pip_setting find-links | tr ' ' ',')"
give_uv SSL_CERT_FILE "$(pip_setting cert)"
export UV_INDEX_STRATEGY=unsafe-best-match # all indexes have equal priority, as in pip
# Python compiles a module at its first import. Where it may not, every process would compile what it imports.
if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then export UV_COMPILE_BYTECODE=1; fi

if "$python" -m pip install -q "$(grep -o '^uv==[^ ]*' requirements.lock)"; then
    install() { "$venv/bin/uv" pip install -q --python "$python" "$@"; }
else
    echo "uv could not be installed: pip installs instead, which takes some minutes" >&2
    install() { "$python" -m pip install -q "$@"; }
fi
echo "Installing into $venv"
# torch first and separately: its builds have different hashes, and the index determines which one is installed
install "$(grep -o 'torch==[0-9.]*' pyproject.toml)"
install --no-deps --require-hashes -r requirements.lock
install --no-deps -e .
