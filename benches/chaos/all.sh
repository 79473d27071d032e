#!/usr/bin/env bash
# The chaos suite in full: part after part, whatever became of those before. What
# came of all of them stands together at the end; target/chaos/ keeps each output.

set -uo pipefail
cd "$(dirname "$0")/../.."
kept=target/chaos
rm -rf "$kept"
mkdir -p "$kept"

names=()
heads=()
failed=0

# A name, then variables and a command as for env.
part() {
    local name=$1 since=$SECONDS outcome=ok
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    if ! env "$@" 2>&1 | tee "$kept/$name"; then
        outcome=FAILED
        failed=1
    fi
    names+=("$name")
    heads+=("$(printf '%-6s %-17s %4d s' "$outcome" "$name" $((SECONDS - since)))")
}

# Without what every run says.
told() {
    grep -vE '^ +(Compiling|Finished|Running|Downloaded|Downloading) |^running |^test .* ok$|^\.\.\. |^$' "$1"
}

part handover PURLIN_TEST_FULL=1 cargo test --test it -- --nocapture handover::
part ends PURLIN_TEST_FULL=1 cargo test --test it -- --nocapture pushes:: ends::
part upgrades PURLIN_TEST_UPGRADES=20 cargo test --test it -- --nocapture upgrade::
part bus PURLIN_TEST_FULL=1 cargo test --test it -- --nocapture bus::what_is_said bus_faults::
part kill-points KILL_ROUNDS=50 cargo test --features failpoints --test faults -- --nocapture deaths between_workers::
# Without failpoints C1 of the table measures the same.
part deaths cargo bench --bench deaths --features failpoints
part table cargo bench --bench chaos

printf '\n== %d min in all, on %d cores\n' $((SECONDS / 60)) "$(nproc)"
for n in "${!names[@]}"; do
    printf '\n%s\n' "${heads[n]}"
    told "$kept/${names[n]}"
done
exit "$failed"
