#!/usr/bin/env bash
# Builds the template root of a test host, once, and prints the path of its tarball. Root only.
# The mirror is the one this machine's apt is configured with; its name is kept out of the image.
set -euo pipefail
cd "$(dirname "$0")"
cache=${HOSTS_CACHE:-$PWD/../../.cache/hosts}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
# The tarball's name holds the digest of this script: a changed recipe is a new template.
out=$cache/rootfs-$(sha256sum "$0" | cut -c1-12).tar.zst
exec 9>"$cache/lock"
flock 9
[ -s "$out" ] && { echo "$out"; exit 0; }

need=()
command -v mmdebstrap >/dev/null || need+=(mmdebstrap)
command -v systemd-nspawn >/dev/null || need+=(systemd-container)
command -v ssh-keygen >/dev/null || need+=(openssh-client)
command -v zstd >/dev/null || need+=(zstd)
command -v ip >/dev/null || need+=(iproute2)
if [ ${#need[@]} -gt 0 ]; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}"; } >&2
fi
# shellcheck disable=SC1091
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk -v s="$suite" '$2==s{print $1; exit}')
[ -n "$mirror" ] || { apt-get update -qq >&2; mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk -v s="$suite" '$2==s{print $1; exit}'); }
[ -n "$mirror" ] || { echo "apt knows no mirror for $suite" >&2; exit 1; }

work=$(mktemp -d)
trap 'umount "$work" 2>/dev/null || true; rmdir "$work" 2>/dev/null || true; rm -f "$out.part"' EXIT
mount -t tmpfs -o mode=755 tmpfs "$work"   # unpacking packages on a disk takes twice as long
root=$work/root
mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus,openssh-server,ca-certificates,iproute2 \
  --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io "$suite" "$root" "$mirror" >&2

# No mirror in the image; a host makes its own identity.
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/etc/hostname "$root"/etc/resolv.conf \
  "$root"/etc/ssh/ssh_host_* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
: >"$root/etc/machine-id"
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer e2scrub_reap.service \
  systemd-pstore.service console-getty.service getty@tty1.service systemd-timesyncd.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
mkdir -p "$root/etc/systemd/journald.conf.d" "$root/etc/ssh/sshd_config.d"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n' >"$root/etc/systemd/journald.conf.d/test.conf"
printf 'UsePAM no\nUseDNS no\nMaxStartups 500:30:1000\nMaxSessions 100\nPasswordAuthentication no\n' >"$root/etc/ssh/sshd_config.d/test.conf"
tar -C "$root" -c . | zstd -q -3 -T0 -o "$out.part"
mv "$out.part" "$out"
echo "$out"
