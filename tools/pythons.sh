#!/bin/sh
# Runs the tests that need no server, browser or Perl on other Pythons: tools/pythons.sh "3.13 3.15" [ARGUMENT-OF-PYTEST...]
# Each in a root of the Debian that has it, on the files as they are here. Ends with 3, and says why, where one cannot be run.
set -eu
versions=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
results=$(mktemp)
trap 'rm -f "$results"' EXIT
status=0

# A registry that does not answer must not hold up what does not need it.
limited() { timeout --kill-after=10 "${SETUP_SECONDS:-1800}" "$@"; }

not_run() {
    echo "Python $version: not run: $*" >>"$results"
    [ "$status" != 0 ] || status=3
}

tests() {
    sh "$here/in-root.sh" "$root" sh -c 'cd /root/hardtack && exec /root/venv/bin/python -m pytest -q "$@"' sh \
        -m "not program and not perl" "$@"
}

for version in $versions; do
    case $version in
        3.11) suite=bookworm ;;
        3.13) suite=trixie ;;
        *) suite=sid ;;
    esac
    if ! root=$(limited sh "$here/debian-root.sh" "$suite" "python$version-venv"); then
        not_run "no root of Debian $suite with python$version-venv can be made here"
        continue
    fi
    rm -rf "$root/root/hardtack"
    mkdir -p "$root/root/hardtack"
    (cd "$here/.." && git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T - 2>/dev/null) |
        tar -xC "$root/root/hardtack"
    if ! limited sh "$here/in-root.sh" "$root" sh -euc '
        [ -x /root/venv/bin/python ] || "python$1" -m venv /root/venv
        cd /root/hardtack
        /root/venv/bin/python -m pip install --quiet --upgrade "pip>=25.1"
        /root/venv/bin/python -m pip install --quiet --group dev --editable .' sh "$version"; then
        not_run "pip could not install what the tests need"
        continue
    fi
    rm -f "$root/passed"
    {
        # Two at a time, they wait for one another on two cores; what fails so is run once more by itself, and named.
        if tests -n 2 "$@" || tests --last-failed --last-failed-no-failures none "$@"; then : >"$root/passed"; fi
    } | tee "$root/log"
    echo "Python $version: $(grep -aE '^[0-9]+ (passed|failed).* in [0-9.]+s' "$root/log" | paste -sd ';')" >>"$results"
    grep -a '^FAILED' "$root/log" >>"$results" || :
    [ -e "$root/passed" ] || status=1
done

cat "$results"
exit "$status"
