#!/bin/bash
# Installs what a built polysketch needs to run on Debian 12: libraries, the launcher of Open MPI, and gnuplot for the pictures.
set -euo pipefail

apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    libgomp1 libhdf5-openmpi-103-1 libjansson4 libopenblas0-openmp libopenmpi3 libpcre2-8-0 libsentencepiece0 libutf8proc2 \
    libxxhash0 openmpi-bin \
    gnuplot-nox fonts-dejavu-core >/dev/null
rm -rf /var/lib/apt/lists/*
polysketch --version
