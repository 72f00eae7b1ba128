#!/bin/bash
# Simulates a training step on many ranks: the program's own messages over a network that SimGrid computes, the time of computing
# as measured on one rank (simulate/README.md). Every figure is simulated, none is measured.
#
#     simulate/run.sh NETWORK RANKS [options of build/simulate/polysketch, and --section.key=value of the program]
#
# NETWORK: fattree100   12.5 GB/s and 0.5 us a link, leaves of 32 nodes, full bisection
#          ethernet10   1.25 GB/s, 25 us from node to node, one switch
# Each rank has a node of its own. `simulate/run.sh header` prints the columns; each run prints one line.
set -euo pipefail
cd "$(dirname "$0")/.."

columns=network,ranks,layers,scan,gradient_sums,under_way,faster,compute_seconds
for kind in messages step; do
    for column in seconds passes scan_least scan_most gradients_least gradients_most; do columns+=,${kind}_$column; done
done
[ "${1:-}" != header ] || { echo "$columns"; exit; }
[ $# -ge 2 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2; exit 2; }
network=$1
ranks=$2
shift 2

case $network in
    fattree100)
        leaves=$(((ranks + 31) / 32))
        cluster="bw=\"12.5GBps\" lat=\"500ns\" topology=\"FAT_TREE\" topo_parameters=\"2;32,$leaves;1,32;1,1\""
        ranks_of_network=$((leaves * 32))
        ;;
    ethernet10)
        cluster='bw="1.25GBps" lat="12.5us"'
        ranks_of_network=$ranks
        ;;
    *)
        echo "run.sh: network '$network' is unknown. It is fattree100 or ethernet10" >&2
        exit 2
        ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/platform.xml" <<XML
<?xml version="1.0"?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <cluster id="cluster" prefix="node" suffix="" radical="0-$((ranks_of_network - 1))" speed="1Gf" $cluster/>
</platform>
XML
seq 0 $((ranks - 1)) | sed 's/^/node/' >"$work/hosts"

settings=(
    smpi/simulate-computation:no smpi/host-speed:1Gf # the time of computing is that of the profile
    network/crosstraffic:0 maxmin/concurrency-limit:1 # a link carries one message after the other, as it was given them
    smpi/bw-factor:0:1 smpi/lat-factor:0:1            # the defaults are those of an old Gigabit network
    smpi/test:0                                       # asking after a message takes no time
    smpi/send-is-detached-thresh:8192                 # longer messages wait for their receiver
    # For short sums: what the selector takes from a table grows as the square of the ranks.
    smpi/coll-selector:ompi smpi/bcast:binomial_tree smpi/allreduce:rdb
    smpi/shared-malloc:local                          # memory that is known to be the same is not copied
)
# option NAME DEFAULT ARGUMENTS...: its value among them, the last one.
option() {
    local name=$1 value=$2 argument
    shift 2
    for argument; do [[ $argument != "--$name="* ]] || value=${argument#*=}; done
    echo "$value"
}

row=$network,$ranks,$(option model.layers '' "$@"),$(option parallel.scan iexscan "$@")
row+=,$(option parallel.gradient_sums auto "$@"),$(option under_way halving "$@"),$(option faster 1 "$@")
times=$(smpirun -np "$ranks" -platform "$work/platform.xml" -hostfile "$work/hosts" \
    --log=smpi_coll.thres:error --log=xbt_cfg.thres:error "${settings[@]/#/--cfg=}" build/simulate/polysketch "$@")
echo "$row,$times"
