#!/bin/bash
# Whatever is wrong, on one rank and on three: the job ends soon and with an error, one line says the cause and the remedy, no
# process stays and nothing half-written is left.
# time limit: 240 s
set -euo pipefail
# shellcheck source=tests/system/common.bash
. "$(dirname "$0")/common.bash"

# require_one_line FILE WORDS: FILE is one line of ours with each of the words, which are separated by "|".
require_one_line() {
    local word list
    if [ "$(wc -l <"$1")" -ne 1 ] || [[ $(<"$1") != 'polysketch: '* ]]; then
        give_up "$case: not one line: $(<"$1")"
    fi
    IFS='|' read -ra list <<<"$2"
    for word in "${list[@]}"; do
        grep -qF -e "$word" "$1" || give_up "$case: no word of '$word' in: $(<"$1")"
    done
}

# require_nothing_half FOLDER: nothing that looks like a result, finished or not; a run may have saved before it met the trouble,
# and those checkpoints are whole.
require_nothing_half() {
    local left checkpoint
    left=$(find "$1" -name '*.tmp' -o -name 'losses.h5' -o -name 'train.h5')
    [ -z "$left" ] || give_up "$case: half-written: $left"
    for checkpoint in "$1"/run/checkpoints/step-*.h5; do
        [ ! -e "$checkpoint" ] || quiet "$program" inspect "$checkpoint"
    done
}

# require_no_processes: of any case. What Open MPI starts beside a program without mpirun needs a moment to notice its end.
require_no_processes() {
    local left attempt
    for attempt in {1..50}; do
        left=$(grep -lzsxF -e "POLYSKETCH_TEST=$TEST_FOLDER" /proc/[0-9]*/environ || true)
        [ -n "$left" ] || return 0
        sleep 0.1
    done
    give_up "processes still run after $attempt attempts: $left"
}

# refuse_on RANKS FOLDER WORDS ARGUMENTS...: "@" in an argument is the folder of this case.
refuse_on() {
    local ranks=$1 case_folder=$2 expected=$3 status=0 case
    shift 3
    case="polysketch $* on $ranks ranks"
    mkdir "$case_folder"
    LAUNCH=()
    [ "$ranks" -eq 1 ] || launch_command "$ranks" 1
    POLYSKETCH_TEST=$TEST_FOLDER OMP_NUM_THREADS=1 timeout --kill-after=5 20 "${LAUNCH[@]}" "$program" \
        "${@//@/$case_folder}" >"$case_folder.out" 2>"$case_folder.err" </dev/null || status=$?
    case $status in
        0) give_up "$case: exit code 0" ;;
        124 | 137) give_up "$case: stopped after 20 s; it said: $(<"$case_folder.err")" ;;
    esac
    require_one_line "$case_folder.err" "$expected"
    require_nothing_half "$case_folder"
}

cases=0
at_once=4 # most of the time is spent in waiting for MPI

# refuse WORDS ARGUMENTS...
refuse() {
    local ranks
    cases=$((cases + 1))
    for ranks in 1 3; do start refuse_on "$ranks" "$TEST_FOLDER/case-$cases-$ranks" "$@"; done
}

# add_default OPTION VALUE: to the array `options`, where it does not stand yet.
add_default() {
    [[ " ${options[*]}" == *" --$1="* ]] || options+=("--$1=$2")
}

# refuse_train WORDS OPTIONS...
refuse_train() {
    local words=$1 options=("${@:2}")
    add_default data.train "$data/train.h5"
    add_default output.folder @/run
    refuse "$words" train tests/data/tiny.ini "${options[@]}"
}

# refuse_eval WORDS OPTIONS...
refuse_eval() {
    local words=$1 options=("${@:2}")
    add_default checkpoint "$good"
    add_default data "$data/validation.h5"
    add_default per_token_loss @/losses.h5
    refuse "$words" eval "${options[@]}"
}

prepare_data
train 1 good --train.steps=1
good=$(checkpoint good 1)
sum=$(sha256sum "$good")
bad=$TEST_FOLDER/bad
quiet python "$tools"/make_bad_files.py "$data/train.h5" "$good" "$bad"
printf '[train]\nstepz = 3\n' >"$bad/option.ini"
printf 'nonsense\n' >"$bad/line.ini"
printf 'a\n\nb\n' >"$bad/prompts.txt"
head -c 1100000 /dev/zero >"$bad/long.ini"
long=$(printf '%0250d' 0)
mkdir -p "$bad/$long/$long"
cp tests/data/tiny.ini "$bad/$long/$long/config.ini"
printf '[train]\nsteps = 3\n\n[train]\nsteps = 4\n' >"$bad/twice.ini"

# The command line and the configuration
refuse "unknown subcommand 'trian'|--help" trian
refuse "unknown option 'train.stepz'|'train.steps'" train --train.stepz=3
refuse "unknown option 'train.stepz'|'train.steps'|option.ini" train "$bad/option.ini"
refuse "line.ini:1|key = value" train "$bad/line.ini"
refuse "unknown option 'steps'|'train.steps'" train --steps=3
refuse "unknown option 'train.lr'|'train.learning_rate'" train --train.lr=1
refuse "unknown option 'learning-rate'|'train.learning_rate'" train --learning-rate=1
refuse "unknown option 'zzzzzz'. --help" train --zzzzzz=1
refuse "unknown option '-x'|--section.key=value|--help" train -x
refuse "twice.ini:5|train.steps was set in line 2|Keep one" train "$bad/twice.ini"
refuse "--input is given twice, as 'a' and as 'b'|one of them" prepare --input=a --input=b --output=@/data
refuse "option 'prompt' needs a value: --prompt=" generate --checkpoint=x --prompt --tokens=3
refuse "cannot read the configuration|missing.ini|No such file|configs/" train "$bad/missing.ini"
refuse "cannot read the configuration|it has more than 1048576 bytes|configs/" train "$bad/long.ini"
refuse "is not a configuration in INI form|configs/" train "$good"
refuse "cannot read the configuration|Input/output error" train /proc/self/mem
refuse "output.folder is longer than 511 bytes|shorter" train "$bad/$long/$long"
refuse "unexpected argument|--section.key=value" train tests/data/tiny.ini tests/data/tiny.ini
refuse "vocabulary|--model.vocab_size" plan tests/data/tiny.ini
refuse "vocabulary is unknown|missing.h5|no such file|--model.vocab_size" plan tests/data/tiny.ini --data.train="$bad/missing.h5"
refuse "--checkpoint=FILE" eval
refuse "--output=FOLDER" prepare
refuse "--input=FILE_OR_FOLDER" prepare --output=@/data
refuse "no token numbers" prepare --ids --vocab_size=9 --output=@/data
refuse "vocab_size = 20000000|out of range" prepare --ids --vocab_size=20000000 --output=@/data
refuse_train "output.folder is empty|leave it out|results/run" --output.folder=
refuse_eval "per_token_loss is empty|leave it out" --per_token_loss=
refuse "prompt is empty|leave it out" generate --checkpoint="$good" --prompt=
refuse "prompt_file is empty|leave it out" generate --checkpoint="$good" --prompt_file=
refuse_train "train.beta1 = 2|out of range|0.999999" --train.beta1=2
refuse_train "train.steps = 'many'|whole number" --train.steps=many
refuse_train "attention.kind = 'linear'|softmax|performer" --attention.kind=linear
refuse_train "model.width = 33|model.heads = 2|Try model.width = 34" --model.width=33
refuse_train "attention.degree = 3|odd|Try attention.degree = 4" --attention.degree=3
refuse_train "attention.degree = 6|2, 4 and 8" --attention.degree=6 --attention.sketch=random
refuse_train "attention.pattern = 'polysketch*3,softmax'|4 layers|model.layers = 2" --attention.pattern='polysketch*3,softmax'
refuse_train "attention.pattern|no kind 'linear'|softmax" --attention.pattern=linear,softmax
refuse_train "attention.pattern|'polysketch' has no variant 'wild'" --attention.pattern=polysketch:wild,softmax
refuse_train "train.stretch_length = 32|softmax|Set it to 0" --attention.pattern=polysketch,softmax --train.stretch_length=32
refuse_train "train.optimizer = 'sgd'|adamw|muon" --train.optimizer=sgd
refuse_train "not divisible by parallel.data_ranks = 2|divisor" --parallel.data_ranks=2 --train.batch_sequences=3
refuse_train "train.micro_batch_sequences = 3|Try 0" --train.micro_batch_sequences=3
start refuse_on 3 "$TEST_FOLDER/blocks" "3 ranks|2 blocks|Use fewer ranks" train tests/data/tiny.ini \
    --data.train="$data/train.h5" --output.folder=@/run --model.context_length=32

# Token files
refuse_train "data.train is not set|polysketch prepare" --data.train=
refuse_train "no such file|polysketch prepare" --data.train="$bad/missing.h5"
refuse_train "is a folder" --data.train="$bad"
refuse_train "empty|make it again" --data.train="$bad/empty.h5"
refuse_train "not an HDF5 file|polysketch prepare" --data.train="$bad/text.h5"
refuse_train "truncated or damaged|again" --data.train="$bad/truncated-tokens.h5"
refuse_train "no attribute format|polysketch prepare" --data.train="$bad/foreign.h5"
refuse_train "polysketch-checkpoint file|polysketch-tokens file is needed" --data.train="$good"
refuse_train "version 99|newer" --data.train="$bad/future.h5"
refuse_train "type float32, not uint8|polysketch prepare" --data.train="$bad/real-numbers.h5"
refuse_train "2 dimensions instead of 1" --data.train="$bad/square.h5"
refuse_train "is 300|vocab_size is 256" --data.train="$bad/high-id.h5"
refuse_train "64 tokens|needs at least 65|longer text" --data.train="$bad/short.h5"
refuse_train "1 tokens|needs at least 2" --data.validation="$bad/single.h5"
refuse_train "evaluate.stride = 65|context_length = 64|at most 64" --evaluate.stride=65
refuse_eval "stride = 65|at most 64" --stride=65
refuse_train "1000 tokens|one of 256|same tokenizer" --data.train="$bad/large-vocabulary.h5" --model.vocab_size=256
refuse_train "is 300|vocab_size is 256" --data.validation="$bad/high-id.h5" --evaluate.every=1
refuse_eval "is 300|vocab_size is 256" --data="$bad/high-id.h5"
refuse_eval "1000 tokens|one of 256|model's tokenizer" --data="$bad/large-vocabulary.h5"

# Checkpoints
refuse_eval "no such file" --checkpoint="$bad/missing.h5"
refuse_eval "empty" --checkpoint="$bad/empty.h5"
refuse_eval "truncated or damaged" --checkpoint="$bad/truncated-checkpoint.h5"
refuse_eval "no attribute format" --checkpoint="$bad/foreign.h5"
refuse_eval "polysketch-tokens file|polysketch-checkpoint file is needed" --checkpoint="$data/train.h5"
refuse_eval "version 99|newer" --checkpoint="$bad/from_the_future.h5"
refuse_eval "no dataset layers.1.attention.out.weight" --checkpoint="$bad/without_a_tensor.h5"
refuse_eval "not finite|final_norm.weight|earlier checkpoint" --checkpoint="$bad/with_nan.h5"
refuse_eval "logit_bias has shape (7)|needs (256)" --checkpoint="$bad/with_another_shape.h5"
refuse_eval "does not use: layers.2.attention.out.weight" --checkpoint="$bad/with_one_more.h5"
refuse "does not use: layers.2.attention.out.weight" generate --checkpoint="$bad/with_one_more.h5" --prompt=a
mkdir -p "$TEST_FOLDER/more/checkpoints"
cp "$bad/with_one_more.h5" "$(checkpoint more 1)"
refuse_train "does not use: layers.2.attention.out.weight|model options" --output.folder="$TEST_FOLDER/more"
refuse "prompt is empty|--prompt" generate --checkpoint="$good"
refuse "--prompt and --prompt_file|Leave one" generate --checkpoint="$good" --prompt=a --prompt_file="$bad/line.ini"
refuse "cannot read a prompt|is a folder|--prompt_file" generate --checkpoint="$good" --prompt_file="$bad"
refuse "--prompts and --prompt|Leave one" generate --checkpoint="$good" --prompts="$bad/line.ini" --prompt=a
refuse "--prompts and --load_state|Leave one" generate --checkpoint="$good" --prompts="$bad/line.ini" --load_state="$good"
refuse "cannot read prompts|No such file|Check the name" generate --checkpoint="$good" --prompts="$bad/missing.txt"
refuse "line 2: the prompt is empty" generate --checkpoint="$good" --prompts="$bad/prompts.txt"
refuse "no such file" generate --checkpoint="$good" --load_state="$bad/missing.h5" --prompt=a
refuse "polysketch-checkpoint file|polysketch-state file is needed" generate --checkpoint="$good" --load_state="$good"
refuse "not replaced|polysketch-checkpoint file|another name" generate --checkpoint="$good" --prompt=a --save_state="$good"
refuse "which items|--checkpoint=FILE" score
refuse "--checkpoint=FILE is missing" score "$bad/line.ini"
refuse "line.ini': line 1 is no JSON" score "$bad/line.ini" --checkpoint="$good"
refuse_eval "attention.block_length = 16 is part of this model|blocks of 32|Leave" --attention.block_length=32
refuse "no such file" inspect "$bad/missing.h5"
refuse "is a folder|Name a checkpoint" inspect "$bad"
refuse "folder of a run|checkpoints/step-00000001.h5" inspect "$TEST_FOLDER/good"
refuse "table as text|good/metrics.h5" inspect "$TEST_FOLDER/good/metrics.csv"
refuse "values are not finite" inspect "$bad/with_nan.h5"
refuse_train "was trained with tokenizer 'bytes'|made with 'mine'|another output.folder" --output.folder="$TEST_FOLDER/good" \
    --data.train="$bad/other-tokenizer.h5"
refuse_train "model.width = 32|this configuration 64|another output.folder" --output.folder="$TEST_FOLDER/good" \
    --model.width=64

# What is read must not be replaced
refuse_eval "would replace the file of --data" --per_token_loss="$data/validation.h5"
refuse_eval "would replace the file of --checkpoint" --per_token_loss="$good"
refuse_eval "not replaced|polysketch-tokens file|another name" --per_token_loss="$data/train.h5"
refuse_eval "not a regular file" --per_token_loss=/dev/null
refuse_eval "would replace the file of --data" --attention_distance="$data/validation.h5"
refuse_eval "'$TEST_FOLDER/one'|name one file" --attention_distance="$TEST_FOLDER/one" --per_token_loss="$TEST_FOLDER/one"
touch "$TEST_FOLDER/there"
refuse_eval "'$TEST_FOLDER/there'|name one file" --per_token_loss="$TEST_FOLDER/there" \
    --attention_distance="$TEST_FOLDER/./there"
refuse_eval "not a regular file" --attention_distance=/dev/null
refuse_eval "missing/distances.csv|Choose a folder" --attention_distance="$TEST_FOLDER/missing/distances.csv"
refuse_eval "no such file" --data="$bad/missing.h5" --per_token_loss="$bad/missing.h5"

# Continuing, and beginning with another run's weights
refuse_train "no checkpoint of that step|those of 1" --output.folder="$TEST_FOLDER/good" --from=3
refuse_train "has no checkpoints|leave --from out" --from=3
refuse_train "train.min_learning_rate = 0.1|train.learning_rate = 0.003|Lower" --train.min_learning_rate=0.1
refuse_train "39 tensors have another shape|token_embedding.weight (256, 32) there, (256, 64) here" --train.init_from="$good" \
    --model.width=64
refuse_train "model.heads = 2, this configuration 4" --train.init_from="$good" --attention.kind=softmax --model.heads=4
refuse_train "train.init_from|no such file" --train.init_from="$bad/missing.h5"
refuse_train "train.init_from|polysketch-checkpoint file is needed" --train.init_from="$data/train.h5"
refuse_train "not finite|final_norm.weight" --train.init_from="$bad/with_nan.h5"
refuse_train "trained with tokenizer 'bytes'|made with 'mine'" --train.init_from="$good" --data.train="$bad/other-tokenizer.h5"
refuse_train "began with train.init_from = ''|Leave the option out" --output.folder="$TEST_FOLDER/good" --train.init_from="$good"

printf 'step,loss\n1,5\n' >"$TEST_FOLDER/metrics-only.csv"
mkdir "$TEST_FOLDER/lost" "$TEST_FOLDER/stop"
cp "$TEST_FOLDER/metrics-only.csv" "$TEST_FOLDER/lost/metrics.csv"
touch "$TEST_FOLDER/stop/STOP"
refuse_train "no checkpoint to continue from|--overwrite" --output.folder="$TEST_FOLDER/lost"
cp "$TEST_FOLDER/good/metrics.h5" "$TEST_FOLDER/lost/metrics.h5"
rm "$TEST_FOLDER/lost/metrics.csv"
refuse_train "no checkpoint to continue from|--overwrite" --output.folder="$TEST_FOLDER/lost"
refuse_train "/STOP'|Remove that file" --output.folder="$TEST_FOLDER/stop"

# Where nothing can be written, also for root
refuse_train "should be a folder|Choose another folder" --output.folder="$TEST_FOLDER/text.txt/run"
refuse_train "cannot make the folder|Choose a folder" --output.folder=/proc/polysketch
refuse_eval "losses.h5|Choose another folder" --per_token_loss="$TEST_FOLDER/missing/losses.h5"
refuse "is there already|--overwrite" prepare --input="$TEST_FOLDER/text.txt" --output="$data"
refuse "should be a folder" prepare --input="$TEST_FOLDER/text.txt" --output="$TEST_FOLDER/text.txt/data"

# A loss that is not a number
refuse_train "the loss is|Lower train.learning_rate|train.clip_norm" --attention.kind=polynomial --attention.degree=8 \
    --train.learning_rate=1000 --train.clip_norm=0 --train.warmup_steps=0 --train.steps=50

# More memory than there is: each rank finds it out for itself
start refuse_on 1 "$TEST_FOLDER/memory" "cannot allocate|Use more ranks" train tests/data/tiny.ini \
    --data.train="$data/train.h5" --output.folder=@/run --train.batch_sequences=16000000

finish
require_no_processes
sha256sum --quiet --check <<<"$sum" >&2 || give_up "a checkpoint was changed by a run that was refused"
