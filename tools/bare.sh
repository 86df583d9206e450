#!/bin/sh
# Runs the README's commands, `make demo` and `make test`, as a newcomer has them: tools/bare.sh SUITE [ARGUMENT-OF-PYTEST...]
# In a fresh root of Debian SUITE with Python, make and git, on the committed state of the project.
set -eu
suite=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
base=$(sh "$here/debian-root.sh" "$suite" python3 python3-venv make git)
root=$(dirname "$base")/bare-$suite

rm -rf --one-file-system "$root"
cp -a --reflink=auto "$base" "$root"
git -C "$here/.." clone --quiet --no-local --depth 1 "file://$(git -C "$here/.." rev-parse --show-toplevel)" "$root/root/hardtack"
# CI: what is missing fails, and is not skipped.
CI=true sh "$here/in-root.sh" "$root" sh -c 'cd /root/hardtack && exec sh tools/newcomer.sh "$@"' sh "$@"
rm -rf --one-file-system "$root"
echo "bare: demo and test are well on Debian $suite"
