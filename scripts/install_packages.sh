#!/bin/bash
# Installs the Debian or Ubuntu packages that are not there yet; says and does nothing when all are. With the argument
# `faults` those that only make fuzz and make check-faults need.
set -euo pipefail

packages=(
    # building
    gcc make pkg-config git libc6-dev
    openmpi-bin libopenmpi-dev libopenblas-openmp-dev libhdf5-openmpi-dev libxxhash-dev librandom123-dev
    # tests and lint; Slurm and munge for make check-slurm
    libcunit1-dev hdf5-tools python3 python3-numpy python3-h5py procps hostname clang-format shellcheck slurm-wlm munge
    # the corpus and the pictures of make run
    bible-kjv gnuplot-nox fonts-dejavu-core
)

# clang with its sanitizers, its OpenMP and the thread checker's knowledge of it; valgrind
[ "${1:-}" != faults ] || packages=(clang llvm libclang-rt-14-dev libomp-14-dev valgrind libc6-dbg)

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "install_packages.sh: this system has no apt-get. Please install what these Debian packages contain: ${packages[*]}" >&2
    exit 1
fi

installed=$(dpkg-query -W -f='${Package} ${db:Status-Abbrev}\n' "${packages[@]}" 2>/dev/null |
    awk '$2 ~ /^.i/ { print $1 }' || true)
missing=()
for package in "${packages[@]}"; do
    grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install_packages.sh: not root and no sudo. Please have an administrator run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "installing ${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes
    apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
