#!/bin/sh
# Install Debian packages of clients that tests drive, those that are not there yet, when root.
#
#     sh tests/serving/clients/install.sh gdal-bin
#
# Always ends well: tests of a client that is missing are skipped, and name what installs it.
lacks=""
for package; do dpkg -s "$package" >/dev/null 2>&1 || lacks="$lacks $package"; done
[ -n "$lacks" ] || exit 0

# shellcheck disable=SC2086
packages() { DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 "$@" </dev/null >/dev/null; }

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # shellcheck disable=SC2086
    packages install --no-install-recommends $lacks 2>/dev/null || { packages update && packages install --no-install-recommends $lacks; }
else
    false
fi || echo "the tests of$lacks will be skipped (Debian, as root: apt-get install -y --no-install-recommends$lacks)"
exit 0
