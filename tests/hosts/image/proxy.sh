#!/bin/sh
# Makes a root file system of unpacked packages behave like the official image: called by mmdebstrap with the root's path.
set -eu
root=$1

rm -rf "$root/etc/hostname" "$root/etc/resolv.conf" "$root"/var/lib/dpkg "$root"/var/cache "$root"/usr/share/doc "$root"/usr/share/man
for link in bin sbin lib lib64; do
  [ -e "$root/$link" ] || [ ! -d "$root/usr/$link" ] || ln -s "usr/$link" "$root/$link"
done
[ -e "$root/usr/bin/sh" ] || ln -s dash "$root/usr/bin/sh"
mkdir -p "$root/tmp" "$root/run" "$root/root" "$root/srv" "$root/var/cache/nginx" "$root/var/log/nginx" "$root/usr/local/bin"
chmod 1777 "$root/tmp"
chroot "$root" /usr/bin/busybox --install -s /usr/local/bin
rm -f "$root/usr/local/bin/sh"

printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n' > "$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' > "$root/etc/group"

if [ -x "$root/usr/bin/caddy" ]; then
  mkdir -p "$root/config/caddy" "$root/data/caddy" "$root/usr/share/caddy"
fi
if [ -x "$root/usr/sbin/nginx" ]; then
  printf 'nginx:x:101:101:nginx:/nonexistent:/bin/false\n' >> "$root/etc/passwd"
  printf 'nginx:x:101:\n' >> "$root/etc/group"
  ln -sf /dev/stdout "$root/var/log/nginx/access.log"
  ln -sf /dev/stderr "$root/var/log/nginx/error.log"
  cp "$(dirname "$0")/nginx.conf" "$root/etc/nginx/nginx.conf"
  cp "$(dirname "$0")/nginx-default.conf" "$root/etc/nginx/conf.d/default.conf"
fi
