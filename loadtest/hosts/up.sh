#!/usr/bin/env bash
# up.sh STATE N OWNER_PID: boots N hosts and returns when sshd of each can be reached. See README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
state=$1 count=$2 owner=$3
[ "$(id -u)" = 0 ] || { echo "up.sh needs root" >&2; exit 1; }
tarball=$("$here/rootfs.sh")
mkdir -p "$state"
state=$(cd "$state" && pwd)
[ "$count" -lt 30 ] || sysctl -q fs.inotify.max_user_instances=2048 # the default of 128 ends at the 35th host

# The template is unpacked once, beside its tarball, and only read from then on.
template=${tarball%.tar.zst}
exec 9>"$(dirname "$tarball")/lock"
flock 9
if [ ! -d "$template" ]; then
  rm -rf "$template.part" && mkdir "$template.part"
  zstd -dqc "$tarball" | tar -C "$template.part" -x
  mv "$template.part" "$template"
fi
exec 9>&-

run=wh$$
hub=$run-hub
echo "$run" >"$state/run"
echo "$hub" >"$state/hub"
# Whatever happens to the owner, also SIGKILL, nothing of this stays.
setsid -f bash -c "tail --pid=$owner -f /dev/null; exec '$here/down.sh' '$state'" </dev/null >/dev/null 2>&1

ip netns add "$hub"
ip -n "$hub" link set lo up
ip -n "$hub" link add br0 type bridge
ip -n "$hub" addr add 10.77.0.1/16 dev br0
ip -n "$hub" link set br0 up
for ((k = 1; k <= count; k++)); do
  host=$state/$k ns=$run-$k
  mkdir -p "$host/mnt" "$host/identity/etc/ssh"
  ip netns add "$ns"
  ip -n "$hub" link add "v$k" type veth peer name eth0 netns "$ns"
  ip -n "$hub" link set "v$k" master br0 up
  ip -n "$ns" addr add "10.77.$((k / 250)).$((k % 250 + 1))/16" dev eth0
  ip -n "$ns" link set lo up
  ip -n "$ns" link set eth0 up
  ssh-keygen -q -t ed25519 -N '' -C "host-$k" -f "$host/identity/etc/ssh/ssh_host_ed25519_key"
  cp "$host/identity/etc/ssh/ssh_host_ed25519_key.pub" "$host/"
  (
    # An own cgroup in every hierarchy nspawn looks at, or several hosts share one "/payload".
    for h in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup/memory /sys/fs/cgroup/pids /sys/fs/cgroup; do
      [ -f "$h/cgroup.procs" ] || continue
      mkdir -p "$h/$ns" && echo "$BASHPID" >"$h/$ns/cgroup.procs" 2>/dev/null || true
    done
    exec setsid unshare --mount --propagation private "$here/one.sh" "host-$k" "$ns" "$template" "$host" >"$host/log" 2>&1 </dev/null
  ) &
done
for ((k = 1; k <= count; k++)); do
  addr=10.77.$((k / 250)).$((k % 250 + 1))
  for ((try = 0; ; try++)); do
    nsenter --net="/run/netns/$hub" bash -c "exec 3<>/dev/tcp/$addr/22 && read -t 2 -r line <&3 && [[ \$line == SSH-* ]]" 2>/dev/null && break
    [ "$try" -lt 300 ] || { echo "host $k does not answer on port 22; see $state/$k/log" >&2; exit 1; }
    sleep 0.1
  done
  echo "$k $addr"
done
