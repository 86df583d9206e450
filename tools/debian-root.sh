#!/bin/sh
# Makes a root of Debian with these packages in a folder, or finds it made, and prints its path: tools/debian-root.sh SUITE PACKAGE...
# What this machine needs to reach the registries (apt's and pip's configuration, certificates) is in it as well.
set -eu
suite=$1
shift
roots=${ROOTS:-build/roots}
mkdir -p "$roots"
roots=$(cd "$roots" && pwd)
root=$roots/$suite-$(echo "$@" | cksum | cut -d' ' -f1)

say() { echo "$0: $*" >&2; }

if [ "$(id -u)" != 0 ]; then say "a root of Debian can be made by root only"; exit 3; fi
if ! command -v debootstrap >/dev/null; then
    sh "$(dirname "$0")/apt-install.sh" debootstrap debian-archive-keyring >&2 || { say "debootstrap is missing"; exit 3; }
fi
if ! unshare --mount --pid --fork true 2>/dev/null; then say "this machine does not let us mount: no root can be entered"; exit 3; fi

configure() {
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf" "$HOME/.npmrc"; do
        [ -f "$file" ] || continue
        place=$1$(echo "$file" | sed "s|^$HOME/|/root/|")
        mkdir -p "$(dirname "$place")"
        cp -L "$file" "$place"
        case $place in *pip.conf) sed -i -E 's#file://[^ ]+##g; /^ *find-links *=/d' "$place" ;; esac  # not there
    done
    apt-config dump 2>/dev/null | grep -E '^Acquire::(https?|Check-|Retries|Force|Max-)' >"$1/etc/apt/apt.conf.d/90machine" || true
    # The certificates that this machine trusts, to last over an installation that makes the bundle again.
    mkdir -p "$1/usr/local/share/ca-certificates"
    if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
        cp /etc/ssl/certs/ca-certificates.crt "$1/usr/local/share/ca-certificates/machine.crt"
    fi
}

if [ ! -e "$root" ]; then
    mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep '/debian/*$' | head -n 1)}
    say "making $root"
    rm -rf --one-file-system "$root.part"
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$root.part" "${mirror:-http://deb.debian.org/debian}" \
        >"$roots/$suite.log" 2>&1 || { tail -n 5 "$roots/$suite.log" >&2; say "debootstrap cannot make $suite, see $roots/$suite.log"; exit 3; }
    configure "$root.part"
    {
        ROOTS=$roots sh "$(dirname "$0")/in-root.sh" "$root.part" sh -c 'update-ca-certificates && apt-get update'
        ROOTS=$roots sh "$(dirname "$0")/in-root.sh" "$root.part" \
            env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
    } >>"$roots/$suite.log" 2>&1 || { tail -n 5 "$roots/$suite.log" >&2; say "$suite has not all of: $*"; exit 3; }
    mv "$root.part" "$root"
fi
echo "$root"
