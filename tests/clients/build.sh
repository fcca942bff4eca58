#!/bin/sh
# Builds the clients into DIR (default /tmp/ioctlab-clients). What lacks its package is named and left out; any other failure is an error.
# Packages: gcc libc6-dev; libxen-dev (with libxenmisc); gcc-multilib; golang-go; and for rust/ cargo, libxen-dev, libclang1 (any version).
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-/tmp/ioctlab-clients}
mkdir -p "$out" || exit 1
cc="gcc -std=gnu11 -Wall -Werror -O1 -pthread"
bad=0

run() { "$@" || { echo "build.sh: failed: $*" >&2; bad=1; }; }
skip() { echo "build.sh: left out: $1 (needs $2)" >&2; }

for name in open stat dup fork scm nonblock poll sigio io efault block threads million x mapping gnt_victim vfio; do
	run $cc -o "$out/$name" "$here/$name.c"
done
for name in static static_vfio; do
	run $cc -static -o "$out/$name" "$here/$name.c"
done

if [ -e /usr/include/xenevtchn.h ]; then
	for name in libxenevtchn domains; do
		run $cc -o "$out/$name" "$here/$name.c" -lxenevtchn
	done
	run $cc -o "$out/gnttab" "$here/gnttab.c" -lxengnttab -lxenevtchn
	run $cc -o "$out/introduce" "$here/introduce.c" -lxenstore -lxenctrl
	for name in vchan_stream vchan_packet; do
		run $cc -o "$out/$name" "$here/$name.c" -lxenvchan
	done
else
	skip 'libxenevtchn, domains, gnttab, introduce, vchan_stream, vchan_packet' libxen-dev
fi
if echo 'int main(void) { return 0; }' | gcc -m32 -x c -o "$out/.m32" - 2>/dev/null; then
	rm -f "$out/.m32"
	run $cc -m32 -o "$out/compat32" "$here/compat32.c"
else
	skip compat32 gcc-multilib
fi
if command -v go >/dev/null; then
	for name in client vfio; do
		(cd / && GOCACHE="${GOCACHE:-$out/.gocache}" GO111MODULE=off CGO_ENABLED=0 go build -o "$out/$name-go" "$here/$name.go") || bad=1
	done
else
	skip 'client-go, vfio-go' golang-go
fi
for name in redirect.sh pair.sh store.sh xenstore.sh store_again.sh vchan_proxy.sh vchan_library.sh client.py libxenevtchn.py gnttab.py \
	vfio.py vfio_qemu.sh vfio_tools.sh dpdk.py; do
	cp "$here/$name" "$out/"
done
# rust/ and rust-vfio/ by themselves, since they fetch crates: CARGO_TARGET_DIR=DIR cargo build --manifest-path rust/Cargo.toml
exit $bad
