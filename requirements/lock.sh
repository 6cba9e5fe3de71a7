#!/bin/sh
# Pins what pyproject.toml asks for, with the hashes that pip checks: first the widest tier, then
# the others at its versions.
set -eu
cd "$(dirname "$0")/.."
compile() { # OUTPUT [uv's options]
    output=$1
    shift
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 \
        --no-annotate --generate-hashes --custom-compile-command "make lock" "$@" --output-file "$output" pyproject.toml
}
compile requirements/dev.txt --extra keras --extra train --extra evaluate --extra samples --extra dev
compile requirements/server.txt --constraint requirements/dev.txt
compile requirements/demo.txt --extra evaluate --constraint requirements/dev.txt
compile requirements.txt --extra keras --constraint requirements/dev.txt
compile requirements/gpu.txt --extra gpu --constraint requirements/server.txt
compile requirements/supply.txt --extra supply --constraint requirements/dev.txt
