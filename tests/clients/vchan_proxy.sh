#!/bin/sh
# Two vchan-socket-proxys, the server in domain $DOM1 and the client in domain $DOM0: $MIB MiB (1024) through each way, one after the other, and the same
# sum at both ends. See store.sh. Prints "ok vchan_proxy.sh".
# shellcheck disable=SC2154,SC2086
. "$(dirname "$0")/store.sh"

bytes=$((${MIB:-1024} * 1048576))
path=/local/domain/$DOM1/data/proxy
# The same on each run, and nowhere the same.
data() { seq "$1" 999999999999 | head -c $bytes; }

mkfifo "$dir/in0" "$dir/out0" "$dir/in1" "$dir/out1"
# Neither side's input may end before the other has everything: the proxy stops at its end and throws away what is under way.
$in1 "$xen/vchan-socket-proxy" -m server "$DOM0" $path - <"$dir/in1" >"$dir/out1" &
server=$!
$in0 "$xen/vchan-socket-proxy" -m client "$DOM1" $path - <"$dir/in0" >"$dir/out0" &
client=$!
exec 3>"$dir/in1" 4<"$dir/out1" 5>"$dir/in0" 6<"$dir/out0"

through() { # START OUTPUT INPUT WHAT: what goes in at the one comes out at the other
	began=$(date +%s.%N)
	data "$1" | sha256sum >"$dir/sum" &
	sum=$!
	data "$1" >&"$2" &
	sender=$!
	got=$(timeout "${LIMIT:-600}" head -c $bytes <&"$3" | sha256sum)
	wait $sum && wait $sender || die "$4: sending failed"
	[ "$got" = "$(cat "$dir/sum")" ] || die "$4: sent $(cat "$dir/sum"), got $got"
	echo "$4: $bytes bytes, $(echo "$began $(date +%s.%N) $bytes" | awk '{ printf "%.1f", $3 / ($2 - $1) / 1e6 }') MB/s, sha256 ${got%% *}"
}
through 1000000000 5 4 "domain $DOM0 to $DOM1"
through 7000000000 3 6 "domain $DOM1 to $DOM0"
exec 5>&- # the client ends with its input, and the server with its client
wait $client || die "the client failed"
wait $server || die "the server failed"
echo "ok vchan_proxy.sh"
