#!/usr/bin/env bash
# down.sh STATE: ends every host that up.sh started with this folder. Safe to repeat.
set -u
state=$1
[ -s "$state/run" ] || exit 0
run=$(cat "$state/run")
# SIGKILL to nspawn alone leaves the container running; the cgroup takes everything at once.
for c in /sys/fs/cgroup/unified/"$run"-* /sys/fs/cgroup/"$run"-*; do
  [ -e "$c/cgroup.kill" ] && echo 1 >"$c/cgroup.kill"
done
busy() { find /sys/fs/cgroup -path "*/$run-*" -name cgroup.procs -exec cat {} + 2>/dev/null | grep -q .; }
for _ in $(seq 100); do busy || break; sleep 0.05; done
for _ in 1 2 3; do
  find /sys/fs/cgroup -mindepth 1 -depth -type d -path "*/$run-*" -exec rmdir {} + 2>/dev/null
done
for ns in $(ip netns list 2>/dev/null | awk '{print $1}' | grep -E "^$run-([0-9]+|hub)$"); do ip netns del "$ns"; done
rm -f "$state/run"
