#!/bin/bash
# Builds polysketch on Debian 12 and its relatives, and installs it below a folder. What the images of this folder are made with;
# works on any such machine, as root.
#
#     packaging/build_on_debian.sh ARCH PREFIX DESTDIR      e.g.  packaging/build_on_debian.sh x86-64-v3 /usr/local /stage
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -eq 3 ] || {
    echo 'usage: packaging/build_on_debian.sh ARCH PREFIX DESTDIR' >&2
    exit 2
}
command -v make >/dev/null || {
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends make >/dev/null
}
scripts/install_packages.sh build
make ARCH="$1"
make install ARCH="$1" PREFIX="$2" DESTDIR="$3"
