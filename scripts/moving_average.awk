# Of lines `step value`, with the average over a window around each step behind them: how pictures and tables of runs smooth a
# loss, those of plot_common.bash as those of job_tables.py. The window is 2 % of the run, so a curve reads the same for short and
# long runs. Near the start, where the loss falls fast, the window shrinks on both sides; at the end it is only cut off: the last
# average is that of the last 1 %, by which tables say the loss of a run.
{ step[NR] = $1; value[NR] = $2; sum[NR] = sum[NR - 1] + $2 }
END {
    OFMT = "%.9g"
    half = int(NR / 100)
    for (i = 1; i <= NR; i++) {
        reach = i - 1 < half ? i - 1 : half
        last = i + reach < NR ? i + reach : NR
        print step[i], value[i], (sum[last] - sum[i - reach - 1]) / (last - (i - reach - 1))
    }
}
