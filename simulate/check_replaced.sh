#!/bin/bash
# Compares simulate/replaced.txt with what nm says of the program, so that the simulation cannot run something else than it names:
#
#     simulate/check_replaced.sh KERNELS CALLS ALL      nm of src/tensor, of what mpi/ calls, and of all objects
set -euo pipefail
export LC_ALL=C

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# named KINDS: the names of these kinds.
named() { awk -v kinds="$1" '$1 ~ "^(" kinds ")$" { print $2 }' simulate/replaced.txt | sort -u; }

awk '$2 == "T" { print $3 }' "$1" | sort -u >"$work/kernels"
awk '$1 ~ /^[Uw]$/ && $2 ~ /^MPI_[A-Z][a-z]/ { print $2 }' "$2" | sort -u >"$work/calls"
awk 'NF > 1 { print $NF }' "$3" | sort -u >"$work/all"

# complain WORDS: reads names; the first says what is to be done about them.
complain() {
    local names
    names=$(paste -sd ' ')
    [ -z "$names" ] || { echo "simulate/replaced.txt: $1: $names" >&2; return 1; }
}

comm -23 "$work/kernels" <(named kernel) | complain 'kernels of src/tensor without a line, name them'
comm -23 "$work/calls" <(named 'wrapped|smpi') | complain 'calls of MPI without a line, see how SMPI serves them'
comm -13 "$work/all" <(named 'kernel|untimed|wrapped|smpi' | grep -v '^blas_') |
    complain 'the program has these no more, take them out'
