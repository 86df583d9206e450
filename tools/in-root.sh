#!/bin/sh
# Runs a command in a root that tools/debian-root.sh made, as root there: tools/in-root.sh ROOT COMMAND...
# What it mounts and starts is gone when it ends. What pip and apt have downloaded stays in the folder of the roots.
set -eu
root=$1
shift
roots=${ROOTS:-build/roots}
suite=$(. "$root/etc/os-release" && echo "${VERSION_CODENAME:-sid}")
mkdir -p "$roots/apt-$suite/partial" "$roots/pip" "$root/var/cache/apt/archives" "$root/root/.cache/pip"
export roots suite root

# But not PIP_FIND_LINKS: folders of this machine are not there.
passed=$(env | grep -iE '^(CI|TERM|(http|https|ftp|no|all)_proxy|PIP_[A-EG-Z][A-Z_]+|UV_[A-Z_]+|npm_config_[a-z_]+|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)=' | cut -d= -f1)
for name in $passed; do
    eval "value=\$$name"
    set -- "$name=$value" "$@"
done

exec unshare --mount --pid --fork --kill-child sh -euc '
    mount --make-rprivate /
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    [ -d /dev/shm ] || { mkdir -p "$root/dev/shm"; mount -t tmpfs tmpfs "$root/dev/shm"; }
    mount --rbind /sys "$root/sys"
    mount --bind "$roots/apt-$suite" "$root/var/cache/apt/archives"
    mount --bind "$roots/pip" "$root/root/.cache/pip"
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root chroot "$root" env "$@"
' sh "$@"
