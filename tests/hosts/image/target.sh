#!/bin/sh
# Turns a bare root file system into a server as one finds it: called by mmdebstrap with the root's path.
set -eu
root=$1
here=$(dirname "$0")

# Every host gets keys and an identity of its own when it starts.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/etc/resolv.conf"
: > "$root/etc/machine-id"

# A timer that takes apt's lock by chance would make runs differ; the apt-lock variant takes it on purpose.
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service
# The host's life is a test's: what a power cut would lose does not matter, the time that syncing takes does.
printf 'force-unsafe-io\n' > "$root/etc/dpkg/dpkg.cfg.d/ocore-test-host"

# The stand-in for a registry: images that lie ready are loaded whenever Docker comes up.
install -D -m 0755 "$here/load_images.py" "$root/usr/local/lib/ocore-test-host/load_images.py"
install -D -m 0644 "$here/docker-dropin.conf" "$root/etc/systemd/system/docker.service.d/ocore-test-host.conf"
install -D -m 0644 "$here/ssh-dropin.conf" "$root/etc/systemd/system/ssh.service.d/ocore-test-host.conf"
