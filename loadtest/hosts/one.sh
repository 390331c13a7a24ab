#!/usr/bin/env bash
# one.sh NAME NETNS TEMPLATE STATE: boots one host and keeps it over `reboot`. Called by up.sh, inside a mount namespace of its
# own and already in its own cgroups.
set -u
name=$1 netns=$2 template=$3 state=$4
mount -t tmpfs -o mode=755 tmpfs "$state/mnt" || exit 1
mkdir -p "$state/mnt/upper" "$state/mnt/work" "$state/mnt/root"
for seed in "$state/../seed" "$state/../seed-$(basename "$state")" "$state/identity"; do
  [ -d "$seed" ] && cp -a --no-preserve=ownership "$seed/." "$state/mnt/upper/"
done
chmod 755 "$state/mnt/upper"
mount -t overlay overlay -o "lowerdir=$template,upperdir=$state/mnt/upper,workdir=$state/mnt/work" "$state/mnt/root" || exit 1
# nspawn wants to remove its propagation folder, which it refuses on a disk file system.
mkdir -p /run/systemd/nspawn && mount -t tmpfs -o mode=755 tmpfs /run/systemd/nspawn || exit 1
# Under PID 1 other than systemd there is no bus to register at; hybrid cgroups need the unified one named.
[ -d /sys/fs/cgroup/unified ] && export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
while :; do
  systemd-nspawn --quiet --boot --directory="$state/mnt/root" --machine="$name" --hostname="$name" \
    --register=no --keep-unit --network-namespace-path="/run/netns/$netns" \
    --resolv-conf=off --timezone=off --link-journal=no --settings=no --console=passive
  [ $? = 133 ] || break # 133: the host asked for a reboot, which --keep-unit leaves to us
done
