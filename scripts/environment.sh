# shellcheck shell=bash
# Source this file before starting the program on one machine: it sets what Open MPI needs and defines
#
#     launch RANKS THREADS COMMAND...     run COMMAND as RANKS processes with THREADS OpenMP threads each
#
# MPIRUN names another starter than mpirun: mpirun.mpich for a program built with MPI=mpich, or a path.
# On a cluster use the job scripts in slurm/ instead. Variables that are already set are left as they are.
# OPENBLAS_CORETYPE is never touched: the library knows its processor best.

# Open MPI refuses to run as root unless both are set. In a container or a virtual machine of one's own that is no danger.
if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

MPIRUN=${MPIRUN:-mpirun}
mpirun_version=$("$MPIRUN" --version 2>/dev/null || true)

# By default Open MPI ties each of one or two ranks to a single core, where all its OpenMP threads would then share it.
export OMPI_MCA_hwloc_base_binding_policy="${OMPI_MCA_hwloc_base_binding_policy:-none}"
# More ranks than cores are allowed: they are how a job for many machines is tried on a small one.
export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"

# The processors this process may run on (nproc alone would count OMP_NUM_THREADS).
usable_processors() {
    env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc
}

# Whether that is the whole machine: no job system, container or taskset keeps part of it from us.
owns_machine() {
    [ -z "${SLURM_JOB_ID:-}" ] && [ "$(usable_processors)" -eq "$(getconf _NPROCESSORS_ONLN)" ]
}

# Real cores where the machine is ours, without the second thread that a core may have.
usable_cores() {
    if owns_machine; then
        lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l
    else
        usable_processors
    fi
}

# launch_command RANKS THREADS: leaves in the array LAUNCH the words to put before a command, for use under `timeout` and so on.
launch_command() {
    local ranks=$1 threads=$2 cores
    cores=$(usable_cores)
    local starter=(-q -n "$ranks") crowded=(--oversubscribe)
    if [[ $mpirun_version == *'(Open MPI) 5.'* ]]; then # which has other words for the same
        starter=(-n "$ranks")
        crowded=(--map-by :OVERSUBSCRIBE)
    fi
    LAUNCH=(env "OMP_NUM_THREADS=$threads")
    if [[ $mpirun_version == *HYDRA* ]]; then
        # MPICH binds nothing unless it is told to, and counts no cores.
        [ $((ranks * threads)) -le "$cores" ] || LAUNCH+=("OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}")
        LAUNCH+=("$MPIRUN" -n "$ranks")
        return
    fi
    if [ $((ranks * threads)) -eq "$cores" ] && owns_machine; then
        # The job fills the machine: every rank gets cores of its own. A smaller job is not bound, because two of them would be
        # bound to the same cores.
        LAUNCH+=("$MPIRUN" "${starter[@]}" --map-by "slot:PE=$threads" --bind-to core)
        return
    fi
    if [ $((ranks * threads)) -gt "$cores" ]; then
        # Waiting ranks and threads must give up their core to those that have work.
        LAUNCH+=(OMPI_MCA_mpi_yield_when_idle=1 "OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}")
    fi
    LAUNCH+=("$MPIRUN" "${starter[@]}" --bind-to none "${crowded[@]}")
}

launch() {
    if [ $# -lt 3 ]; then
        echo 'usage: launch RANKS THREADS COMMAND...' >&2
        return 2
    fi
    local status=0
    launch_command "$1" "$2"
    shift 2
    if ! command -v "$1" >/dev/null; then
        echo "launch: there is no program '$1'. Try: make" >&2
        return 127
    fi
    "${LAUNCH[@]}" "$@" || status=$?
    # mpirun -q does not mention a signal, and the program could not.
    if [ "$status" -gt 128 ]; then
        echo "launch: a rank of '$1' was ended by signal $((status - 128))" >&2
    fi
    return "$status"
}
