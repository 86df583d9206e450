#!/bin/sh
# Installs the Debian packages named that are not there yet, where this user may; says what is missing where not.
# With --optional a missing package is told and no error.
set -eu
optional=no
if [ "${1:-}" = --optional ]; then optional=yes; shift; fi

missing() {
    for package in "$@"; do
        dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

give_up() {
    echo "missing system packages: $*" >&2
    [ "$optional" = yes ] || exit 1
    exit 0
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    give_up "(not a Debian system; the tests look for these on PATH)" "$@"
fi
wanted=$(missing "$@")
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" = 0 ]; then as_root=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root="sudo -n"
else give_up $wanted
fi
echo "installing" $wanted
export DEBIAN_FRONTEND=noninteractive
# The tests start servers of their own, on free ports: those of the packages must not start.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod +x "$policy"
    trap '$as_root rm -f "$policy"' EXIT
fi
$as_root apt-get update -qq || true
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null || true
wanted=$(missing "$@")
[ -z "$wanted" ] || give_up $wanted
