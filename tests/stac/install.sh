#!/bin/sh
# Install the STAC API of the tests, what is not there yet: PostGIS (Debian packages, when root) and .venv-stac.
#
#     PYTHON=python3.11 PIP_ARGS= sh tests/stac/install.sh
#
# Always ends well: tests that find something missing are skipped, and name the command.
cd "$(dirname "$0")/../.." || exit 0
python=${PYTHON:-python3} venv=.venv-stac

packages() { DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 "$@" </dev/null >/dev/null; }

postgis() {
    if ! [ -e /etc/postgresql-common/createcluster.conf ]; then # the package would make a cluster and start it
        packages install --no-install-recommends postgresql-common || return 1
        sed -i 's/^#create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    fi
    packages install --no-install-recommends postgresql-postgis
}

api() {
    "$python" -m venv --clear $venv && # shellcheck disable=SC2086
        $venv/bin/python -m pip install --quiet $PIP_ARGS --requirement tests/stac/requirements.txt &&
        cp tests/stac/requirements.txt $venv/.made
}

if ! ls /usr/share/postgresql/*/extension/postgis.control >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        postgis 2>/dev/null || { packages update && postgis; }
    else
        false
    fi || echo "tests/stac and the tests of PostGIS will be skipped: they need postgresql-postgis (Debian, as root: apt-get install -y postgresql-postgis)"
fi
cmp -s tests/stac/requirements.txt $venv/.made || api || echo "tests/stac will be skipped: pip could not install its requirements"
exit 0
