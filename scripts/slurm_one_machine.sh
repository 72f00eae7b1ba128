#!/usr/bin/env bash
# A private, real Slurm on one machine: munged, slurmctld and two emulated nodes, n1 and n2, of four CPUs each.
#
#   scripts/slurm_one_machine.sh start DIR    start it and print the line that points Slurm's commands at it
#   scripts/slurm_one_machine.sh stop DIR     end its jobs and its daemons, and nothing else
#
# Everything lies in DIR: configuration, munge key and socket, state, logs, pid files. A Slurm or munge that the machine
# already has is not touched. DIR must be short, e.g. $(mktemp -d /tmp/psf-XXXX): Unix socket paths are limited.
# Needs root and the packages slurm-wlm, munge and libpmix-dev (Debian names). Exit codes: 0 done, 1 failed, 2 wrong use,
# 77 cannot run here.
set -euo pipefail

readonly start_seconds=20 ready_seconds=60 stop_seconds=10 longest_path=40

fail() {
    echo "slurm_one_machine: $2" >&2
    exit "$1"
}

require_here() {
    local program
    [[ $EUID -eq 0 ]] || fail 77 "needs root (slurmd starts jobs as other users)"
    for program in munged mungekey slurmctld slurmd scontrol sinfo squeue scancel; do
        command -v "$program" >/dev/null || fail 77 "$program not found. Try: apt-get install slurm-wlm munge libpmix-dev"
    done
}

# run_daemon NAME PROGRAM ARGUMENT ...: start it and wait for its process id in DIR/NAME.pid.
# Daemons get a clean environment: no SLURM_ or OMPI_ variable of the caller may reach the jobs through them, and SLURM_CONF
# marks them as ours. Their output goes to a file, so that a caller reading our output does not wait for them.
run_daemon() {
    local name=$1 deadline=$((SECONDS + start_seconds))
    shift
    env -i PATH="$PATH" HOME="${HOME:-/root}" SLURM_CONF="$SLURM_CONF" "$@" \
        >>"$directory/start.log" 2>&1 </dev/null || fail 1 "$1 did not start. See $directory/start.log"
    until daemon_pid "$name" >/dev/null; do
        ((SECONDS < deadline)) || fail 1 "$name left no process id. See the logs in $directory"
        sleep 0.1
    done
}

# is_ours PID PROGRAM: PID lives, runs PROGRAM, and was started for DIR.
is_ours() {
    [[ $1 =~ ^[0-9]+$ && $(cat "/proc/$1/comm" 2>/dev/null) == "$2" ]] &&
        grep -qzxF "SLURM_CONF=$SLURM_CONF" "/proc/$1/environ" 2>/dev/null
}

# daemon_pid NAME: the process id in DIR/NAME.pid, if it is ours. The file of node n1 is slurmd-n1.pid, its program slurmd.
daemon_pid() {
    local pid
    pid=$(cat "$directory/$1.pid" 2>/dev/null) || return 1
    is_ours "$pid" "${1%%-*}" && echo "$pid"
}

# free_ports N: N TCP ports nobody listens on, starting at a place that depends on our process id.
free_ports() {
    local port=$((20000 + $$ % 9000)) found=0
    while ((found < $1)); do
        port=$((port + 1))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            found=$((found + 1))
        fi
    done
}

write_configuration() {
    local host ports
    host=$(hostname -s)
    mapfile -t ports < <(free_ports 3)
    # TmpFS of its own per node: the PMIx plugin makes a folder there whose name two nodes of one job share.
    # config_overrides: believe the node lines below, whatever the machine really has.
    # cred_expire: so long a job that was put back into the queue waits, two minutes by default.
    cat >"$directory/slurm.conf" <<CONF
ClusterName=psf
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
AuthType=auth/munge
AuthInfo=socket=$directory/munge/socket,cred_expire=15
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$directory/ctld
SlurmdSpoolDir=$directory/%n
SlurmctldPidFile=$directory/slurmctld.pid
SlurmdPidFile=$directory/slurmd-%n.pid
SlurmctldLogFile=$directory/slurmctld.log
SlurmdLogFile=$directory/slurmd-%n.log
TmpFS=$directory/tmp-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=pmix
KillWait=2
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[1]} CPUs=4 RealMemory=4000
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[2]} CPUs=4 RealMemory=4000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
    # slurmd loads a cgroup plugin even when nothing uses it; the one for version 1 does nothing until asked.
    echo "CgroupPlugin=cgroup/v1" >"$directory/cgroup.conf"
}

# munged insists on a socket that everybody may reach, through all folders above it, and on a key that only its owner may read.
start_munge() {
    local munge=$directory/munge
    mkdir "$munge"
    chmod 755 "$directory" "$munge"
    mungekey --create --keyfile="$munge/key"
    run_daemon munged munged --key-file="$munge/key" --socket="$munge/socket" --pid-file="$directory/munged.pid" \
        --log-file="$directory/munged.log" --seed-file="$munge/seed"
}

start_slurm() {
    mkdir "$directory"/{ctld,n1,n2,tmp-n1,tmp-n2}
    run_daemon slurmctld slurmctld -c
    run_daemon slurmd-n1 slurmd -N n1
    run_daemon slurmd-n2 slurmd -N n2
}

wait_until_idle() {
    local deadline=$((SECONDS + ready_seconds)) idle
    while ((SECONDS < deadline)); do
        idle=$(timeout 10 sinfo --noheader --Node --format=%T 2>/dev/null | grep -cx idle || true)
        [[ $idle -eq 2 ]] && return 0
        sleep 0.5
    done
    fail 1 "n1 and n2 are not idle after $ready_seconds seconds. See the logs in $directory"
}

stop_daemon() {
    local name=$1 pid signal deadline
    pid=$(daemon_pid "$name") || return 0
    for signal in TERM KILL; do
        kill -s "$signal" "$pid" 2>/dev/null || true
        deadline=$((SECONDS + stop_seconds))
        while is_ours "$pid" "${name%%-*}"; do
            ((SECONDS < deadline)) || continue 2
            sleep 0.1
        done
        return 0
    done
    echo "slurm_one_machine: $name, process $pid, does not end" >&2
    return 1
}

# Jobs outlive the daemons that started them, so they go first.
cancel_jobs() {
    local deadline=$((SECONDS + stop_seconds)) jobs
    daemon_pid slurmctld >/dev/null || return 0
    while ((SECONDS < deadline)); do
        jobs=$(timeout 5 squeue --noheader --format=%A 2>/dev/null) || return 0
        [[ -n $jobs ]] || return 0
        # shellcheck disable=SC2086  # a list of job numbers
        timeout 5 scancel $jobs 2>/dev/null || true
        sleep 0.5
    done
    echo "slurm_one_machine: these jobs did not end: ${jobs//$'\n'/ }" >&2
}

stop() {
    local name result=0
    cancel_jobs
    for name in slurmd-n1 slurmd-n2 slurmctld munged; do
        stop_daemon "$name" || result=1
    done
    return "$result"
}

start() {
    ((${#directory} <= longest_path)) ||
        fail 2 "'$directory' is longer than $longest_path characters. Try: \$(mktemp -d /tmp/psf-XXXX)"
    mkdir -p "$directory"
    [[ -z $(ls -A "$directory") ]] || fail 2 "'$directory' is not empty. Try: \$(mktemp -d /tmp/psf-XXXX)"
    write_configuration
    trap 'stop || true' EXIT # half a cluster is worse than none
    start_munge
    start_slurm
    wait_until_idle
    trap - EXIT
    echo "export SLURM_CONF=$directory/slurm.conf"
}

main() {
    [[ $# -eq 2 && $1 =~ ^(start|stop)$ ]] || fail 2 "usage: $0 start|stop DIR"
    require_here
    directory=$(realpath -m -- "$2")
    export SLURM_CONF=$directory/slurm.conf
    "$1"
}

main "$@"
