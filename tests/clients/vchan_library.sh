#!/bin/sh
# libxenvchan's streams and packets, the server in domain $DOM1 and the client in domain $DOM0: $BYTES (16 MiB) each way at once, through rings of different
# sizes. See store.sh. Prints "ok vchan_library.sh".
# shellcheck disable=SC2154,SC2086
. "$(dirname "$0")/store.sh"

bytes=${BYTES:-16777216}
path=/local/domain/$DOM1/data/vchan
between() { # PROGRAM ARGUMENT...: its two sides
	program=$1
	shift
	$in1 "XEN_SELF=$DOM1" "$here/$program" server "$DOM0" $path "$@" >"$dir/server" &
	server=$!
	in0 "XEN_SELF=$DOM0" "$here/$program" client "$DOM1" $path "$@" || die "the client of $program $* failed"
	wait $server || die "the server of $program $* failed: $(cat "$dir/server")"
}
# In the first page, in a page each, in many.
for ring in 1024 4096 65536 1048576; do
	between vchan_stream "$bytes" $ring
done
for ring in 4096 65536; do
	between vchan_packet $ring
done
echo "ok vchan_library.sh"
